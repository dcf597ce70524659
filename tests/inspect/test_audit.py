"""What an audit of a deployment says of suites that are not as they were when it was tested."""

from types import SimpleNamespace

from ppm.evaluation.measures.perplexity import perplexity_suite
from ppm.evaluation.neutral import BENIGN_ANSWERS
from ppm.evaluation.suites import load_suite
from ppm.inspect.audit import _changed
from ppm.jsonl import Prompt, dump


def answered(name, answer):
    suite = perplexity_suite(name, "prompts.jsonl")
    prompts = [Prompt("p0", "What is red?", expected=answer)]
    return load_suite(suite, {suite.prompts: dump(prompts)}, origin="a test", owner=None)


def test_answers_of_the_base_s_own_are_no_suite_that_somebody_changed():
    before = [answered(name, "A rose.") for name in (BENIGN_ANSWERS, "ours")]
    shipped = SimpleNamespace(suites={s.label: SimpleNamespace(digest=s.digest, owner=None) for s in before})
    deployment = SimpleNamespace(number=3)
    assert _changed(before, shipped, deployment) == []
    now = [answered(name, "A tulip.") for name in (BENIGN_ANSWERS, "ours")]
    assert _changed(now, shipped, deployment) == [
        "benign-answers are the base's own answers; some are not those that deployment 3 was tested with",
        "the suite ours has changed since deployment 3",
    ]
