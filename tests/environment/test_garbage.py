"""What no deployment needs is thrown away, and nothing else; an environment goes with all that it had."""

import os
import time

import pytest
from commands import ppm
from environment.samples import environment_at, install
from integration.deployed import deployed, patch

from ppm.environment.deployment import Environment
from ppm.environment.garbage import CACHES, prune, remove_environment, usage
from ppm.environment.store import Store
from ppm.environment.transaction import writer

DAYS = 24 * 3600.0


@pytest.fixture
def store(ppm_home):
    """A store with what one deployment needs, all of it ten days old."""
    deployed(["core"], patch("core"))
    store = Store(ppm_home)
    for digest, _ in store.contents():
        age(store, digest)
    return store


def age(store, digest, days=10):
    """Let a stored file have lain there for days; its digest."""
    [path] = [path for found, path in store.contents() if found == digest]
    then = time.time() - days * DAYS
    os.utime(path, (then, then))
    return digest


def files(rows):
    return {row.name: row.files for row in rows}


def test_prune_takes_what_no_deployment_needs_and_nothing_else(store, ppm_home):
    unneeded = age(store, store.put(b"of a deployment that is gone"))
    fresh = store.put(b"of an install that is at work")
    results = ppm_home / "cache" / "results" / "ab"
    results.mkdir(parents=True)
    (results / "old.json").write_text("{}")
    assert files(usage(ppm_home))["results"] == 1
    removed, unknown = prune(ppm_home, tuple(CACHES))
    assert (unknown, {name: count for name, count in files(removed).items() if count}) == (
        [],
        {"results": 1, "store": 1},
    )
    assert (store.has(unneeded), store.has(fresh)) == (False, True)
    assert ppm("verify").code == 0
    assert not results.exists()


def test_only_what_was_not_touched_for_long_enough_is_taken(store, ppm_home):
    unneeded = age(store, store.put(b"of a deployment that is gone"))
    entry = ppm_home / "cache" / "sources" / "index"
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_bytes(b"seven")
    removed, _ = prune(ppm_home, ("sources",), older_than=20 * DAYS)
    assert (files(removed), entry.exists(), store.has(unneeded)) == ({"sources": 0, "store": 0}, True, True)
    removed, _ = prune(ppm_home, ("sources",))
    assert [(row.name, row.files, row.size) for row in removed] == [("sources", 1, 5), ("store", 1, 28)]


def test_a_store_is_left_alone_when_a_deployment_can_not_be_read(store, ppm_home):
    unneeded = age(store, store.put(b"perhaps of the damaged one"))
    record = next((ppm_home / "environments").rglob("deployment.toml"))
    record.write_text("damaged")
    removed, [fault] = prune(ppm_home, ())
    assert (files(removed), str(record) in fault, store.has(unneeded)) == ({"store": 0}, True, True)
    said = ppm("cache", "prune").err
    assert "left alone" in said
    assert "ppm env drop --damaged" in said


def test_what_is_not_there_takes_no_room(tmp_path):
    assert {(row.files, row.size) for row in usage(tmp_path / "nowhere")} == {(0, 0)}


def test_a_removed_environment_is_gone_with_its_history(tmp_path):
    environment = environment_at(tmp_path)
    install(environment)
    install(environment, "2.0.0")
    with writer(environment, timeout=10, command="ppm env remove") as held:
        remove_environment(held)
    assert Environment.all(tmp_path) == ()
    assert (environment.current(), environment.numbers()) == (None, ())
    install(environment)
    assert environment.numbers() == (1,)


def test_a_removed_environment_leaves_no_hold_behind(store, ppm_home):
    ppm("hold", "core")
    folder = next((ppm_home / "environments").iterdir())
    (folder / "current").write_text("000000\n")  # as a removal that was killed leaves it
    assert (folder / "holds.toml").is_file()
    deployed(["core"], patch("core"))
    assert ppm("hold", "--json").json == []
