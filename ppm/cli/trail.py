"""How the trail of a deployment is shown: what checked its files, and which advisories were accepted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ppm.cli.output import report
from ppm.names import cut

if TYPE_CHECKING:
    from ppm.environment.trail import Check
    from ppm.inspect.trail import Advised

__all__ = ["accepted", "advisory_lines", "print_check", "shown_moment"]

MOST_SHOWN = 5
"""How many advisories are shown; --json has them all."""


def print_check(patch: str, check: "Check | None") -> None:
    """How a deployed patch was checked before it was deployed, by whose keys, and when."""
    if check is None:
        report(f"{patch}: deployed by an older ppm, which did not record how it was checked")
    elif check.signed is None:
        report(f"{patch} from {check.source}: checked by its SHA-256 alone on {shown_moment(check.at)}")
    else:
        signed = check.signed
        report(f"{patch} from {check.source}: checked on {shown_moment(check.at)}")
        report(f"  signed by {signed.publisher}, {f'as {signed.identity}' if signed.identity else f'key {signed.key}'}")
        report(f"  listed by {signed.index}, root {signed.root}")
        report(f"  its root was at version {signed.root_version}, its timestamp at {signed.timestamp_version}")


def advisory_lines(found: "Sequence[Advised]") -> list[str]:
    """A line for each advisory that was in force, of many for some: who accepted it, and when."""
    lines = []
    for one in found[:MOST_SHOWN]:
        was = f"The advisory {one['id']} on {one['patch']} ({cut(one['summary'])})"
        if one["by"] is None:
            lines.append(f"{was} was in force; the patch was deployed already.")
        else:
            reason = f": {one['reason']}" if one["reason"] else "."
            lines.append(f"{was} was accepted by {one['by']} on {shown_moment(one['at'] or '')}{reason}")
    return [*lines, *_more(found)]


def accepted(found: "Sequence[Advised]") -> str:
    """Who accepted which advisories, in brackets for a cell of a table; of many some are named."""
    taken = [one for one in found if one["by"] is not None]
    words = [f" [{one['id']} accepted by {one['by']}{': ' if one['reason'] else ''}{one['reason']}]" for one in taken]
    return "".join(words[:MOST_SHOWN]) + "".join(f" [{line}]" for line in _more(taken))


def _more(found: "Sequence[Advised]") -> list[str]:
    further = len(found) - MOST_SHOWN
    return [f"{further} more advisories; --json has them all"] if further > 0 else []


def shown_moment(text: str) -> str:
    """A time in ISO 8601, in UTC, to the minute."""
    return text.replace("T", " ")[:16] + " UTC"
