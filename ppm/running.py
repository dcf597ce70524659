"""How a base is to be run: in which dtype, on which devices, in how much memory. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ppm.errors import RequestError, did_you_mean
from ppm.machine import parse_size

__all__ = ["AUTO", "DTYPES", "FLOAT32", "UNSAID", "Dtype", "Running", "asked_dtype"]

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
AUTO = "auto"
VARIABLE = "PPM_DTYPE"


@dataclass(frozen=True)
class Running:
    """How a base is loaded and run.

    `dtype` is one of DTYPES or `auto`, which measures; None leaves it to what is recorded, else to ppm. `device_map` is
    as transformers takes it. `memory` is how many bytes the model and the work on it may take; None is what is at hand.
    """

    dtype: str | None = None
    device_map: str | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in (None, AUTO, *DTYPES):
            hint = did_you_mean(str(self.dtype), (AUTO, *DTYPES), f"dtypes are {', '.join((AUTO, *DTYPES))}")
            raise RequestError(f"{self.dtype!r} is not a dtype that a base can run in", hint=hint)

    @staticmethod
    def of(dtype: str | None, device_map: str | None, memory: str | int | None) -> "Running":
        """From what a user gives; a size of memory may be a text such as 4G. Raises RequestError."""
        return Running(dtype, device_map, parse_size(memory) if isinstance(memory, str) else memory)

    @property
    def named(self) -> Dtype | None:
        """The dtype that was asked for by its name."""
        return next((dtype for dtype in DTYPES if dtype == self.dtype), None)

    @property
    def recorded(self) -> Dtype | None:
        """The dtype as locks and deployments write it: float32 is not written, as in those of an older ppm."""
        return None if self.named == "float32" else self.named


UNSAID = Running()
"""Nothing was said."""
FLOAT32 = Running("float32")


def asked_dtype(environ: Mapping[str, str]) -> str | None:
    """What PPM_DTYPE says, for where a dtype is chosen. Raises RequestError when it is none."""
    named = environ.get(VARIABLE) or None
    try:
        return Running(named).dtype
    except RequestError as error:
        raise RequestError(error.message, context=f"the environment variable {VARIABLE}", hint=error.hint) from error
