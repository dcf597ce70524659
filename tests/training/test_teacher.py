"""Answers of a teacher: kept as they come in, asked once, and refused where they are none."""

import pytest
from endpoint_server import Behaviour, serve
from environment.samples import small_disk

from ppm.errors import DiskError, EndpointError
from ppm.evaluation.reply import Reply
from ppm.suite import Decoding
from ppm.training.teacher import Question, Spool, answers_of_endpoint, estimate
from ppm.training_table import Teacher

QUESTIONS = [Question(f"prompt {i}", 0) for i in range(30)]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("A_KEY", "x")


def ask(behaviour, path, questions=QUESTIONS, **settings):
    with serve(behaviour) as url:
        teacher = Teacher("t", endpoint=url, key="A_KEY", retries=0, **{"concurrency": 3, **settings})
        return answers_of_endpoint(teacher, questions, Spool(path), Decoding(9, 0.7, 0.9, 5))


def test_what_was_answered_is_never_asked_again(tmp_path):
    behaviour, path = Behaviour(), tmp_path / "spool.jsonl"
    behaviour.faults = [None] * 12 + [401]
    with pytest.raises(EndpointError, match="401"):
        ask(behaviour, path, concurrency=1)
    kept = len(Spool(path).answers)
    assert kept >= 12
    before = len(behaviour.requests)
    assert ask(behaviour, path) == [f"an answer to prompt {i}" for i in range(30)]
    assert len(behaviour.requests) - before == 30 - kept
    asked = [body["messages"][-1]["content"] for _, body, _ in behaviour.requests]
    assert len(asked) - len(set(asked)) <= 2  # the one that failed, and what was under way then


def test_a_line_that_a_killed_process_left_unfinished_is_dropped(tmp_path):
    path = tmp_path / "spool.jsonl"
    ask(Behaviour(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert len(Spool(path).answers) == 29
    ask(Behaviour(), path)
    assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())
    path.write_bytes(b"no json\n" + whole)
    assert len(Spool(path).answers) == 30


def test_a_full_disk_is_told_and_costs_no_answer_that_was_kept(tmp_path):
    spool = Spool(tmp_path / "answers" / "spool.jsonl")
    spool.add([(QUESTIONS[0], Reply("an answer", "teacher"))])
    with small_disk(1000), pytest.raises(DiskError, match="the answers can't be kept"):
        spool.add([(QUESTIONS[1], Reply("a long answer" * 1000, "teacher"))])
    assert spool.missing(QUESTIONS[:2]) == [QUESTIONS[1]]
    spool.add([(QUESTIONS[1], Reply("a short answer", "teacher"))])
    assert Spool(spool.path).texts(QUESTIONS[:2]) == ["an answer", "a short answer"]


def test_the_first_answer_stays(tmp_path):
    path = tmp_path / "spool.jsonl"
    first = ask(Behaviour(), path)
    assert ask(Behaviour(lambda prompt: "another"), path) == first


def test_what_is_sent_is_what_the_manifest_says(tmp_path):
    behaviour = Behaviour()
    ask(behaviour, None, QUESTIONS[:1], system="Be kind.")
    [(path, body, _)] = behaviour.requests
    assert path.endswith("/chat/completions")
    assert body["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "prompt 0"}]
    assert (body["temperature"], body["top_p"], body["max_tokens"], body["seed"]) == (0.7, 0.9, 9, 5)
    plain = Behaviour()
    ask(plain, None, [Question("prompt 0", 2)], chat=False)
    [(path, body, _)] = plain.requests
    assert path.endswith("/v1/completions")
    assert (body["prompt"], body["seed"]) == ("prompt 0", 7)


@pytest.mark.parametrize("fault", ["empty", "null"])
def test_a_teacher_that_says_nothing_is_given_up_soon(tmp_path, fault):
    behaviour = Behaviour(always=fault)
    with pytest.raises(EndpointError, match="gave 20 answers in a row without any text"):
        ask(behaviour, tmp_path / "spool.jsonl")
    assert len(behaviour.requests) < 30
    assert Spool(tmp_path / "spool.jsonl").answers == {}


def test_a_teacher_that_goes_silent_is_asked_again_later(tmp_path):
    path = tmp_path / "spool.jsonl"
    behaviour = Behaviour(faults=[None] * 5, always="empty")
    with pytest.raises(EndpointError, match="in a row") as caught:
        ask(behaviour, path, concurrency=1)
    assert "stopped giving text" in caught.value.hint
    assert [reply.text for reply in Spool(path).answers.values()] == [f"an answer to prompt {i}" for i in range(5)]
    assert "" not in ask(Behaviour(), path)


def test_a_teacher_that_says_nothing_to_a_few_prompts_is_given_up(tmp_path):
    with pytest.raises(EndpointError, match="gave 3 answers in a row without any text"):
        ask(Behaviour(always="empty"), tmp_path / "spool.jsonl", QUESTIONS[:3])
    assert Spool(tmp_path / "spool.jsonl").answers == {}


def test_a_few_empty_answers_are_kept_as_such(tmp_path):
    path = tmp_path / "spool.jsonl"
    answers = ask(Behaviour(faults=["empty"] * 5), path)
    assert answers.count("") == 5
    assert len(Spool(path).answers) == 30


@pytest.mark.parametrize(
    ("answer", "learned"),
    [
        ("You are kind. You said “yes.” And then we", "You are kind. You said “yes.”"),
        ("Do this:\n1. Breathe.\n2. Co", "Do this:\n1. Breathe."),
        ("Version 1.2 of e.g", "Version 1.2 of e.g"),
        ("你好。再见", "你好。"),
        ("Whole.", "Whole."),
    ],
)
def test_an_answer_that_was_cut_off_is_learned_up_to_its_last_sentence(answer, learned):
    spool, question = Spool(None), QUESTIONS[0]
    spool.add([(question, Reply(answer, "", "length"))])
    assert spool.texts([question]) == [answer]
    assert spool.sentences([question]) == [learned]
    whole = Spool(None)
    whole.add([(question, Reply(answer, "", "stop"))])
    assert whole.sentences([question]) == [answer]


def test_usage_is_counted_with_the_models_that_answered(tmp_path):
    path = tmp_path / "spool.jsonl"
    ask(Behaviour(), path, QUESTIONS[:10])
    ask(Behaviour(model="another-teacher"), path)
    usage = Spool(path).usage(QUESTIONS)
    assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (30, 330, 210)
    assert usage.models == ("a-teacher", "another-teacher")


def test_the_cost_is_estimated_before():
    teacher = Teacher("t", endpoint="http://x/v1", input_price=2.0, output_price=10.0, requests_per_minute=10)
    text = estimate(teacher, [Question("x" * 4000, 0)] * 1000, Decoding(200))
    assert text.startswith("1,000 requests to t at x, with the key in OPENAI_API_KEY; about 1,000,000 tokens in")
    assert text.endswith(": about 4.00 at most, at least 100 minutes")
