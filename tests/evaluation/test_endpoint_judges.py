"""Judges behind an address, against a server that speaks their protocols: scores, faults, and consent."""

import math
import time

import pytest
from endpoint_server import Behaviour, serve

from ppm.errors import EndpointError, PpmError
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.suite import Judge, Suite

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


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ('<think>The rubric wants {score: X}. The answer {x} is mild.</think>\n{"score": 0.8}', 0.8),
        ('<think>Perhaps {"score": 0.1}.</think>{"score": 0.8}', 0.8),
        ('it may be {"score": 0.1}, or not.</think>\n\n{"score": 0.8}', 0.8),
        ('```json\n{"score": 0.8}\n```', 0.8),
        ('Sure: {"score": 0.8} {', 0.8),
        ('{"score": 0.1}\nWait, on reflection:\n{"score": 0.8}', 0.8),
        ('{"reason": "it says {x}", "score": 0.8}', 0.8),
        ('{"score": 0.8, "reason": {"score": "none"}}', 0.8),
        ('{"score": "0.8"}', 0.8),
        ('{"result": {"score": 0.8}}', 0.8),
        ('{"score": 1}', 1.0),
    ],
)
def test_a_grade_is_read_behind_thoughts_fences_and_prose(monkeypatch, reply, grade):
    assert score("llm", Behaviour(lambda text: reply), monkeypatch, CASES[1:]) == [[grade]]


def test_a_model_that_thinks_long_is_asked_again_with_more_room(monkeypatch):
    behaviour = Behaviour(lambda text: '<think>hm {"score": 0.1}', finish="length")
    with pytest.raises(EndpointError, match="instead of a grade"):
        score("llm", behaviour, monkeypatch, CASES[1:])
    rooms = [body["max_tokens"] for _, body, _ in behaviour.requests]
    assert rooms == sorted(set(rooms))


@pytest.mark.parametrize(
    "grade",
    [
        "", "fine", '{"score": 2}', '{"score": "high"}', '{"score": true}', '{"grade": 1}', '{"score": "80%"}',
        '{"score": 0,8}', "{'score': 0.8}", "0.8", '{"score": 8}', '{"score": NaN}', '{"score": 0.1, "score": 0.9}',
        '{"score": 0.5}\nNo: {"score": 7}', "{" * 5000, '{"score": ' * 3000, '{"score": null}', '{"score": [0.5]}',
    ],
)  # fmt: skip
def test_a_grade_that_is_none_is_asked_again_and_then_an_error(monkeypatch, grade):
    behaviour = Behaviour(lambda text: grade)
    with pytest.raises(EndpointError, match="instead of a grade from 0 to 1"):
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


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_grades_are_kept_by_who_gave_them(monkeypatch, name):
    """Also a suite that can't be run here, for lack of an address, is read."""
    variable = "PERSPECTIVE_URL" if name == "perspective" else "PPM_JUDGE_URL"
    suite, prompts = Suite("graded", "p.jsonl", Judge(name, OPTIONS[name])), dump([Prompt("1", "one")])

    def digest(url):
        monkeypatch.delenv(variable, raising=False)
        if url:
            monkeypatch.setenv(variable, url)
        return load_suite(suite, {"p.jsonl": prompts}, origin="here", owner=None).digest

    one, other, nobody = (digest(url) for url in ("https://one.example/v1", "https://other.example/v1", ""))
    assert len({one, other, nobody}) == 3
    assert digest("https://one.example/v1/") == one
    alice, bob = (digest(f"https://{who}@one.example/v1") for who in ("alice:secret", "bob:hidden"))
    assert alice == bob


def test_a_package_can_not_say_where_a_judge_is():
    with pytest.raises(PpmError, match="no option 'url'"):
        make_judge(Judge("llm", {**OPTIONS["llm"], "url": "http://127.0.0.1:1"}), {}, "a test")


def test_perspective_asks_no_address_that_is_none(monkeypatch):
    monkeypatch.setenv("PERSPECTIVE_URL", "http://127.0.0.1:port/")
    judge = make_judge(Judge("perspective", OPTIONS["perspective"]), {}, "a test")
    with pytest.raises(EndpointError, match="is not an address"):
        judge.judged(CASES)


def test_perspective_behind_a_proxy_that_can_not_be_used_is_told(monkeypatch):
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "a-secret-of-mine-123\n")
    judge = make_judge(Judge("perspective", OPTIONS["perspective"]), {}, "a test")
    with pytest.raises(EndpointError, match="characters that a key can't have") as caught:
        judge.prepare()
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("PERSPECTIVE_API_KEY", "a-secret-of-mine-123")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("PERSPECTIVE_URL", "http://192.0.2.1/")
    with pytest.raises(EndpointError, match="proxy that ALL_PROXY names"):
        judge.judged(CASES)
