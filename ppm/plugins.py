"""What other distributions add through entry points: steps and judges, each by its name."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
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

    `accept` makes an entry of what its entry point names; whatever it raises says that it can't be used.
    """

    group: str
    kind: str
    accept: Callable[[EntryPoint, object], T]
    known: dict[str, T] = field(default_factory=dict)
    broken: dict[str, ManifestError] = field(default_factory=dict)
    _loaded: dict[str, str] = field(default_factory=dict)

    def load(self) -> None:
        """Find what other distributions offer; what can't be loaded is remembered as broken."""
        for entry in entry_points(group=self.group):
            if self._loaded.get(entry.name) == entry.value:
                continue
            if entry.name in self.known:
                warnings.warn(
                    f"the {self.kind} {entry.name!r} of {entry.value} is left out: the name is taken", stacklevel=2
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

    All of the distribution's count, and all beside the module that the entry point names: a distribution that is
    installed as editable lists none of its own, and changes without a new version.
    """
    files = (
        {Path(str(file.locate())) for file in (entry.dist.files or ()) if file.suffix == ".py"} if entry.dist else set()
    )
    top = find_spec(entry.module.partition(".")[0])
    if top is not None and top.submodule_search_locations:
        for folder in top.submodule_search_locations:
            files.update(Path(folder).rglob("*.py"))
    elif top is not None and top.origin is not None:
        files.add(Path(top.origin))
    digest, found = hashlib.sha256(), False
    for content in sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in set(files) if path.is_file()):
        digest.update(content.encode())
        found = True
    return digest.hexdigest()[:16] if found else ""
