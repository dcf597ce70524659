"""A prefix that an earlier package of the same patch has, for a build that trains nothing.

So a trigger is fitted on more examples, or a suite is added, without training a new prefix. What the package says of
its training must be what the source still says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ppm.bank import Bank
from ppm.base import BaseModel
from ppm.errors import RequestError
from ppm.package import Package
from ppm.training.context import BuildContext
from ppm.training.learn import turn_seen
from ppm.training.output import announced
from ppm.training.source import SourcePatch

__all__ = ["Kept", "check_kept", "keep"]

SAME = {"pairs_sha256": "other pairs", "benign": "another number of benign prompts", "seed": "another seed"}
"""What a prefix was trained with, as provenance has it, and in words."""
FOR_TRIGGERS = ("trigger", "examples")
"""What [training] says that no prefix depends on."""
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
    if (there.prefix, there.base.placement) != (wanted.prefix, wanted.base.placement) or len(package.bank.blocks) != 1:
        raise _unlike(
            package, "does not have the prefix that the manifest asks for: its length, start or placement differs"
        )


def keep(package: Package, context: BuildContext) -> Kept:
    """The prefix of an earlier package of this patch, once its pairs are there.

    Raises RequestError where it was trained on what the manifest no longer has, or in another way or dtype.
    """
    there, made = package.manifest, package.manifest.provenance
    now = {**announced(context.source, context.training, context.base), **context.dtype}
    for key, words in SAME.items():
        if made.get(key) != now.get(key):
            raise _unlike(package, f"was trained with {words} than the manifest has now")
    if _stages(made) != _stages(now):
        raise _unlike(package, "was trained with other settings than [training] has now")
    if made.get("dtype") != now.get("dtype"):
        dtype = str(made.get("dtype", "float32"))
        raise _unlike(package, f"was trained in {dtype}", hint=f"give --dtype {dtype}")
    before: dict[str, object] = {"version": there.version, "sha256": package.sha256}
    earlier = made.get("prefix_of")
    first = earlier if isinstance(earlier, Mapping) else {**before, "versions": made.get("versions", {})}
    return Kept(
        replace(package.bank.always_on, answers_to=turn_seen(context)),
        str(made.get("shipped", "kept")),
        {**{key: made[key] for key in COPIED if key in made}, "prefix_of": dict(first)},
    )


def _stages(provenance: Mapping[str, object]) -> dict[str, object]:
    """The recorded [training] table, as far as a prefix depends on it."""
    table = provenance.get("training")
    return {k: v for k, v in table.items() if k not in FOR_TRIGGERS} if isinstance(table, Mapping) else {}


def _unlike(package: Package, why: str, hint: str = "leave out --prefix-of, and the prefix is trained") -> RequestError:
    return RequestError(why, context=package.manifest.pin, hint=hint)
