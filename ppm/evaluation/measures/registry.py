"""The measures that suites can name by their metric, and which one a suite gets."""

import ppm.evaluation.measures.completions
import ppm.evaluation.measures.next_token
import ppm.evaluation.measures.perplexity  # noqa: F401
from ppm.errors import ManifestError, did_you_mean
from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.measures.base import MEASURES, Measure
from ppm.suite import Suite

__all__ = ["figures_of", "measure_of"]


def figures_of(metric: str, origin: str = "") -> Measure:
    """A measure of this metric, for its figures: those with one metric show and compare them alike.

    Raises ManifestError, naming the nearest metric.
    """
    found = next((measure for measure in MEASURES if metric in measure.metrics), None)
    if found is None:
        known = [name for measure in MEASURES for name in measure.metrics]
        hint = did_you_mean(metric, known, f"known metrics are {', '.join(sorted(set(known)))}")
        raise ManifestError(f"there is no metric {metric!r}", context=origin, hint=hint)
    return found


def measure_of(suite: Suite, scorer: Scorer, origin: str) -> Measure:
    """The measure that runs a suite. Raises ManifestError for a metric, or settings, that its judge can't have."""
    figures_of(suite.metric, origin)
    for measure in MEASURES:
        if measure.judge is not None and (suite.metric in measure.metrics) != (suite.judge.name == measure.judge):
            own = " or ".join(f'"{metric}"' for metric in measure.metrics)
            raise ManifestError(
                f'the metric {own} goes with the judge "{measure.judge}", and with no other', context=origin
            )
    found = next(m for m in MEASURES if suite.metric in m.metrics and m.takes(scorer))
    try:
        found.check(suite)
    except ValueError as error:
        raise ManifestError(str(error), context=origin) from error
    return found
