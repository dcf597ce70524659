"""Asks the resolver, and gives what it says back as text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from packages import FINGERPRINT
from packaging.version import Version

from ppm.errors import ResolutionError
from ppm.resolve import Resolution, Rules, parse_requirement, resolve
from ppm.sources import Listing, Release


def run(
    request: str,
    releases: Iterable[Release],
    deployed: Mapping[str, str] | None = None,
    problems: Mapping[str, Sequence[str]] | None = None,
    raised: Sequence[str] = (),
    kept: Sequence[str] = (),
    clock: Any = None,
    **rules: Any,
) -> Resolution:
    """What the resolver makes of a request, such as "a>=2 b"; `rules` are those of `Rules`."""
    return resolve(
        [parse_requirement(text) for text in request.split()],
        Listing(releases, problems),
        fingerprint=FINGERPRINT,
        base_name="acme/tiny",
        rules=Rules({name: Version(version) for name, version in (deployed or {}).items()}, **rules),
        raised=raised,
        kept=kept,
        **({"clock": clock} if clock else {}),
    )


def pins(request: str, releases: Iterable[Release], deployed: Mapping[str, str] | None = None, **settings: Any) -> str:
    """The pins in their order, such as "core==1.0 a==2.0"."""
    return " ".join(pin.release.pin for pin in run(request, releases, deployed, **settings).pins)


def failure(request: str, releases: Iterable[Release], **settings: Any) -> str:
    """The explanation without its first line, which is always the same."""
    with pytest.raises(ResolutionError) as caught:
        run(request, releases, **settings)
    first, _, rest = str(caught.value).partition("\n")
    assert first == "no set of patches satisfies the request."
    assert caught.value.exit_code == 3
    return rest
