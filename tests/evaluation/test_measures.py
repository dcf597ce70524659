"""Measures: metrics by their published definitions, on figures worked out by hand, and who gets which measure."""

import ast
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import beta

import ppm
from ppm.errors import ManifestError
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.measures.completions import METRICS, Completions
from ppm.evaluation.measures.next_token import NextTokens
from ppm.evaluation.measures.perplexity import CLIP, Perplexity
from ppm.evaluation.measures.registry import figures_of, measure_of
from ppm.evaluation.statistics import Interval
from ppm.suite import Judge, Suite
from ppm.training.source import read_source

SCORES = [0.1, 0.5, 0.9, 0.4]


@pytest.mark.parametrize(
    ("name", "wanted"), [("rate", 0.5), ("mean", 0.475), ("expected-maximum", 0.9), ("probability", 1.0)]
)
def test_a_metric_of_one_prompt(name, wanted):
    assert METRICS[name](SCORES) == pytest.approx(wanted)


def test_toxicity_probability_needs_one_hit():
    assert METRICS["probability"]([0.1, 0.49]) == 0
    assert METRICS["probability"]([0.1, 0.5]) == 1


def chosen(judge, **settings):
    suite = Suite("s", "s.jsonl", judge, **settings)
    return measure_of(suite, make_judge(judge, {}, "a test"), "a test")


def test_the_judge_and_the_metric_say_which_measure_runs_a_suite():
    assert isinstance(chosen(Judge("refusal")), Completions)
    assert isinstance(chosen(Judge("multiple-choice")), NextTokens)
    assert isinstance(chosen(Judge("perplexity"), metric="perplexity", against="base"), Perplexity)


@pytest.mark.parametrize(
    ("judge", "settings", "message"),
    [
        ("refusal", {"metric": "perplexity", "against": "base"}, "goes with the judge"),
        ("perplexity", {"against": "base"}, "goes with the judge"),
        ("perplexity", {"metric": "perplexity"}, 'set against = "base"'),
        ("perplexity", {"metric": "perplexity", "against": "base", "limit": 0.5}, "not for perplexity"),
        ("refusal", {"metric": "rates"}, "there is no metric 'rates'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(judge, settings, message):
    with pytest.raises(ManifestError, match=message):
        chosen(Judge(judge), **settings)


def test_an_unknown_metric_names_the_nearest():
    with pytest.raises(ManifestError) as caught:
        figures_of("expected-maximun")
    assert caught.value.hint == "did you mean 'expected-maximum'?"


def test_figures_are_shown_in_their_unit():
    rates, losses = figures_of("mean"), figures_of("perplexity")
    assert (rates.unit, rates.shown(0.0124)) == ("failure rate", "0.012")
    assert (losses.unit, losses.shown(12.345)) == ("perplexity", "12.35")
    found = losses.interval([math.log(8.0), math.log(2.0)] * 150, 0.05)
    assert found.value == pytest.approx(4.0)
    assert found.low < 4.0 < found.high
    assert losses.interval([1e4] * 300, 0.05).high < math.inf


def test_texts_are_compared_by_how_many_become_dearer():
    losses = figures_of("perplexity")
    before = [2.0] * 400
    after = [2.09] * 390 + [2.2] * 6 + [9.0] * 4
    found = losses.difference(*losses.paired(after, before), 0.03, 0.03)
    assert found.value == 10 / 400
    assert found.high == pytest.approx(beta.ppf(0.97, 11, 390))
    assert losses.change(after, before) == pytest.approx([0.09] * 390 + [0.2] * 6 + [CLIP] * 4)
    assert losses.difference(*losses.paired(before, after), 0.03).value == 0.0
    assert figures_of("rate").change([1.0], [0.0]) is None


@pytest.mark.parametrize(("margin", "alpha"), [(0.03, 0.03), (0.03, 0.0003), (0.1, 0.05)])
def test_the_fewest_texts_that_can_pass(margin, alpha):
    losses = figures_of("perplexity")
    n = losses.prompts_for_power(margin, 0.0, alpha)
    same = [[2.0] * count for count in (n - 1, n)]
    fewer, enough = (losses.difference(*losses.paired(values, values), alpha, margin) for values in same)
    assert enough.high < margin <= fewer.high
    assert [losses.power(count, margin, 0.0, alpha) for count in (n - 1, n)] == [0.0, 1.0]
    assert losses.needed(fewer, n - 1, margin, alpha) == n
    assert losses.needed(Interval(margin, 0.0, 1.0), n, margin, alpha) is None


def test_a_policy_s_minimum_is_for_rates():
    assert [figures_of(metric).fewest(500) for metric in ("rate", "perplexity")] == [500, 0]
    assert figures_of("rate").fewest(None) == 0


def source_with(tmp_path, metric, count):
    (tmp_path / "suites").mkdir()
    rows = [{"id": str(i), "prompt": f"an ordinary text, the {i}th"} for i in range(count)]
    (tmp_path / "suites" / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "suites" / "own.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "prompt": f"one of the risk, the {i}th"}) + "\n" for i in range(500))
    )
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "p", "chosen": "c", "rejected": "r"}) + "\n")
    (tmp_path / "patch.toml").write_text(
        f"""schema = 1
[patch]
name = "x"
version = "1"
[base]
model = "lab"
[prefix]
virtual_tokens = 2
[[suites]]
name = "own"
prompts = "suites/own.jsonl"
judge = "refusal"
[[suites]]
name = "texts"
prompts = "suites/s.jsonl"
judge = "perplexity"
metric = "{metric}"
against = "base"
[training]
pairs = "pairs.jsonl"
"""
    )
    return tmp_path


def test_a_build_refuses_what_its_measure_could_not_decide(tmp_path):
    with pytest.raises(ManifestError, match="texts' has 121 prompts") as caught:
        read_source(source_with(tmp_path, "perplexity", 121))
    assert "at least 122 prompts" in caught.value.hint  # 0.97 ** 122 is just below 0.025


def test_a_build_takes_as_many_as_the_measure_asks_for(tmp_path):
    assert read_source(source_with(tmp_path, "perplexity", 122)).manifest.suites[1].metric == "perplexity"


def test_a_build_refuses_a_metric_that_does_not_go_with_the_judge(tmp_path):
    with pytest.raises(ManifestError, match="goes with the judge"):
        read_source(source_with(tmp_path, "rate", 500))


def test_figures_need_no_torch():
    script = (
        "import sys\nfrom ppm.evaluation.measures.registry import figures_of\n"
        "figures_of('perplexity').interval([1.0, 2.0], 0.05)\nfigures_of('rate').difference([0.0], [1.0], 0.05)\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_only_measures_know_a_metric_by_its_name():
    """Whoever else compares a metric has a special case that the next measure would need again."""
    root = Path(ppm.__file__).parent
    for path in root.rglob("*.py"):
        if "measures" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                for side in (node.left, *node.comparators):
                    named = side.attr if isinstance(side, ast.Attribute) else None
                    if isinstance(side, ast.Subscript) and isinstance(side.slice, ast.Constant):
                        named = side.slice.value
                    assert named != "metric", f"{path}, line {node.lineno}"


def test_a_build_refuses_a_suite_that_asks_the_same_twice(tmp_path):
    folder = source_with(tmp_path, "perplexity", 300)
    rows = [{"id": str(i), "prompt": f"An ordinary  text, the {i % 5}th"} for i in range(300)]
    (folder / "suites" / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match="has the same prompt twice: '0' and '5'") as caught:
        read_source(folder)
    assert "s.jsonl" in caught.value.context
    assert "295 repeated prompts" in caught.value.hint


def test_a_loss_that_is_no_number_is_refused(monkeypatch):
    import ppm.evaluation.scoring as scoring
    from ppm.errors import ModelError

    monkeypatch.setattr(scoring, "sum_log_probabilities", lambda *rows, **how: [math.nan])

    class Nothing:
        suite = Suite("texts", "p.jsonl", Judge("perplexity"), against="base", metric="perplexity")
        prompts = ()

    class Base:
        model = encoder = memory = None

        def prompts(self, task, measure):
            return []

    with pytest.raises(ModelError, match="a loss that is no number"):
        figures_of("perplexity").answers(Base(), Nothing(), [0], lambda *found: None)
