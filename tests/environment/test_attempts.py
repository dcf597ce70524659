"""The ledger of gated attempts: what counts as another look at the gate's prompts."""

import json
import multiprocessing
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from environment.samples import run_killed_at

from ppm.environment import attempts, evidence
from ppm.environment.attempts import Asked, GatedAttempt, ledger_of, ledgers, mend_ledger
from ppm.errors import EnvironmentStateError, IntegrityError
from ppm.names import canonical_digest

BASE = "sha256:" + "0" * 64


def attempt(composition, looks=(), dtype="float32"):
    return GatedAttempt(composition, "distilled", 0, looks, dtype=dtype)


def asked(name, *prompts):
    return Asked.of(name, prompts or ("one", "two"), f"suite {name}")


def begin(ledger, composition, looks=()):
    """Which attempt on one suite it is."""
    [number] = ledger.begin(attempt(composition, looks), [asked("s")]).values()
    return number


@pytest.fixture
def home(tmp_path):
    return tmp_path


def opened(home, packages=()):
    return ledger_of(home, BASE, packages)


def test_each_composition_is_an_attempt_of_its_own(home):
    for number, composition in enumerate(("a", "b", "c"), 1):
        assert begin(opened(home), composition) == number


def test_the_same_composition_again_is_the_same_attempt(home):
    ledger = opened(home)
    assert begin(ledger, "a") == 1
    ledger.end(attempt("a"), "fail")
    assert begin(ledger, "b") == 2
    again = opened(home)
    assert begin(again, "a") == 1
    assert [known.verdict for known in again.attempts] == ["fail", "started"]


def test_other_looks_or_another_dtype_are_another_attempt(home):
    ledger = opened(home)
    assert [begin(ledger, "a", looks) for looks in ((), (0.9,), (0.8,), (0.9,))] == [1, 2, 3, 2]
    assert begin(opened(home), "a", (0.8,)) == 3
    assert ledger.begin(attempt("a", dtype="bfloat16"), [asked("s")]) == {"s": 4}


def test_prompts_are_counted_whatever_suites_are_called_and_however_prompts_are_written_and_ordered(home):
    ledger = opened(home)
    first = Asked.of("s", ["How are you?", "Who is it?"])
    for number, (name, prompts) in enumerate(
        [("s", ["How are you?", "Who is it?"]), ("t", ["Who is it?", "HOW  are you?"]), ("u", ["how are you?"])], 1
    ):
        assert ledger.begin(attempt(f"c{number}"), [Asked.of(name, prompts)]) == {name: number}
    assert ledger.looks_at(first) == 3
    assert ledger.looks_at(Asked.of("v", ["Who is it?"])) == 2
    assert ledger.looks_at(Asked.of("w", ["What now?"])) == 0


def test_one_shared_prompt_is_an_overlap_and_fresh_prompts_begin_anew(home):
    ledger = opened(home)
    for i in range(3):
        ledger.begin(attempt(f"c{i}"), [asked("old", "one", "two")])
    numbers = ledger.begin(attempt("d"), [asked("both", "two", "three"), asked("fresh", "three", "four")])
    assert numbers == {"both": 4, "fresh": 1}


def test_two_suites_with_the_same_prompts_in_one_attempt_are_one_look(home):
    assert opened(home).begin(attempt("a"), [asked("s"), asked("t")]) == {"s": 1, "t": 1}


def test_more_prompts_or_another_judge_for_the_same_composition_are_one_more_look(home):
    """Whoever asks on because nothing was settled has looked before."""
    ledger = opened(home)
    assert ledger.begin(attempt("a"), [asked("s", "one"), asked("other", "x")]) == {"s": 1, "other": 1}
    assert ledger.begin(attempt("a"), [asked("longer", "one", "two"), asked("other", "x")]) == {"longer": 2, "other": 1}
    assert ledger.begin(attempt("a"), [asked("s", "one")]) == {"s": 1}
    assert ledger.begin(attempt("b"), [asked("s", "one")]) == {"s": 3}
    assert [list(known.suites) for known in ledger.attempts] == [["s", "other"], ["longer"], ["s"]]


def test_each_base_has_a_ledger_of_its_own(home):
    begin(opened(home), "a")
    assert begin(ledger_of(home, "sha256:" + "1" * 64), "b") == 1


def test_what_an_older_ppm_counted_for_these_patches_counts_for_all_prompts(home):
    path = home / "attempts" / f"{canonical_digest(['x', 'y']).removeprefix('sha256:')}.jsonl"
    path.parent.mkdir()
    rows = [
        {"composition": c, "strategy": "distilled", "seed": 0, "looks": [], "verdict": "fail", "at": ""} for c in "ab"
    ]
    evidence.write(path, "".join(json.dumps(row) + "\n" for row in rows).encode(), 2)
    assert begin(opened(home, ["y", "x"]), "c") == 3
    assert begin(opened(home, ["x"]), "d") == 2
    assert begin(opened(home, ["y", "x"]), "e") == 5


def test_what_a_lock_counts_is_taken_over_once(home):
    ledger, suite = opened(home), asked("s")
    for _ in range(2):
        ledger.adopt({suite.digest: 3}, [suite, asked("other", "x")], attempt("c"))
    assert ledger.looks_at(suite) == 3
    assert begin(ledger, "c") == 3
    assert begin(ledger, "d") == 4
    ledger.adopt({suite.digest: 3}, [suite])
    assert ledger.looks_at(suite) == 4
    ledger.adopt({suite.digest: 6}, [suite])
    assert begin(ledger, "e") == 7
    assert ledger.looks_at(asked("other", "x")) == 0


def test_a_ledger_goes_on_from_where_it_was_and_one_that_began_anew_does_not(home):
    ledger = opened(home)
    nothing = ledger.mark
    begin(ledger, "a")
    mark = ledger.mark
    ledger.end(attempt("a"), "pass")
    begin(ledger, "b")
    assert opened(home).goes_on_from(mark)
    assert opened(home).goes_on_from(nothing)
    shutil.rmtree(home / "attempts")
    assert not opened(home).goes_on_from(mark)
    begin(opened(home), "x")
    begin(opened(home), "b")
    assert not opened(home).goes_on_from(mark)


def test_every_set_of_prompts_is_known_by_its_latest_name(home):
    ledger = opened(home)
    ledger.begin(attempt("a"), [asked("s"), asked("t", "x", "y", "z")])
    ledger.begin(attempt("b"), [replace(asked("s"), label="renamed")])
    assert [(one.label, len(one.prompts)) for one in opened(home).asked()] == [("renamed", 2), ("suite t", 3)]


@pytest.mark.parametrize("damage", [b"", b"0" * 16, None])
def test_a_lost_list_of_prompts_is_told_and_counts_for_all_once_mended(home, damage):
    ledger = opened(home)
    begin(ledger, "a")
    [path] = (home / "attempts" / "prompts").iterdir()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(IntegrityError) as caught:
        opened(home).looks_at(asked("other", "x"))
    assert "ppm verify --mend" in caught.value.hint
    assert mend_ledger(ledger.path) == 1
    assert mend_ledger(ledger.path) is None
    assert opened(home).looks_at(asked("other", "x")) == 1
    assert begin(opened(home), "b") == 2


def test_an_attempt_that_never_ended_counts(home):
    begin(opened(home), "a")
    assert begin(opened(home), "b") == 2


def test_what_others_began_meanwhile_is_seen(home):
    first, second = opened(home), opened(home)
    assert begin(first, "a") == 1
    assert begin(second, "b") == 2
    first.end(attempt("a"), "pass")
    second.end(attempt("b"), "fail")
    kept = opened(home).attempts
    assert [(known.composition, known.verdict) for known in kept] == [("a", "pass"), ("b", "fail")]


def _begin(home, composition, numbers):
    numbers.put(begin(opened(home), composition))


def test_attempts_begun_at_once_get_different_numbers(home):
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    processes = [context.Process(target=_begin, args=(home, str(i), numbers)) for i in range(4)]
    for process in processes:
        process.start()
    assert sorted(numbers.get(timeout=60) for _ in processes) == [1, 2, 3, 4]
    for process in processes:
        process.join()


@pytest.mark.parametrize("line", ["{", '{"composition": "a"}', json.dumps([1]), "\udcff", "[" * 5000])
def test_in_a_ledger_from_before_there_were_digests_a_damaged_line_counts(home, line):
    ledger = opened(home)
    ledger.path.parent.mkdir()
    with ledger.path.open("w", errors="surrogateescape") as stream:
        stream.write(json.dumps({"composition": "a", "strategy": "distilled", "seed": 0, "looks": []}) + "\n")
        stream.write(line + "\n")
    assert begin(opened(home), "a") == 3
    assert begin(opened(home), "b") == 4
    assert [known.composition for known in opened(home).attempts] == ["a", "", "a", "b"]


def _cut(data):
    return data[: len(data) // 2]


def _without_a_line(data):
    return b"\n".join(data.split(b"\n")[:-2]) + b"\n"


def _without_its_first_line(data):
    return data.partition(b"\n")[2]


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _without_a_line,
        _without_its_first_line,
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data.replace(b'"c0"', b'"c9"'),
        lambda data: data.replace(b'"entries": 3', b'"entries": 1'),
        lambda data: data + b"x",
        lambda data: None,
    ],
)
def test_lost_attempts_are_told_and_counted_once_mended(home, damage):
    ledger = opened(home)
    for i in range(3):
        begin(ledger, f"c{i}")
    changed = damage(ledger.path.read_bytes())
    ledger.path.unlink()
    if changed is not None:
        ledger.path.write_bytes(changed)
    for use in (lambda: opened(home), lambda: begin(ledger, "d")):
        with pytest.raises(IntegrityError) as caught:
            use()
        assert "ppm verify --mend" in caught.value.hint
    assert ledgers(home) == [ledger.path]
    assert mend_ledger(ledger.path) >= 3
    assert mend_ledger(ledger.path) is None
    assert begin(opened(home), "d") >= 4


def test_an_older_copy_of_a_ledger_is_told(home):
    ledger = opened(home)
    begin(ledger, "a")
    older = ledger.path.read_bytes()
    begin(ledger, "b")
    ledger.path.write_bytes(older)
    with pytest.raises(IntegrityError, match="older copy"):
        opened(home)
    assert mend_ledger(ledger.path) == 2


@pytest.mark.parametrize("damage", [None, b"", b"{}", b'{"entries": 1, "revision": 1, "digest": ""}\n'])
def test_a_lost_witness_costs_nothing_and_comes_back(home, damage):
    ledger = opened(home)
    begin(ledger, "a")
    witness = ledger.path.with_name(ledger.path.name + ".witness")
    witness.unlink()
    if damage is not None:
        witness.write_bytes(damage)
    assert begin(opened(home), "b") == 2
    ledger.path.unlink()
    with pytest.raises(IntegrityError, match="was deleted"):
        opened(home)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "splendid"},
        {"looks": [1.5]},
        {"looks": [0]},
        {"looks": [float("nan")]},
        {"more": 1},
        {"times": 0},
        {"times": 10**9},
        {"suites": {"s": "../x"}},
        {"suites": ["s"]},
        {"suites": {"s": 1}},
    ],
)
def test_what_can_not_be_an_attempt_is_none(home, change):
    ledger = opened(home)
    row = {"composition": "a", "strategy": "distilled", "seed": 0, "looks": [], "verdict": "fail", "at": "", **change}
    ledger.path.parent.mkdir()
    evidence.write(ledger.path, json.dumps(row).encode() + b"\n", 1)
    with pytest.raises(IntegrityError, match="not an attempt"):
        opened(home)
    assert mend_ledger(ledger.path) == 1
    assert begin(opened(home), "a") == 2


def test_a_reader_is_never_misled_by_a_writer_at_work(home):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_begin_many, args=(home,))
    process.start()
    seen = []
    while process.is_alive():
        seen.append(len(opened(home).attempts))
    process.join()
    assert process.exitcode == 0
    assert seen == sorted(seen)


def _begin_many(home):
    ledger = opened(home)
    for i in range(60):
        begin(ledger, str(i))


def test_a_process_killed_while_it_begins_leaves_a_sound_ledger(home, tmp_path):
    begin(opened(home), "a")
    for step in range(1, 40):
        other = tmp_path / "killed" / str(step)
        shutil.copytree(home / "attempts", other / "attempts")
        killed = run_killed_at(step, lambda other=other: begin(opened(other), "b"))
        ledger = opened(other)
        assert [known.composition for known in ledger.attempts] in (["a"], ["a", "b"])
        assert begin(ledger, "b") == 2
        assert begin(ledger, "c") == 3
        assert not list(other.rglob(".partial*"))
        if not killed:
            break
    assert step > 6


def test_a_ledger_that_cannot_be_written_says_so(home):
    ledger = opened(home)
    (home / "attempts").write_text("a file")
    with pytest.raises(EnvironmentStateError):
        begin(ledger, "a")


def test_a_clock_that_goes_back_changes_no_count(home, monkeypatch):
    class Earlier(datetime):
        """A day ago, and another day with each call."""

        days = 0

        @classmethod
        def now(cls, tz=None):
            Earlier.days += 1
            return datetime.now(tz) - timedelta(days=Earlier.days)

    ledger = opened(home)
    assert begin(ledger, "a") == 1
    monkeypatch.setattr(attempts, "datetime", Earlier)
    assert begin(opened(home), "b") == 2
    again = opened(home)
    assert begin(again, "c") == 3
    assert begin(again, "a") == 1
    assert [known.composition for known in again.attempts] == ["a", "b", "c"]
    assert again.attempts[0].at > again.attempts[1].at > again.attempts[2].at


def test_a_lost_line_counts_as_all_the_attempts_that_it_stood_for(home):
    ledger, suite = opened(home), asked("s")
    ledger.adopt({suite.digest: 12}, [suite])
    assert begin(ledger, "a") == 13
    path = ledger.path
    path.write_bytes(path.read_bytes().replace(b'"times": 12', b'"times": "a dozen"'))
    with pytest.raises(IntegrityError):
        opened(home)
    assert mend_ledger(path) == 13
    assert begin(opened(home), "b") == 14


def test_a_ledger_whose_seal_counts_entries_is_read(home, monkeypatch):
    ledger, suite = opened(home), asked("s")
    monkeypatch.setattr(attempts, "_counted", len)  # as older ppm did
    ledger.adopt({suite.digest: 12}, [suite])
    monkeypatch.undo()
    assert begin(opened(home), "a") == 13
