"""Releases that were chosen as a selection pins them, each with what its publisher signed it with."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ppm.errors import IntegrityError
from ppm.index.trust import read_pins, shown_url, trusted_indexes
from ppm.lock import LockedPackage
from ppm.resolve import Pin
from ppm.sources import Release

__all__ = ["check_publishers", "locked_packages"]


def locked_packages(
    pins: Sequence[Pin], source: Callable[[Release], str], before: Iterable[LockedPackage] = ()
) -> tuple[LockedPackage, ...]:
    """Pins as a selection has them; `source` says how the place of a release is written.

    A file that was pinned `before` keeps what it was pinned with of its publisher, where no index says it anew.
    """
    known = {package.sha256: package.publisher for package in before}
    return tuple(
        LockedPackage(
            pin.release.name,
            str(pin.release.version),
            pin.release.file_name,
            pin.release.sha256,
            source(pin.release),
            requested=pin.requested,
            dependencies=tuple(other.release.name for other in pins if pin.release.name in other.required_by),
            publisher=pin.release.publisher or known.get(pin.release.sha256),
        )
        for pin in pins
    )


def check_publishers(home: Path, before: Iterable[LockedPackage], pins: Sequence[Pin]) -> None:
    """Raises IntegrityError when a patch is signed by another key or identity than it was pinned with before.

    What the user has accepted for the index that it is from is none of that.
    """
    pinned = {package.name: package.publisher for package in before if package.publisher}
    for release in (pin.release for pin in pins):
        was = pinned.get(release.name)
        if was is None or release.publisher in ("", was):
            continue
        index = next((one for one in trusted_indexes(home) if shown_url(one.url) == release.source), None)
        if index is None or release.publisher not in read_pins(index).get(release.name, ()):
            named = index.name if index is not None else "SOURCE"
            raise IntegrityError(
                f"is signed by another key or identity than {release.name} was before (now "
                f"{release.publisher[:12]}..., then {was[:12]}...)",
                context=f"{release.pin} in {release.source}",
                hint=f"ask its publisher; if the change is right: ppm source accept {named} {release.name}",
            )
