"""What other distributions add through entry points: steps and judges, each by its name."""

import hashlib
import warnings
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

from ppm.errors import ManifestError

__all__ = ["Plugins", "code_digest", "origin_of"]

T = TypeVar("T")


@dataclass
class Plugins(Generic[T]):
    """The things of one kind, the built-in ones and those found in the entry point group.

    `accept` makes an entry of what its entry point names; whatever it raises says that it can't be used. A name that
    is known, or `reserved`, is taken.
    """

    group: str
    kind: str
    accept: Callable[[EntryPoint, object], T]
    known: dict[str, T] = field(default_factory=dict)
    reserved: Container[str] = ()
    broken: dict[str, ManifestError] = field(default_factory=dict)
    _loaded: dict[str, str] = field(default_factory=dict)

    def load(self) -> None:
        """Find what other distributions offer; what can't be loaded is remembered as broken."""
        for entry in entry_points(group=self.group):
            if self._loaded.get(entry.name) == entry.value:
                continue
            if entry.name in self.known or entry.name in self.reserved:
                warnings.warn(
                    f"the {self.kind} {entry.name!r} of {entry.value} is ignored: the name is already taken",
                    stacklevel=2,
                )
                continue
            try:
                self.known[entry.name] = self.accept(entry, entry.load())
            except Exception as error:
                self.broken[entry.name] = ManifestError(
                    f"can't be loaded from {origin_of(entry)} ({type(error).__name__}: {error})",
                    context=f"the {self.kind} {entry.name!r}",
                    hint="repair or uninstall that package",
                )
            self._loaded[entry.name] = entry.value


def origin_of(entry: EntryPoint) -> str:
    """The distribution of an entry point and its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def code_digest(entry: EntryPoint) -> str:
    """The digest of the Python files behind an entry point, 16 hexadecimal digits; empty where there are none to read.

    All of the distribution's count, and all of the package that the entry point names: a distribution that is
    installed as editable lists none of its own, and changes without a new version.
    """
    distribution = entry.dist.files or () if entry.dist else ()
    files = {Path(str(file.locate())) for file in distribution if file.suffix == ".py"}
    spec = _spec(entry.module.partition(".")[0])
    if spec is None or spec.origin is None:  # not all of a namespace
        spec = _spec(entry.module)
    if spec is not None and spec.origin is not None:
        origin = Path(spec.origin)
        files.update(origin.parent.rglob("*.py") if spec.submodule_search_locations else [origin])
    contents = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file())
    return hashlib.sha256("".join(contents).encode()).hexdigest()[:16] if contents else ""


def _spec(module: str) -> ModuleSpec | None:
    """Where a module is; None for one that there is not."""
    try:
        return find_spec(module)
    except (ImportError, ValueError):
        return None
