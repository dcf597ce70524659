"""The ledger of gated attempts: what counts as another look at the gate's prompts."""

import json

import pytest

from ppm.environment.attempts import GatedAttempt, Ledger, open_ledger
from ppm.environment.deployments import Environment
from ppm.errors import EnvironmentStateError


def attempt(composition, verdict="fail"):
    return GatedAttempt(composition, "distilled", 0, verdict, "2026-01-01T00:00:00+00:00")


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path, "tiny-0123456789ab")


def test_each_composition_is_an_attempt_of_its_own(environment):
    for number, composition in enumerate(("a", "b", "c"), 1):
        ledger = open_ledger(environment, ["x", "y"])
        assert ledger.number(composition) == number
        ledger.add(attempt(composition))


def test_the_same_composition_again_is_the_same_attempt(environment):
    ledger = open_ledger(environment, ["x"])
    ledger.add(attempt("a"))
    ledger.add(attempt("b"))
    ledger.add(attempt("a", "pass"))
    again = open_ledger(environment, ["x"])
    assert again.number("a") == 1
    assert [known.verdict for known in again.attempts] == ["fail", "fail"]


def test_other_patches_have_a_ledger_of_their_own_and_other_environments_share_it(environment):
    open_ledger(environment, ["y", "x"]).add(attempt("a"))
    assert open_ledger(environment, ["x"]).number("b") == 1
    assert open_ledger(environment, ["x", "y"]).number("b") == 2
    assert open_ledger(Environment(environment.home, environment.tag, "staging"), ["x", "y"]).number("b") == 2


@pytest.mark.parametrize("line", ["{", '{"composition": "a"}', json.dumps([1]), "\udcff"])
def test_a_damaged_line_still_counts(environment, line):
    ledger = open_ledger(environment, ["x"])
    ledger.add(attempt("a"))
    with ledger.path.open("a", errors="surrogateescape") as stream:
        stream.write(line + "\n")
    assert open_ledger(environment, ["x"]).number("b") == 3


def test_a_ledger_that_cannot_be_written_says_so(environment):
    (environment.home / "attempts").write_text("a file")
    with pytest.raises(EnvironmentStateError):
        open_ledger(environment, ["x"]).add(attempt("a"))


def test_a_ledger_without_a_place_only_counts():
    ledger = Ledger()
    ledger.add(attempt("a"))
    assert ledger.number("b") == 2
