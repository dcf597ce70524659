"""What every source offers: candidates, which are package files known by their metadata alone."""

from dataclasses import dataclass, field
from typing import Protocol

from packaging.version import Version

from ppm.manifest import Manifest

__all__ = ["Candidate", "Source"]


@dataclass(frozen=True)
class Candidate:
    """One package file that a source can fetch. `sha256` is hexadecimal, of the whole file."""

    name: str
    version: Version
    base_tag: str
    fingerprint: str
    file_name: str
    sha256: str
    source: str
    manifest: Manifest = field(compare=False, repr=False)

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"


class Source(Protocol):
    """A place that package files come from; `location` is how messages name it."""

    @property
    def location(self) -> str: ...

    def candidates(self) -> tuple[Candidate, ...]:
        """Everything on offer. Raises SourceError when the source can't be read."""

    def problems(self) -> tuple[tuple[str, str], ...]:
        """(name of the patch, message) of each file that is on offer but can't be used."""

    def fetch(self, candidate: Candidate) -> bytes:
        """The package file. Raises IntegrityError when it is not what was listed, SourceError when it is gone."""
