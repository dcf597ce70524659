"""What verify tells apart: what is in force, history, and caches; and how each is put right."""

import json
import shutil

import pytest
from commands import ppm
from integration.deployed import deployed, patch, write

from ppm.audit.model import Audit
from ppm.environment.attempts import Asked, GatedAttempt, ledger_of
from ppm.environment.deployment import Environment
from ppm.errors import IntegrityError
from ppm.evaluation.results import ResultStore, damaged_entries

KEY = "cd" * 32
ANSWERS = {"one": (0.0, ("fine",)), "two": (0.5, ("bad", "fine")), "loss": (2.5, ())}


@pytest.fixture
def environment(ppm_home):
    """Three deployments, of which the last is in force."""
    deployed(["app"], patch("app"))
    deployed(["app"], patch("app", "2.0.0"))
    deployed(["app"], patch("app", "3.0.0"))
    return Environment.all(ppm_home)[0]


def spoil(path):
    path.write_bytes(b"x" + path.read_bytes())


def test_old_damage_is_told_and_keeps_nothing_red(environment):
    spoil(environment.deployment_path(1) / "audit.json")
    found = ppm("verify")
    assert found.code == 0
    assert "deployment 1 (not in force): " in found.out
    assert "what is in force is sound" in found.err
    assert ppm("verify", "--all").code == 4
    rows = ppm("verify", "--json").json
    assert [row["in_force"] for row in rows if row["fault"]] == [False]


def test_damage_to_what_is_in_force_is_red(environment):
    spoil(environment.deployment_path(3) / "audit.json")
    found = ppm("verify")
    assert (found.code, found.out.startswith("deployment 3: ")) == (4, True)
    assert "(not in force)" not in found.out


def test_damaged_history_is_dropped(environment):
    spoil(environment.deployment_path(1) / "deployment.toml")
    assert "damaged" in ppm("history").out
    assert ppm("env", "drop", "--damaged").out == "Dropped from history: 1.\n"
    assert [row["number"] for row in ppm("history", "--json").json] == [3, 2]
    assert ppm("verify", "--all").code == 0
    assert ppm("env", "drop", "--damaged", "--json").json == {"dropped": []}
    assert deployed(["app"], patch("app")).number == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["3"], "deployment 3 is in force"),
        (["9"], "has no deployment 9"),
        (["1", "9"], "has no deployment 9"),
        (["-1"], "no such option"),
        ([], "which deployments?"),
        (["1", "--damaged"], "which deployments?"),
    ],
)
def test_what_can_not_be_dropped_is_told_and_nothing_is(environment, arguments, words):
    done = ppm("env", "drop", *arguments)
    assert done.code in (1, 2)
    assert words in done.err.casefold()
    assert environment.numbers() == (1, 2, 3)


def test_nothing_is_dropped_while_it_is_unknown_what_is_in_force(environment):
    (environment.path / "current").unlink()
    done = ppm("env", "drop", "1")
    assert (done.code, "ppm rollback NUMBER" in done.err) == (1, True)
    assert environment.stored_numbers() == (1, 2, 3)


def test_deployments_can_be_dropped_one_by_one(environment):
    assert ppm("env", "drop", "2", "1").code == 0
    assert environment.numbers() == (3,)
    assert ppm("rollback").code == 1
    assert ppm("cache", "prune").code == 0


def test_prune_says_how_to_go_on_where_history_is_damaged(environment):
    spoil(environment.deployment_path(1) / "deployment.toml")
    assert "ppm env drop --damaged" in ppm("cache", "prune").err
    ppm("env", "drop", "--damaged")
    assert "left alone" not in ppm("cache", "prune").err


def test_lost_evidence_is_red_until_it_is_mended(environment, tmp_path):
    ppm("hold", "app", "--reason", "audited by hand")
    ledger, suite = ledger_of(environment.home, environment.current().record.fingerprint), Asked.of("s", ["one"])
    ledger.begin(GatedAttempt("a", "distilled", 0), [suite])
    (environment.path / "holds.toml").unlink()
    spoil(ledger.path)
    found = ppm("verify")
    assert found.code == 4
    assert "the holds: " in found.out
    assert "a ledger of attempts: " in found.out
    source = write(tmp_path / "newer", patch("app", "4.0.0"))
    assert "was deleted" in ppm("install", "app", "--base", "lab", "-f", source, "--dry-run").err
    mended = ppm("verify", "--mend")
    assert mended.code == 0
    assert "lost 1; hold those patches again" in mended.err
    assert ledger.begin(GatedAttempt("b", "distilled", 0), [suite]) == {"s": 2}


def test_attempts_that_deployments_counted_and_the_ledger_lacks_are_told(environment):
    record = environment.current().record
    ledger = ledger_of(environment.home, record.fingerprint)
    ledger.begin(GatedAttempt("a", "distilled", 0), [Asked.of("s", ["one"])])
    deployed(["app"], patch("app", "3.0.0"))
    assert "guarantees" not in ppm("verify").out
    shutil.rmtree(ledger.path.parent)
    found = ppm("verify")
    assert found.code == 0
    assert (
        "the attempts (not in force): the count of attempts lacks some that deployment 4 was tested after" in found.out
    )


def test_a_stored_audit_comes_back_from_its_deployment(environment):
    audit = environment.current().lock.composition.audit
    stored = environment.home / "store" / "sha256" / audit[:2] / audit[2:]
    spoil(stored)
    assert "its audit" in ppm("verify").out
    assert ppm("verify", "--mend").code == 0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}x",
        '{"one": [0.5]}',
        '{"one": [NaN, ["a"]]}',
        '{"one": [Infinity, []]}',
        '{"one": [-0.1, ["a"]]}',
        '{"one": [1.5, ["a"]]}',
        '{"digest": "sha256:0", "answers": {"one": [0.5, ["a"]]}}',
        '{"digest": 1, "answers": {"one": [0.5, ["a"]]}}',
        '{"one": [1' + "0" * 5000 + ", []]}",
        "[" * 5000,
    ],
)
def test_a_kept_result_that_can_not_be_is_as_good_as_none_and_told(environment, text):
    store = ResultStore(environment.home / "cache" / "results", "weights")
    store.put(KEY, ANSWERS)
    path = store.folder / KEY[:2] / f"{KEY}.json"
    path.write_text(text)
    assert store.get(KEY) == {}
    found = ppm("verify")
    assert (found.code, path.name in found.out) == (0, True)
    assert ppm("verify", "--all").code == 4
    assert ppm("verify", "--all", "--mend").code == 0
    assert not path.exists()


def test_a_kept_result_says_what_it_must_hold(tmp_path):
    store = ResultStore(tmp_path, "weights")
    store.put(KEY, ANSWERS)
    assert store.get(KEY) == ANSWERS
    path = next(tmp_path.rglob("*.json"))
    table = json.loads(path.read_text())
    for change in ({"one": [1.0, ["fine"]]}, {"two": [0.5, ["bad"]]}):
        path.write_text(json.dumps({**table, "answers": {**table["answers"], **change}}))
        assert store.get(KEY) == {}
    del table["answers"]["two"]
    path.write_text(json.dumps(table))
    assert [fault for _, fault in damaged_entries(tmp_path)] == ["was truncated or edited"]


def test_a_kept_result_without_a_digest_is_as_good_as_none(tmp_path):
    store = ResultStore(tmp_path, "weights")
    store.put(KEY, {})
    next(tmp_path.rglob("*.json")).write_text(json.dumps(ANSWERS))
    assert store.get(KEY) == {}
    assert [fault for _, fault in damaged_entries(tmp_path)] == ["is not a cached result"]


def comparison(**changes):
    table = {"suite": "app/main", "rule": "non-inferiority", "against": "app", "difference": 0.0}
    return {**table, "lower": -0.02, "upper": 0.03, "margin": 0.05, "verdict": "pass", **changes}


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0},
        {"alpha": 1.5},
        {"looks": 0},
        {"alpha": float("nan")},
        {"matrix": {"base": {"app/main": {"value": 1.2, "low": 0.1, "high": 1.3, "prompts": 3}}}},
        {"matrix": {"base": {"app/main": {"value": 0.5, "low": 0.6, "high": 0.7, "prompts": 3}}}},
        {"matrix": {"base": {"app/main": {"value": 0.5, "low": -0.6, "high": 0.7, "prompts": 3}}}},
        {"matrix": {"base": {"app/main": {"value": 0.5, "low": 0.4, "high": 0.7, "prompts": -3}}}},
        {"matrix": {"base": {}}},
        {"comparisons": [comparison(difference=0.5)]},
        {"comparisons": [comparison(upper=float("inf"))]},
        {"comparisons": [comparison(verdict="fail")]},
    ],
)
def test_an_audit_that_can_not_be_is_none(change):
    sound = {
        "schema": 1,
        "base": "lab",
        "strategy": "distilled",
        "verdict": "pass",
        "alpha": 0.05,
        "configurations": ["base"],
        "suites": {"app/main": {"metric": "rate", "prompts": 3}},
        "matrix": {"base": {"app/main": {"value": 0.5, "low": 0.4, "high": 0.7, "prompts": 3}}},
        "comparisons": [comparison()],
    }
    assert Audit.from_table(sound, "the audit").verdict == "pass"
    with pytest.raises(IntegrityError, match="not an audit that this version of ppm can read"):
        Audit.from_table({**sound, **change}, "the audit")
