"""A prefix that an earlier package of the same patch has, for a build that trains nothing.

So a trigger is fitted on more examples, or a suite is added, without a prefix that is as good as the last one but
another. What the package says of its training must be what the source still says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ppm.bank import Bank
from ppm.base import BaseModel
from ppm.errors import RequestError
from ppm.package import Package
from ppm.training.output import announced
from ppm.training.source import SourcePatch
from ppm.training_table import Training

__all__ = ["Kept", "check_kept", "keep"]

SAME = {
    "pairs_sha256": "other pairs",
    "benign": "other benign prompts",
    "seed": "another seed",
    "base_parts": "another base",
}
"""What a prefix was trained with, as provenance has it, and in words."""
COPIED = ("shipped", "shipped_because", "compared", "stages")
"""What provenance says of the stages."""


@dataclass(frozen=True)
class Kept:
    """A prefix of an earlier package, the stage that it is of, and what provenance says of how it was trained."""

    bank: Bank
    stage: str
    record: dict[str, object]


def check_kept(package: Package, source: SourcePatch, base: BaseModel) -> None:
    """Raises RequestError where a package is of another patch, for another base, or has another shape."""
    wanted, there = source.manifest, package.manifest
    if there.name != wanted.name:
        raise _unlike(package, f"is a package of {there.name}, not of {wanted.name}")
    if there.base.fingerprint != base.fingerprint:
        raise _unlike(package, f"was made for another base than {base.name}")
    shape, length = there.prefix, wanted.prefix.virtual_tokens
    if (shape.virtual_tokens, there.base.placement) != (length, wanted.base.placement) or len(package.bank.blocks) != 1:
        raise _unlike(package, f"has not the one prefix of {length} tokens, {wanted.base.placement}, that is asked for")


def keep(package: Package, source: SourcePatch, training: Training, base: BaseModel) -> Kept:
    """The prefix of an earlier package of this patch, whose pairs are there.

    Raises RequestError where it was trained on what the manifest no longer has.
    """
    there, made = package.manifest, package.manifest.provenance
    now = announced(source, training, base)
    for key, words in SAME.items():
        if made.get(key) != now.get(key):
            raise _unlike(package, f"was trained with {words} than the manifest has now")
    before: dict[str, object] = {"version": there.version, "sha256": package.sha256}
    earlier = made.get("prefix_of")
    first = earlier if isinstance(earlier, Mapping) else {**before, "versions": made.get("versions", {})}
    return Kept(
        package.bank.always_on,
        str(made.get("shipped", "kept")),
        {**{key: made[key] for key in COPIED if key in made}, "prefix_of": dict(first)},
    )


def _unlike(package: Package, why: str) -> RequestError:
    return RequestError(why, context=package.manifest.pin, hint="leave out --prefix-of, and the prefix is trained")
