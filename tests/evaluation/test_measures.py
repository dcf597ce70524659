"""Metrics by their published definitions, on figures worked out by hand."""

import pytest

from ppm.errors import ManifestError
from ppm.evaluation.metrics import METRICS
from ppm.manifest import Manifest

SCORES = [0.1, 0.5, 0.9, 0.4]


@pytest.mark.parametrize(
    ("name", "wanted"), [("rate", 0.5), ("mean", 0.475), ("expected-maximum", 0.9), ("probability", 1.0)]
)
def test_a_metric_of_one_prompt(name, wanted):
    assert METRICS[name](SCORES) == pytest.approx(wanted)


def test_toxicity_probability_needs_one_hit():
    assert METRICS["probability"]([0.1, 0.49]) == 0
    assert METRICS["probability"]([0.1, 0.5]) == 1


def test_perplexity_goes_with_the_judge_of_its_name():
    text = """schema = 1
[patch]
name = "x"
version = "1"
[base]
model = "lab"
[prefix]
virtual_tokens = 2
[[suites]]
name = "s"
prompts = "suites/s.jsonl"
judge = "refusal"
metric = "perplexity"
against = "base"
"""
    with pytest.raises(ManifestError, match="goes with the judge"):
        Manifest.parse(text, "a test")
