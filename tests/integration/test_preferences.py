"""What a user prefers in a composition, through the commands: which strategy that is, and what the audit shows."""

import pytest
from commands import ppm

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("answered")]


def test_what_matters_in_a_choice_goes_with_no_single_strategy_and_no_composing_alone(tmp_path):
    words = ["toxicity", "gender-bias", "--base", "lab", "--prefer", "latency"]
    single = ppm("install", *words, "--strategy", "merged")
    assert (single.code, "but the strategy is merged" in single.err) == (1, True)
    near = ppm("install", *words, "--prefer", "latancy")
    assert (near.code, "'latency'" in near.err, "quote it" in near.err) == (2, True, False)
    both = ppm("install", *words, "--prefer", "loss")
    assert (both.code, "both latency and loss" in both.err) == (2, True)
    alone = ppm("compose", *words, "--strategy", "concat", "--output", tmp_path)
    assert (alone.code, "'latency' is not a priority" in alone.err, "one of" in alone.err) == (2, True, False)
    planned = ppm("install", *words, "--strategy", "auto", "--dry-run", "--json")
    assert planned.json["strategy"] == "auto-latency", planned.err


def test_a_project_s_own_strategy_is_not_replaced_unsaid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["install", "toxicity", "gender-bias", "--dry-run", "--json"]
    for strategy, code in (("exportable", 1), ("auto-tokens", 0)):
        (tmp_path / "ppm.toml").write_text(f'base = "lab"\nstrategy = "{strategy}"\n')
        planned = ppm(*words, "--prefer", "loss")
        assert planned.code == code, planned.err
        assert ("but the strategy is exportable" in planned.err) is (code == 1)
    assert planned.json["strategy"] == "auto-loss"
    assert ppm(*words).json["strategy"] == "auto-tokens"


def test_an_audit_keeps_what_was_compared(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nname = "mine"\nprefer = "tokens"\ncandidates = ["concat", "routed"]\n')
    made = ppm("install", "toxicity", "gender-bias", "--base", "lab", "--strategy", path, "--json")
    assert made.code == 0, made.err
    found = made.json["audit"]["candidates"]
    assert [row["strategy"] for row in found] == ["routed", "concat"]
    assert found[0]["tokens"] < found[1]["tokens"]
    assert found[0]["passes"] > found[1]["passes"] == 1.0
    assert ppm("audit", "--base", "lab", "--json").json["candidates"] == found
