"""The ledger of gated attempts: what counts as another look at the gate's prompts."""

import json
import multiprocessing

import pytest

from ppm.environment.attempts import GatedAttempt, open_ledger
from ppm.environment.deployment import Environment
from ppm.errors import EnvironmentStateError


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


@pytest.mark.parametrize("line", ["{", '{"composition": "a"}', json.dumps([1]), "\udcff"])
def test_a_damaged_line_still_counts(environment, line):
    ledger = open_ledger(environment, ["x"])
    ledger.begin(attempt("a"))
    with ledger.path.open("a", errors="surrogateescape") as stream:
        stream.write(line + "\n")
    assert open_ledger(environment, ["x"]).begin(attempt("b")) == 3


def test_a_ledger_that_cannot_be_written_says_so(environment):
    ledger = open_ledger(environment, ["x"])
    (environment.home / "attempts").write_text("a file")
    with pytest.raises(EnvironmentStateError):
        ledger.begin(attempt("a"))
