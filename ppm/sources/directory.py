"""A directory of package files as a source, like pip's find-links."""

from functools import cached_property
from pathlib import Path

from packaging.version import Version

from ppm.errors import IntegrityError, PackageError, PpmError, SourceError
from ppm.package import SUFFIX, file_name, parse_file_name, read_metadata, sha256
from ppm.sources.candidate import Candidate

__all__ = ["DirectorySource"]


class DirectorySource:
    """The package files of one directory, read once; a damaged file hides only itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def location(self) -> str:
        return str(self.path)

    def candidates(self) -> tuple[Candidate, ...]:
        """Every sound package file, by file name. Raises SourceError when the directory can't be read."""
        return self._contents[0]

    def problems(self) -> tuple[tuple[str, str], ...]:
        """(name of the patch, message) of each package file that can't be used. Raises SourceError."""
        return self._contents[1]

    def fetch(self, candidate: Candidate) -> bytes:
        """The bytes of a package file. Raises SourceError when it is gone, IntegrityError when it has changed."""
        path = self.path / candidate.file_name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(
                f"can't be read: {error.strerror}",
                context=str(path),
                hint="run the command again to list what is there now",
            ) from error
        if sha256(data) != candidate.sha256:
            raise IntegrityError(
                "has changed since it was listed",
                context=str(path),
                hint="find out who changed it, and run the command again only if the change was meant",
            )
        return data

    @cached_property
    def _contents(self) -> tuple[tuple[Candidate, ...], tuple[tuple[str, str], ...]]:
        candidates, problems = [], []
        for path in self._package_files():
            try:
                candidates.append(self._read(path))
            except PpmError as error:
                parts = parse_file_name(path.name)
                problems.append((parts[0] if parts else path.name.removesuffix(SUFFIX), f"{path}: {error.message}"))
        return tuple(candidates), tuple(problems)

    def _package_files(self) -> list[Path]:
        try:
            # A file whose name starts with a dot is one that is still being written.
            return sorted(p for p in self.path.iterdir() if p.name.endswith(SUFFIX) and not p.name.startswith("."))
        except OSError as error:
            reason = {FileNotFoundError: "does not exist", NotADirectoryError: "is not a directory"}.get(
                type(error), f"can't be read: {error.strerror}"
            )
            raise SourceError(reason, context=self.location, hint="give a directory that holds .ppm files") from error

    def _read(self, path: Path) -> Candidate:
        manifest, digest = read_metadata(path)
        if file_name(manifest) != path.name:
            raise PackageError(
                f"holds {manifest.pin} for {manifest.base.tag}, other than its file name says", context=str(path)
            )
        return Candidate(
            name=manifest.name,
            version=Version(manifest.version),
            base_tag=manifest.base.tag,
            fingerprint=str(manifest.base.fingerprint),
            file_name=path.name,
            sha256=digest,
            source=self.location,
            manifest=manifest,
        )
