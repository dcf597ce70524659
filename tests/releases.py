"""Makes releases for tests of resolving and of what takes its result, without any file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from packages import FINGERPRINT

from ppm.manifest import Base, Manifest, Patch, PrefixShape
from ppm.package import file_name, sha256
from ppm.sources import Release

OTHER_FINGERPRINT = "sha256:" + "f" * 64


def make_release(
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
    composed: bool = False,
    **known: Any,
) -> Release:
    """A release whose package file exists only as a digest, of its name, version and `content`.

    `known` is what else its source knows of it.
    """
    manifest = Manifest(
        schema=1,
        patch=Patch(name, version, provides=provides, replaces=dict(replaces or {})),
        base=Base(model, fingerprint=fingerprint),
        prefix=PrefixShape(2),
        dependencies=dict(needs or {}),
        conflicts=dict(conflicts or {}),
    )
    digest = sha256(f"{manifest.pin} {fingerprint} {content}".encode())
    release = Release.of(manifest, file_name=file_name(manifest), sha256=digest, source=source, **known)
    return replace(release, composed=composed)
