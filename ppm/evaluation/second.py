"""A second judge's opinion of the answers that a suite's own judge has scored: shown beside its figures, never gated.

Two judges that are made alike err alike; one of another kind shows where a figure is the judge's more than the model's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ppm.errors import PpmError
from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.measures.base import Answers
from ppm.evaluation.measures.completions import HIT, valued
from ppm.evaluation.results import Outcome, ResultStore
from ppm.evaluation.suites import LoadedSuite
from ppm.names import canonical_digest

__all__ = ["Opinion", "second_opinion"]


@dataclass(frozen=True)
class Opinion:
    """What the second judge says of one configuration: its figure, and the prompts, by place, on which the two differ.

    Two judges differ on a prompt whose value, in the suite's metric, is at least 0.5 for one of them alone.
    """

    figure: float
    prompts: Sequence[int]
    differ: float


def second_opinion(suite: LoadedSuite, outcome: Outcome, store: ResultStore | None = None) -> Opinion | None:
    """The second judge's opinion; None where a suite has none or no answers, or where the judge fails.

    What it says of these answers is kept in the store.
    """
    if suite.second is None or not outcome.completions:
        return None
    answers = _answers(suite, suite.second, outcome, store)
    if not answers:
        return None
    values = [answers[prompt.id][0] for prompt in suite.prompts]
    both = enumerate(zip(outcome.values, values, strict=True))
    differing = [i for i, (one, other) in both if (one >= HIT) != (other >= HIT)]
    return Opinion(_mean(suite, values), differing, len(differing) / len(values))


def _answers(suite: LoadedSuite, judge: Scorer, outcome: Outcome, store: ResultStore | None) -> Answers:
    cases = list(zip(suite.prompts, outcome.completions, strict=True))
    said = [(prompt.id, texts) for prompt, texts in cases]
    key = canonical_digest(["second opinion", suite.digest, suite.second_digest, said]).removeprefix("sha256:")
    sealed = bool(suite.suite.sealed)
    kept = store.get(key, private=sealed) if store is not None else {}
    if kept.keys() == {prompt.id for prompt in suite.prompts}:
        return kept
    try:
        scores = judge.judged(cases)
    except PpmError:  # whatever it is worth, no deployment hangs on it
        return {}
    found: Answers = {id_: (value, ()) for id_, (value, _) in valued(suite, scores, outcome.completions).items()}
    if store is not None:
        store.put(key, found, private=sealed)
    return found


def _mean(suite: LoadedSuite, values: Sequence[float]) -> float:
    evidence = suite.evidence(values)
    return sum(evidence) / len(evidence)
