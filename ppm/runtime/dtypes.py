"""In which dtype a base runs: the one that its user names, else the faster one as measured on this machine, once.

Where only the answer is needed that an earlier process measured, torch is not imported.
"""

import hashlib
import json
import platform
import statistics
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import LAB_BASES, BaseModel
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import EnvironmentStateError, ModelError
from ppm.machine import free_memory, shown_size
from ppm.running import DTYPES, Running

if TYPE_CHECKING:
    import torch

__all__ = ["check_memory", "chosen", "faster_dtype", "pace_note", "weight_elements"]

SMALL = 30_000_000
"""Bases of fewer weights run in float32: so small ones take their time outside of matrix products."""
GAIN = 1.25
"""So many times as fast bfloat16 must be to be chosen; it rounds more."""
SLOW = 2.0
"""So many times as fast the other dtype must be for a note. Without instructions for bfloat16, float32 is."""
ROUNDS = 7
SHAPES = ((512, 576, 1536), (32, 576, 1536), (32, 1536, 576))
"""Matrix products that are timed, (rows, inputs, outputs): those of a prompt and of a token in a small base."""
WORK = 128 * 2**20
"""Bytes for the work on a model at least."""
OVERHEAD = 600 * 2**20
"""Bytes that Python, torch and transformers take by themselves, about."""


def chosen(running: Running, base: BaseModel, *, kept: Path | None = None) -> Running:
    """The same with a dtype by its name.

    For `auto` and None that is float32 for the lab and small bases; on a GPU the one that the base is saved in; else
    the faster of float32 and bfloat16 on this machine. What is measured is kept in the folder `kept`.
    """
    if running.named is not None:
        return running
    return Running(_choice(base, kept), running.device_map, running.memory)


def _choice(base: BaseModel, kept: Path | None) -> str:
    if base.name in LAB_BASES or weight_elements(base.folder) < SMALL:
        return "float32"
    if _quantised(base.folder):
        return _saved(base.folder)
    known = _read(kept)
    if known is not None:
        return known[0]
    import torch

    return _saved(base.folder) if torch.cuda.is_available() else faster_dtype(kept)


def faster_dtype(kept: Path | None = None) -> str:
    """The faster of float32 and bfloat16 on this machine's CPU, in matrix products of a small base.

    Takes a fraction of a second, once for each folder `kept`, kind of processor and version of torch.
    """
    return _measured(kept)[0]


def pace_note(running: Running, base: BaseModel, *, kept: Path | None = None) -> str | None:
    """What to tell of a named dtype in which a base runs far slower on this machine's CPU than in another; else None.

    A composition runs in the dtype that it was tested in, which another machine may have chosen.
    """
    if running.named not in ("float32", "bfloat16") or running.device_map or _quantised(base.folder):
        return None
    if weight_elements(base.folder) < SMALL:
        return None
    import torch

    if torch.cuda.is_available():
        return None
    faster, gain = _measured(kept)
    times = max(gain, 1 / gain)
    if running.named == faster or times < SLOW:
        return None
    return (
        f"{base.name} runs in {running.named}, as recorded or asked for; products in {faster} are {times:.0f} times as "
        f"fast on this processor (to test and deploy in it: ppm install --dtype {faster})"
    )


def _measured(kept: Path | None) -> tuple[str, float]:
    """The faster of float32 and bfloat16, and how many times as fast bfloat16 is as float32."""
    known = _read(kept)
    if known is not None:
        return known
    import torch

    times = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    gain = times[torch.float32] / times[torch.bfloat16]
    dtype = "bfloat16" if gain >= GAIN else "float32"
    if kept is not None:
        with suppress(EnvironmentStateError), disk_errors("can't be written", kept):  # losing it costs a second
            make_folder(kept)
            table = {"machine": _machine(), "dtype": dtype, "gain": round(gain, 2)}
            replace_file(_path(kept), json.dumps(table).encode() + b"\n")
    return dtype, gain


def _seconds(dtype: "torch.dtype") -> float:
    """The median time of one round of the products."""
    import torch

    pairs = [
        (torch.ones(rows, inputs, dtype=dtype), torch.ones(outputs, inputs, dtype=dtype))
        for rows, inputs, outputs in SHAPES
    ]
    times = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for one, weight in pairs:
                torch.nn.functional.linear(one, weight)
            times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def _machine() -> list[str]:
    """What the measurement hangs on: the kind of processor, and the version of torch."""
    name = platform.processor()
    with suppress(OSError, UnicodeDecodeError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        kinds = dict.fromkeys(line for line in lines if line.startswith(("model name", "flags", "Features")))
        name = hashlib.sha256("\n".join(kinds).encode()).hexdigest()[:16] if kinds else name
    return [platform.machine(), name, version("torch")]


def _path(kept: Path) -> Path:
    return kept / f"dtype-{hashlib.sha256(json.dumps(_machine()).encode()).hexdigest()[:32]}.json"


def _read(kept: Path | None) -> tuple[str, float] | None:
    """What was measured on this machine with this torch, if it is kept and whole."""
    try:
        table = json.loads(_path(kept).read_bytes()) if kept is not None else {}
        found = (table["dtype"], float(table["gain"])) if table["machine"] == _machine() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found and found[0] in DTYPES and found[1] > 0 else None


def _saved(folder: Path) -> str:
    """The dtype that a base's configuration says it is saved in; float32 where it says none."""
    table = _configuration(folder)
    found = table.get("dtype") or table.get("torch_dtype")
    return found if isinstance(found, str) and found in DTYPES else "float32"


def _quantised(folder: Path) -> bool:
    return "quantization_config" in _configuration(folder)


def _configuration(folder: Path) -> dict[str, object]:
    try:
        table = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}


def weight_elements(folder: Path) -> int:
    """How many numbers a model's files hold, tied ones once. Raises ModelError for a damaged file."""
    import math

    from safetensors import SafetensorError, safe_open

    count = 0
    for path in sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np") as stream:
                count += sum(math.prod(stream.get_slice(name).get_shape()) for name in stream.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(f"is not a whole safetensors file ({error})", context=str(path)) from error
    return count


def check_memory(folder: Path, dtype: str, memory: int | None, *, context: str) -> None:
    """Raises ModelError, before anything is loaded, where a base does not go into the memory named or at hand."""
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    weights = weight_elements(folder) * (4 if dtype == "float32" else 2)
    if _quantised(folder):
        weights = sum(path.stat().st_size for path in files)
    free = free_memory()
    for limit, extra, what in ((memory, OVERHEAD, "are allowed by --memory"), (free, 0, "are at hand")):
        if limit is not None and limit < weights + extra + WORK:
            halves = dtype == "float32" and weights // 2 + extra + WORK <= limit
            raise ModelError(
                f"takes about {shown_size(weights + extra + WORK)} of memory ({shown_size(weights)} of that for its "
                f"weights in {dtype}), and {shown_size(limit)} {what}",
                context=context,
                hint="allow or free more memory, "
                + ("or run it in bfloat16, which takes half: --dtype bfloat16" if halves else "or take a smaller base"),
            )
