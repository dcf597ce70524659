"""Finding patches in sources by their words."""

from collections.abc import Iterator
from contextlib import suppress

from packaging.version import Version

from ppm.errors import SourceError
from ppm.sources import Joined, Release

__all__ = [
    "search",
]


def search(text: str, offer: Joined, fingerprint: str | None) -> list[Release]:
    """The newest version, for each base model, of the patches whose name, risks or summary hold a text.

    Of compositions each is one of its own: their versions have no order.
    """
    words = text.casefold().split()
    found: dict[tuple[str, str, str], Release] = {}
    for release in _releases(offer):
        if fingerprint not in (None, release.fingerprint) or release.yanked is not None:
            continue
        key = (release.name, release.base_tag, str(release.version) if release.composed else "")
        best = found.get(key)
        older = best is not None and _worth(release) < _worth(best)
        about = " ".join((release.name, *release.risks, *release.provides, release.summary)).casefold()
        if not older and all(word in about for word in words):
            found[key] = release
    return [found[key] for key in sorted(found)]


def _releases(offer: Joined) -> Iterator[Release]:
    """Everything on offer. Each is asked for its own names: without a network, an index may not know of others."""
    for one in offer.offers:
        for name in sorted({*one.names(None), *one.composed_names()}):
            with suppress(SourceError):  # nor of the virtual names of its own
                yield from (*one.named(name), *one.compositions(name))


def _worth(release: Release) -> tuple[bool, Version]:
    """Final versions come before pre-releases, which are taken only when asked for."""
    return not release.version.is_prerelease, release.version
