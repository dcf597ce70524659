"""Continual learning over the deployments of an environment, in its standard figures.

R[i, j] is the score on risk j after deployment i, where a score is 1 - failure rate, so that higher is better. A risk
is that of one patch: its score is the mean over the patch's suites, in whatever version, and it is learned at the first
deployment that holds the patch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ppm.audit.comparison import COMPOSITION
from ppm.audit.model import Audit, Cell
from ppm.evaluation.measures.registry import figures_of

__all__ = ["Row", "continual", "rows_of"]


@dataclass(frozen=True)
class Row:
    """One deployment: the score on every risk learned so far, on every risk before learning it, and the base's.

    `learned`: R[i, j]; `before`: R[i - 1, j] of the risks that this deployment adds; `base`: the scores without any
    patch.
    """

    learned: Mapping[str, float]
    before: Mapping[str, float]
    base: Mapping[str, float]


def rows_of(audits: Sequence[Audit]) -> list[Row]:
    """The rows of some deployments' audits, the first first."""
    rows: list[Row] = []
    known: set[str] = set()
    for audit in audits:
        held = {c.suite for c in audit.comparisons if c.rule == "non-inferiority"}
        suites: dict[str, list[str]] = {}
        for label, suite in audit.suites.items():
            if label in held and suite.owner is not None and figures_of(suite.metric).is_rate:
                suites.setdefault(suite.owner, []).append(label)
        added = {patch: labels for patch, labels in suites.items() if patch not in known}
        rows.append(
            Row(
                _scores(audit.matrix.get(COMPOSITION, {}), suites),
                _scores(audit.matrix.get("deployed", {}), added),
                _scores(audit.matrix.get("base", {}), suites),
            )
        )
        known |= set(suites)
    return rows


def _scores(cells: Mapping[str, Cell], suites: Mapping[str, list[str]]) -> dict[str, float]:
    """Each patch's mean score over its suites, where it has run on them."""
    return {
        patch: fmean(1 - cells[label].value for label in labels)
        for patch, labels in suites.items()
        if all(label in cells for label in labels)
    }


def continual(rows: Sequence[Row]) -> dict[str, float] | None:
    """Average accuracy, backward and forward transfer, and forgetting; None before a second risk was learned later.

    Average accuracy: the mean of R[T, j]. Backward transfer: the mean over risks learned before T of R[T, j] - R[t, j],
    t being when j was learned. Forward transfer: the mean over risks learned after the first deployment of R[t - 1, j]
    less the base's score (Lopez-Paz & Ranzato 2017, section 2). Forgetting: the mean over risks learned before T of
    the best R[l, j] with t <= l < T, less R[T, j] (Chaudhry et al. 2018, section 3). Risks that are no longer deployed
    are left out.
    """
    if not rows:
        return None
    last = rows[-1].learned
    since = {risk: next(i for i, row in enumerate(rows) if risk in row.learned) for risk in last}
    earlier = [risk for risk in last if since[risk] < len(rows) - 1]
    first = {risk: rows[since[risk]] for risk in last}
    later = [risk for risk in last if since[risk] > 0 and risk in first[risk].before and risk in first[risk].base]
    if not earlier or not later:
        return None
    best = {r: max(row.learned[r] for row in rows[since[r] : -1] if r in row.learned) for r in earlier}
    return {
        "average_accuracy": fmean(last.values()),
        "backward_transfer": fmean(last[r] - first[r].learned[r] for r in earlier),
        "forward_transfer": fmean(first[r].before[r] - first[r].base[r] for r in later),
        "forgetting": fmean(best[r] - last[r] for r in earlier),
    }
