"""Anchors: on each suite the best approved outcome of an environment's life, to which later deployments are held.

Compared with its predecessor alone, every upgrade may lose a little, and many little losses add up: biocreep
(D'Agostino, Massaro and Sullivan 2003, Statistics in Medicine 22:169). So the first composition that passed a suite
stays what the suite is compared with, until a significantly better one takes its place. One that was let in by a waiver
never does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ppm.audit.comparison import Comparison
from ppm.audit.model import Audit, AuditedSuite
from ppm.bank import EMPTY, Bank
from ppm.evaluation.results import Configuration, Outcome, ResultStore, kept_outcomes
from ppm.evaluation.suites import LoadedSuite
from ppm.manifest import Placement
from ppm.progress import Progress

if TYPE_CHECKING:
    from ppm.runtime.loading import LazyModel

__all__ = [
    "Anchor",
    "SuiteKey",
    "anchor_outcomes",
    "anchored",
    "anchors_by",
    "key_of",
    "lost_anchors",
]

SuiteKey = tuple[str | None, str]
"""The patch that a suite came with, if any, and its name: a suite whose prompts change keeps its anchor."""


@dataclass(frozen=True)
class Anchor:
    """A composition that was approved, by the digest of its package file (`sha256:...`).

    `name` is how reports call it, and `bank` None where the file is not at hand.
    """

    digest: str
    name: str
    bank: Bank | None
    placement: Placement


def key_of(owner: str | None, label: str) -> SuiteKey:
    """The key of a suite, whatever its label has before the name to tell it from those of other versions."""
    return owner, label.removeprefix("base/").removeprefix("policy/") if owner is None else label.rpartition("/")[2]


def _by_key(audit: Audit) -> dict[SuiteKey, list[str]]:
    """The suites of an audit by their keys: those of replaced versions stand beside the latest."""
    found: dict[SuiteKey, list[str]] = {}
    for label, suite in audit.suites.items():
        found.setdefault(key_of(suite.owner, label), []).append(label)
    return found


def _is_approved(audit: Audit, label: str) -> bool:
    """Whether an audit's composition passed a suite, without a waiver."""
    compared = [c for c in audit.comparisons if c.suite == label]
    return bool(compared) and all(c.verdict == "pass" and not c.waived for c in compared)


def anchored(audit: Audit, digest: str, known: Mapping[SuiteKey, Anchor], deployed: Bank | None) -> Audit:
    """The audit with the anchor of each suite as it is once the composition with this digest is deployed."""
    suites: dict[str, AuditedSuite] = {}
    for key, labels in _by_key(audit).items():
        compared = [c for c in audit.comparisons if c.suite in labels]
        anchor = known.get(key)
        kept = held_to = anchor.digest if anchor is not None else None
        passed = all(_is_approved(audit, label) for label in labels)
        if passed and (anchor is None or _is_better(compared, anchor, deployed)):
            kept = digest
        suites |= {label: replace(audit.suites[label], held_to=held_to, anchor=kept) for label in labels}
    return replace(audit, suites={label: suites[label] for label in audit.suites})


def _is_better(compared: Sequence[Comparison], anchor: Anchor, deployed: Bank | None) -> bool:
    """Whether the composition is shown to be better than the anchor; what is deployed may be the anchor itself."""
    rule = "upgrade" if deployed is not None and anchor.bank == deployed else "anchor"
    held = [c for c in compared if c.rule == rule]
    return bool(held) and all(c.upper < 0 for c in held)


def anchors_by(history: Iterable[tuple[str, Audit]], at_hand: Callable[[str], bool]) -> dict[SuiteKey, str]:
    """The anchors that deployments which followed each other left, as digests.

    `history` has the digest of each one's composition and its audit, the first first; `at_hand` tells whether a
    composition with a digest is there. An audit may have been made in another environment, or by a ppm that knew no
    anchors: it begins with what it approved, and replaces an anchor only where it was held to this very one.
    """
    found: dict[SuiteKey, str] = {}
    for composed, audit in history:
        for key, labels in _by_key(audit).items():
            suite = audit.suites[labels[0]]
            if key not in found:
                if suite.anchor is not None and at_hand(suite.anchor):
                    found[key] = suite.anchor
                elif all(_is_approved(audit, label) for label in labels):
                    found[key] = composed
            elif suite.anchor == composed and suite.held_to == found[key]:
                found[key] = composed
    return found


def anchor_outcomes(
    anchors: Mapping[SuiteKey, Anchor],
    suites: Sequence[LoadedSuite],
    lazy: "LazyModel",
    *,
    besides: Sequence[Bank],
    store: ResultStore | None,
    progress: Progress,
) -> dict[str, tuple[str, Outcome]]:
    """What anchors do on their suites, as (name, outcome) by label; those that are run `besides` are left out."""
    own: dict[Anchor, list[LoadedSuite]] = {}
    for suite in suites:
        anchor = anchors.get(key_of(suite.owner, suite.label))
        if anchor is not None and anchor.bank is not None and anchor.bank not in besides:
            own.setdefault(anchor, []).append(suite)
    found: dict[str, tuple[str, Outcome]] = {}
    for anchor, held in own.items():
        alone = [Configuration(anchor.name, anchor.bank or EMPTY)]
        outcomes = kept_outcomes(alone, held, placement=anchor.placement, store=store)
        if outcomes is None:
            from ppm.evaluation.runner import evaluate

            outcomes = evaluate(lazy.loaded, alone, held, placement=anchor.placement, store=store, progress=progress)
        found |= {suite.label: (anchor.name, outcomes[anchor.name, suite.digest]) for suite in held}
    return found


def lost_anchors(anchors: Mapping[SuiteKey, Anchor], suites: Sequence[LoadedSuite]) -> list[str]:
    """A note on suites whose anchor is not on this machine."""
    found = {suite.label: anchors.get(key_of(suite.owner, suite.label)) for suite in suites}
    lost = [label for label, anchor in found.items() if anchor is not None and anchor.bank is None]
    if not lost:
        return []
    return [f"the anchor of {', '.join(lost)} is not in the store, so the composition was not compared with it"]
