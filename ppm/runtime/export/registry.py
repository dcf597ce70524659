"""The export targets by name."""

from ppm.errors import RequestError, did_you_mean
from ppm.runtime.export.base import Target
from ppm.runtime.export.embeddings import Embeddings
from ppm.runtime.export.peft import Peft

__all__ = ["TARGETS", "find_target"]

TARGETS: dict[str, Target] = {"embeddings": Embeddings(), "peft": Peft()}


def find_target(name: str) -> Target:
    """The target of a name. Raises RequestError, naming the nearest."""
    if name not in TARGETS:
        hint = did_you_mean(name, TARGETS, f"there are {', '.join(sorted(TARGETS))}")
        raise RequestError(f"there is no export target {name!r}", hint=hint)
    return TARGETS[name]
