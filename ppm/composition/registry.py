"""The steps that strategies can name, ppm's own and those of other distributions: their options and their code.

A step of ppm's own declares its options as a class of `ppm.composition.options`, one of another distribution as the
keyword parameters of its function. Either is read as one `Schema`. Needs no torch.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from ppm.composition.options import BUILT_IN
from ppm.plugins import Plugins, code_digest, origin_of
from ppm.signature import Schema, schema_of

__all__ = ["PLUGINS", "STEPS", "Step", "code_of", "options_of", "step_names"]

Step = Callable[..., object]
"""Called with a context, what the step before it made, and its options by name."""
GROUP = "ppm.steps"
"""The entry point group in which other distributions offer steps."""


def _accept(entry: EntryPoint, found: object) -> Step:
    if not callable(found):
        raise TypeError(f"{type(found).__name__} is no function")
    schema_of(found, keyword_only=True)  # raises for what has no signature
    return found


PLUGINS: Plugins[Step] = Plugins(GROUP, "step", _accept, reserved=BUILT_IN)
STEPS = PLUGINS.known
"""The functions by name; those of ppm's own are there once `ppm.composition.recipe` is imported."""


def step_names() -> set[str]:
    """The names of all steps there are."""
    PLUGINS.load()
    return {*BUILT_IN, *STEPS}


def options_of(name: str) -> Schema | None:
    """The options of a step; None where there is no step of that name that can be loaded."""
    if name in BUILT_IN:
        return schema_of(BUILT_IN[name], keyword_only=True)
    PLUGINS.load()
    return schema_of(STEPS[name], keyword_only=True) if name in STEPS else None


def code_of(name: str) -> object:
    """What says which code a step runs, as plain data.

    For a step of ppm's own that is its version; for another one its distribution, with the digest of the code.
    """
    if name in BUILT_IN:
        return BUILT_IN[name].version
    return [[origin_of(entry), code_digest(entry)] for entry in entry_points(group=GROUP) if entry.name == name]
