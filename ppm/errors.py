"""Everything ppm raises on purpose: one base class, one subclass for each party that can be to blame.

The command line renders `message`, `context` and `hint` and exits with `exit_code`; nothing here prints.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "DiskError",
    "DiskFault",
    "EndpointError",
    "EnvironmentStateError",
    "GateError",
    "GateFailed",
    "GateInconclusive",
    "IntegrityError",
    "ManifestError",
    "ModelError",
    "PackageError",
    "PpmError",
    "RequestError",
    "ResolutionError",
    "ResolutionTimeout",
    "SourceError",
    "TrainingError",
    "did_you_mean",
]


class PpmError(Exception):
    """Base of all errors: what is wrong, where (`context`), and what to do about it (`hint`)."""

    exit_code = 1

    def __init__(self, message: str, *, context: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.context = context
        self.hint = hint

    def __str__(self) -> str:
        parts = [f"{self.context}: {self.message}" if self.context else self.message]
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class RequestError(PpmError):
    """The user asked for something that does not exist or makes no sense."""


class ResolutionError(RequestError):
    """No set of patches satisfies the requirements."""

    exit_code = 3


class ResolutionTimeout(ResolutionError):
    """The search for a set of patches was given up: nobody knows whether there is one."""


class PackageError(PpmError):
    """A package file or its content is at fault."""


class ManifestError(PackageError):
    """A TOML document or a data file it names is malformed."""


class IntegrityError(PackageError):
    """Bytes are not what they were declared to be, or a package file tries something hostile."""

    exit_code = 4


class SourceError(PpmError):
    """A source of package files can't be read."""


class ModelError(PpmError):
    """A base model can't be loaded, or is not the one that a patch was made for."""


class EndpointError(PpmError):
    """A teacher or a judge behind an endpoint can't be asked, or does not answer as it should."""


class TrainingError(PpmError):
    """Training or composing did not end in a usable prefix."""


class EnvironmentStateError(PpmError):
    """The environment can't be read, changed or locked as asked."""


DiskFault = Literal["full", "denied", "missing", "wrong kind", "other"]
"""Why a disk refuses: no space, no right, nothing there, a file for a folder or the other way round, anything else."""


class DiskError(EnvironmentStateError):
    """The disk refused to read or write `path`."""

    def __init__(self, message: str, path: Path, fault: DiskFault, *, hint: str = "") -> None:
        super().__init__(message, context=str(path), hint=hint)
        self.path = path
        self.fault: DiskFault = fault


class GateError(PpmError):
    """The tests did not pass; `audit` says how, and `report` has its outcomes and suites too, for whoever shows them.

    They are an `Audit` and a `Report`, or None where nothing was tested.
    """

    audit: Any = None
    report: Any = None


class GateFailed(GateError):
    """At least one suite failed: nothing was deployed."""

    exit_code = 5


class GateInconclusive(GateError):
    """No suite failed, but one stayed inconclusive: nothing was deployed."""

    exit_code = 6


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint that names the known word nearest to `word`, whatever its case, else `otherwise`."""
    words = {one.casefold(): one for one in known}
    near = get_close_matches(word.casefold(), list(words), n=1, cutoff=0.6)
    return f"did you mean {words[near[0]]!r}?" if near else otherwise
