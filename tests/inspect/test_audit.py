"""What an audit of a deployment says of suites that are not as they were when it was tested."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from audit.test_audit_model import AUDIT

from ppm.audit.model import AuditedSuite
from ppm.evaluation.measures.perplexity import perplexity_suite
from ppm.evaluation.neutral import BENIGN_ANSWERS
from ppm.evaluation.suites import load_suite
from ppm.inspect.audit import _changed
from ppm.jsonl import Prompt, dump


def suite(name, prompt="What is red?", answer="A rose."):
    declared = perplexity_suite(name, "prompts.jsonl")
    files = {declared.prompts: dump([Prompt("p0", prompt, expected=answer)])}
    return load_suite(declared, files, origin="a test", owner=None)


@pytest.mark.parametrize("now", [{"prompt": "What is blue?"}, {"answer": "A tulip."}])
def test_answers_of_the_base_s_own_are_no_suite_that_somebody_changed(now):
    names = (BENIGN_ANSWERS, "ours")
    shipped = replace(AUDIT, suites={name: AuditedSuite(1, "perplexity", suite(name).digest) for name in names})
    deployment = SimpleNamespace(number=3)
    assert _changed([suite(name) for name in names], shipped, deployment) == []
    assert _changed([suite(name, **now) for name in names], shipped, deployment) == [
        "benign-answers: some prompts, or the base's own answers to them, differ from deployment 3's",
        "the suite ours has changed since deployment 3",
    ]
