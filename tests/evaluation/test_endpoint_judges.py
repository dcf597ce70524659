"""Judges behind an address, against a server that speaks their protocols: scores, faults, and consent."""

import math
import time

import pytest
from endpoint_server import Behaviour, serve

from ppm.errors import EndpointError, PpmError
from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Prompt
from ppm.suite import Judge

CASES = [(Prompt("1", "one"), ("a fine day", "you fool")), (Prompt("2", "two"), ("",))]
OPTIONS = {
    "llm": {"model": "m", "rubric": "the answer insults somebody"},
    "openai-moderation": {},
    "perspective": {"requests_per_minute": 100_000.0},
    "llama-guard": {"model": "m", "endpoint": True},
}


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a key")
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "its key")


def score(name, behaviour, monkeypatch, cases=CASES, **options):
    judge = make_judge(Judge(name, {**OPTIONS[name], **options}), {}, "a test")
    with serve(behaviour) as url:
        monkeypatch.setenv("PPM_JUDGE_URL", url)
        monkeypatch.setenv("PERSPECTIVE_URL", f"{url}/comments:analyze")
        return judge.judged(cases)


def toxic(text):
    return 0.9 if "fool" in text else 0.1


def test_a_rubric_is_asked_of_a_model_as_material_and_not_as_instructions(monkeypatch):
    behaviour = Behaviour(lambda text: f'```json\n{{"score": {toxic(text)}}}\n```')
    assert score("llm", behaviour, monkeypatch) == [[0.1, 0.9], [0.1]]
    system, question = behaviour.requests[0][1]["messages"]
    assert "insults somebody" in system["content"]
    assert "<<<ANSWER" in question["content"]


@pytest.mark.parametrize("grade", ["", "fine", '{"score": 2}', '{"score": "high"}', '{"score": true}', '{"grade": 1}'])
def test_a_grade_that_is_none_is_asked_again_and_then_an_error(monkeypatch, grade):
    behaviour = Behaviour(lambda text: grade)
    with pytest.raises(EndpointError, match="no grade from 0 to 1"):
        score("llm", behaviour, monkeypatch, CASES[1:])
    assert len(behaviour.requests) == 3


def test_moderation_takes_the_worst_category_or_the_one_named(monkeypatch):
    assert score("openai-moderation", Behaviour(toxic), monkeypatch) == [[0.1, 0.9], [0.0]]
    assert score("openai-moderation", Behaviour(toxic), monkeypatch, category="violence") == [[0.05, 0.45], [0.0]]
    with pytest.raises(EndpointError, match="'heat'") as caught:
        score("openai-moderation", Behaviour(toxic), monkeypatch, category="heat")
    assert "harassment, violence" in caught.value.hint


def test_whoever_runs_ppm_sets_the_pace(monkeypatch):
    monkeypatch.setenv("PPM_JUDGE_REQUESTS_PER_MINUTE", "600")
    started = time.monotonic()
    score("openai-moderation", Behaviour(toxic), monkeypatch, [(Prompt("1", "one"), ("a",) * 6)])
    assert time.monotonic() - started >= 0.5
    for wrong in ("fast", "-1", "nan", "inf"):
        monkeypatch.setenv("PPM_JUDGE_REQUESTS_PER_MINUTE", wrong)
        with pytest.raises(EndpointError, match="must be a number"):
            score("openai-moderation", Behaviour(toxic), monkeypatch)


def test_perspective_is_asked_for_its_attribute_and_never_about_nothing(monkeypatch):
    behaviour = Behaviour(toxic, faults=[429, 503, "broken"])
    assert score("perspective", behaviour, monkeypatch) == [[0.1, 0.9], [0.0]]
    assert len(behaviour.requests) == 5
    assert behaviour.requests[0][1]["requestedAttributes"] == {"TOXICITY": {}}


def test_a_score_of_moderation_that_is_no_number_is_an_error(monkeypatch):
    with pytest.raises(PpmError, match="not between 0 and 1"):
        score("openai-moderation", Behaviour(lambda text: float("nan")), monkeypatch)


@pytest.mark.parametrize("fault", [400, "html"])
def test_perspective_that_fails_is_told_with_its_end_and_without_the_key(monkeypatch, fault):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(EndpointError) as caught:
        score("perspective", Behaviour(always=fault), monkeypatch)
    assert "2026-12-31" in caught.value.hint
    assert "its key" not in str(caught.value)


def test_llama_guard_behind_an_endpoint_scores_by_its_probabilities(monkeypatch):
    other = {"token": "safe", "logprob": -14.0}
    space = {"token": "\n\n", "top_logprobs": [{"token": "\n\n", "logprob": -0.01}, other]}
    verdict = {
        "token": "unsafe",
        "top_logprobs": [{"token": "unsafe", "logprob": math.log(0.6)}, {"token": "safe", "logprob": math.log(0.2)}],
    }
    behaviour = Behaviour(lambda text: "\n\nunsafe\nS10", logprobs={"content": [space, verdict]})
    [[found]] = score("llama-guard", behaviour, monkeypatch, [(Prompt("1", "one"), ("x",))])
    assert found == pytest.approx(0.75)
    assert [m["role"] for m in behaviour.requests[0][1]["messages"]] == ["user", "assistant"]
    masked = {"token": "unsafe", "top_logprobs": [{"token": "unsafe", "logprob": -9999.0}]}
    behaviour.logprobs = {"content": [masked]}
    assert score("llama-guard", behaviour, monkeypatch, [(Prompt("1", "one"), ("x",))]) == [[1.0]]
    plain = Behaviour(lambda text: "unsafe\nS1" if "fool" in text else "\nsafe")
    assert score("llama-guard", plain, monkeypatch) == [[0.0, 1.0], [0.0]]
    with pytest.raises(EndpointError, match="neither safe nor unsafe"):
        score("llama-guard", Behaviour(lambda text: "unsafely put"), monkeypatch)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_without_consent_nothing_is_sent(monkeypatch, name):
    monkeypatch.delenv("PPM_JUDGE_URL", raising=False)
    monkeypatch.delenv("PERSPECTIVE_API_KEY")
    judge = make_judge(Judge(name, OPTIONS[name]), {}, "a test")
    with pytest.raises(PpmError) as caught:
        judge.prepare()
    assert "export" in caught.value.hint


def test_a_package_can_not_say_where_a_judge_is():
    with pytest.raises(PpmError, match="no option 'url'"):
        make_judge(Judge("llm", {**OPTIONS["llm"], "url": "http://127.0.0.1:1"}), {}, "a test")
