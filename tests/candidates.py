"""Makes candidates for tests of resolving and of what takes its result, without any file."""

from collections.abc import Mapping

from packages import FINGERPRINT
from packaging.version import Version

from ppm.manifest import Base, Manifest, Patch, PrefixShape
from ppm.package import file_name, sha256
from ppm.sources import Candidate

OTHER_FINGERPRINT = "sha256:" + "f" * 64


def make_candidate(
    name: str,
    version: str,
    needs: Mapping[str, str] | None = None,
    conflicts: Mapping[str, str] | None = None,
    *,
    provides: tuple[str, ...] = (),
    replaces: Mapping[str, str] | None = None,
    fingerprint: str = FINGERPRINT,
    model: str = "acme/tiny",
    source: str = "here",
    content: str = "",
) -> Candidate:
    """A candidate whose package file exists only as a digest, of its name, version and `content`."""
    manifest = Manifest(
        schema=1,
        patch=Patch(name, version, provides=provides, replaces=dict(replaces or {})),
        base=Base(model, fingerprint=fingerprint),
        prefix=PrefixShape(2),
        dependencies=dict(needs or {}),
        conflicts=dict(conflicts or {}),
    )
    return Candidate(
        name=manifest.name,
        version=Version(manifest.version),
        base_tag=manifest.base.tag,
        fingerprint=fingerprint,
        file_name=file_name(manifest),
        sha256=sha256(f"{manifest.pin} {fingerprint} {content}".encode()),
        source=source,
        manifest=manifest,
    )
