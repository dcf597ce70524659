"""The ledger of gated attempts: what counts as another look at the gate's prompts."""

import json
import multiprocessing
import shutil

import pytest
from environment.samples import run_killed_at

from ppm.environment import evidence
from ppm.environment.attempts import GatedAttempt, ledgers, mend_ledger, open_ledger
from ppm.environment.deployment import Environment
from ppm.errors import EnvironmentStateError, IntegrityError


def attempt(composition, looks=()):
    return GatedAttempt(composition, "distilled", 0, looks)


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path, "tiny-0123456789ab")


def test_each_composition_is_an_attempt_of_its_own(environment):
    for number, composition in enumerate(("a", "b", "c"), 1):
        assert open_ledger(environment, ["x", "y"]).begin(attempt(composition)) == number


def test_the_same_composition_again_is_the_same_attempt(environment):
    ledger = open_ledger(environment, ["x"])
    assert ledger.begin(attempt("a")) == 1
    ledger.end(1, "fail")
    assert ledger.begin(attempt("b")) == 2
    again = open_ledger(environment, ["x"])
    assert again.begin(attempt("a")) == 1
    assert [known.verdict for known in again.attempts] == ["fail", "started"]


def test_other_looks_at_the_same_composition_are_another_attempt(environment):
    ledger = open_ledger(environment, ["x"])
    assert [ledger.begin(attempt("a", looks)) for looks in ((), (0.9,), (0.8,), (0.9,))] == [1, 2, 3, 2]
    assert open_ledger(environment, ["x"]).begin(attempt("a", (0.8,))) == 3


def test_an_attempt_that_never_ended_counts(environment):
    open_ledger(environment, ["x"]).begin(attempt("a"))
    assert open_ledger(environment, ["x"]).begin(attempt("b")) == 2


def test_what_others_began_meanwhile_is_seen(environment):
    first, second = open_ledger(environment, ["x"]), open_ledger(environment, ["x"])
    assert first.begin(attempt("a")) == 1
    assert second.begin(attempt("b")) == 2
    first.end(1, "pass")
    second.end(2, "fail")
    kept = open_ledger(environment, ["x"]).attempts
    assert [(known.composition, known.verdict) for known in kept] == [("a", "pass"), ("b", "fail")]


def _begin(home, composition, numbers):
    numbers.put(open_ledger(Environment(home, "tiny-0123456789ab"), ["x"]).begin(attempt(composition)))


def test_attempts_begun_at_once_get_different_numbers(environment):
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    processes = [context.Process(target=_begin, args=(environment.home, str(i), numbers)) for i in range(4)]
    for process in processes:
        process.start()
    assert sorted(numbers.get(timeout=60) for _ in processes) == [1, 2, 3, 4]
    for process in processes:
        process.join()


def test_other_patches_have_a_ledger_of_their_own_and_other_environments_share_it(environment):
    open_ledger(environment, ["y", "x"]).begin(attempt("a"))
    assert open_ledger(environment, ["x"]).begin(attempt("b")) == 1
    for other in (
        Environment(environment.home, environment.tag, "staging"),
        Environment(environment.home, "renamed-0123456789ab"),
    ):
        assert open_ledger(other, ["x", "y"]).begin(attempt("b")) == 2


@pytest.mark.parametrize("line", ["{", '{"composition": "a"}', json.dumps([1]), "\udcff", "[" * 5000])
def test_in_a_ledger_from_before_there_were_digests_a_damaged_line_counts(environment, line):
    ledger = open_ledger(environment, ["x"])
    ledger.path.parent.mkdir()
    with ledger.path.open("w", errors="surrogateescape") as stream:
        stream.write(json.dumps({"composition": "a", "strategy": "distilled", "seed": 0, "looks": []}) + "\n")
        stream.write(line + "\n")
    assert open_ledger(environment, ["x"]).begin(attempt("a")) == 1
    assert open_ledger(environment, ["x"]).begin(attempt("b")) == 3
    assert [known.composition for known in open_ledger(environment, ["x"]).attempts] == ["a", "", "b"]


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
def test_lost_attempts_are_told_and_counted_once_mended(environment, damage):
    ledger = open_ledger(environment, ["x"])
    for i in range(3):
        ledger.begin(attempt(f"c{i}"))
    changed = damage(ledger.path.read_bytes())
    ledger.path.unlink()
    if changed is not None:
        ledger.path.write_bytes(changed)
    for use in (lambda: open_ledger(environment, ["x"]), lambda: ledger.begin(attempt("d"))):
        with pytest.raises(IntegrityError) as caught:
            use()
        assert "ppm verify --mend" in caught.value.hint
    assert ledgers(environment.home) == [ledger.path]
    assert mend_ledger(ledger.path) >= 3
    assert mend_ledger(ledger.path) is None
    assert open_ledger(environment, ["x"]).begin(attempt("d")) >= 4


def test_an_older_copy_of_a_ledger_is_told(environment):
    ledger = open_ledger(environment, ["x"])
    ledger.begin(attempt("a"))
    older = ledger.path.read_bytes()
    ledger.begin(attempt("b"))
    ledger.path.write_bytes(older)
    with pytest.raises(IntegrityError, match="older copy"):
        open_ledger(environment, ["x"])
    assert mend_ledger(ledger.path) == 2


@pytest.mark.parametrize("damage", [None, b"", b"{}", b'{"entries": 1, "revision": 1, "digest": ""}\n'])
def test_a_lost_witness_costs_nothing_and_comes_back(environment, damage):
    ledger = open_ledger(environment, ["x"])
    ledger.begin(attempt("a"))
    witness = ledger.path.with_name(ledger.path.name + ".witness")
    witness.unlink()
    if damage is not None:
        witness.write_bytes(damage)
    assert open_ledger(environment, ["x"]).begin(attempt("b")) == 2
    ledger.path.unlink()
    with pytest.raises(IntegrityError, match="was deleted"):
        open_ledger(environment, ["x"])


@pytest.mark.parametrize(
    "change", [{"verdict": "splendid"}, {"looks": [1.5]}, {"looks": [0]}, {"looks": [float("nan")]}, {"more": 1}]
)
def test_what_can_not_be_an_attempt_is_none(environment, change):
    ledger = open_ledger(environment, ["x"])
    row = {"composition": "a", "strategy": "distilled", "seed": 0, "looks": [], "verdict": "fail", "at": "", **change}
    ledger.path.parent.mkdir()
    evidence.write(ledger.path, json.dumps(row).encode() + b"\n", 1)
    with pytest.raises(IntegrityError, match="not an attempt"):
        open_ledger(environment, ["x"])
    assert mend_ledger(ledger.path) == 1
    assert open_ledger(environment, ["x"]).begin(attempt("a")) == 2


def test_a_reader_is_never_misled_by_a_writer_at_work(environment):
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_begin_many, args=(environment.home,))
    process.start()
    seen = []
    while process.is_alive():
        seen.append(len(open_ledger(environment, ["x"]).attempts))
    process.join()
    assert process.exitcode == 0
    assert seen == sorted(seen)


def _begin_many(home):
    ledger = open_ledger(Environment(home, "tiny-0123456789ab"), ["x"])
    for i in range(60):
        ledger.begin(attempt(str(i)))


def test_a_process_killed_while_it_begins_leaves_a_sound_ledger(environment, tmp_path):
    open_ledger(environment, ["x"]).begin(attempt("a"))
    for step in range(1, 40):
        other = Environment(tmp_path / "killed" / str(step), environment.tag)
        shutil.copytree(environment.home / "attempts", other.home / "attempts")
        killed = run_killed_at(step, lambda other=other: open_ledger(other, ["x"]).begin(attempt("b")))
        ledger = open_ledger(other, ["x"])
        assert [known.composition for known in ledger.attempts] in (["a"], ["a", "b"])
        assert ledger.begin(attempt("b")) == 2
        assert ledger.begin(attempt("c")) == 3
        assert not list(other.home.rglob(".partial*"))
        if not killed:
            break
    assert step > 6


def test_a_ledger_that_cannot_be_written_says_so(environment):
    ledger = open_ledger(environment, ["x"])
    (environment.home / "attempts").write_text("a file")
    with pytest.raises(EnvironmentStateError):
        ledger.begin(attempt("a"))
