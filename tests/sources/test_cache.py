"""The cache of a directory's metadata: never wrong, never in the way."""

import os
import sqlite3
import time
from shutil import copy

import pytest
from packages import FINGERPRINT, make_package

from ppm.package import read_metadata, write_package
from ppm.sources import directory as module
from ppm.sources.directory import DirectorySource


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "packages"
    folder.mkdir()
    for version in ("1.0.0", "1.1.0"):
        write_package(make_package("toxicity", version), folder)
    write_package(make_package("gender-bias", "2.0", provides=("fairness",)), folder)
    return folder


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Let every directory look as if nothing had changed in it for a while."""
    monkeypatch.setattr(module, "SETTLED_AFTER", -1.0)


@pytest.fixture
def reads(monkeypatch):
    """The names of the files whose metadata was read."""
    found = []

    def read(path):
        found.append(path.name)
        return read_metadata(path)

    monkeypatch.setattr(module, "read_metadata", read)
    return found


def look(folder, cache):
    """What a new process sees: every pin, and who provides what."""
    source = DirectorySource(folder, cache)
    pins = sorted(c.pin for name in source.names(FINGERPRINT) for c in source.named(name))
    return pins, sorted(source.providers("fairness", FINGERPRINT)), list(source.damaged())


ALL = (["gender-bias==2.0", "toxicity==1.0.0", "toxicity==1.1.0"], ["gender-bias"], [])


def test_nothing_is_read_twice(folder, tmp_path, reads):
    assert look(folder, tmp_path / "cache") == ALL
    assert len(reads) == 3
    assert look(folder, tmp_path / "cache") == ALL
    assert len(reads) == 3
    [first] = DirectorySource(folder, tmp_path / "cache").named("gender-bias")
    assert first == DirectorySource(folder).named("gender-bias")[0]
    assert vars(first) == vars(DirectorySource(folder).named("gender-bias")[0])


def test_what_is_new_gone_or_changed_is_seen(folder, tmp_path, reads):
    cache = tmp_path / "cache"
    look(folder, cache)
    reads.clear()
    write_package(make_package("toxicity", "2.0.0"), folder)
    (folder / "gender_bias-2.0-tiny_0123456789ab.ppm").unlink()
    changed = folder / "toxicity-1.0.0-tiny_0123456789ab.ppm"
    changed.write_bytes(changed.read_bytes()[:-1])
    pins, providers, damaged = look(folder, cache)
    assert (pins, providers) == (["toxicity==1.1.0", "toxicity==2.0.0"], [])
    assert damaged == [f"{changed}: is not a whole package file"]
    assert sorted(reads) == ["toxicity-1.0.0-tiny_0123456789ab.ppm", "toxicity-2.0.0-tiny_0123456789ab.ppm"]


def test_a_change_in_place_is_seen_though_the_directory_is_the_same(folder, tmp_path):
    cache = tmp_path / "cache"
    look(folder, cache)
    path = folder / "toxicity-1.0.0-tiny_0123456789ab.ppm"
    before = path.stat()
    data = make_package("toxicity", "1.0.0", value=0.25).to_bytes()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    first = min(DirectorySource(folder, cache).named("toxicity"), key=lambda release: release.version)
    assert first.sha256 == make_package("toxicity", "1.0.0", value=0.25).sha256


def test_a_directory_that_has_just_changed_is_listed_again(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_AFTER", 2.0)
    now = time.time_ns()
    stamp = f"1 {now} {now} 1"
    monkeypatch.setattr(DirectorySource, "_folder_stamp", lambda source: stamp)  # a clock too coarse for two changes
    look(folder, tmp_path / "cache")
    write_package(make_package("toxicity", "3.0.0"), folder)
    assert "toxicity==3.0.0" in look(folder, tmp_path / "cache")[0]


@pytest.mark.parametrize(
    "damage", ["no database", "another schema", "not a table", "not json", "emptied", "not a file"]
)
def test_a_damaged_cache_is_made_anew(folder, tmp_path, damage):
    cache = tmp_path / "cache"
    look(folder, cache)
    [path] = cache.glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        statements = {
            "another schema": "PRAGMA user_version = 99",
            "not a table": "DROP TABLE provided",
            "not json": "UPDATE files SET metadata = 'x'",
        }
        connection.execute(statements.get(damage, "SELECT 1"))
    connection.close()
    if damage == "no database":
        path.write_bytes(b"x" * 5000)
    if damage == "emptied":
        path.write_bytes(b"")
    if damage == "not a file":
        path.unlink()
        path.mkdir()
    assert look(folder, cache) == ALL
    assert look(folder, cache) == ALL


def test_without_a_place_for_it_everything_is_read(folder, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"")
    assert look(folder, blocked / "cache") == ALL


def test_a_cache_that_another_process_writes_is_no_obstacle(folder, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr("ppm.sources.cache.WAIT_SECONDS", 0.05)
    look(folder, cache)
    [path] = cache.glob("*.sqlite")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    write_package(make_package("toxicity", "3.0.0"), folder)
    pins, _, _ = look(folder, cache)
    connection.close()
    assert "toxicity==3.0.0" in pins


def test_directories_don_t_share_a_cache(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    copy(next(folder.glob("gender*")), other)
    cache = tmp_path / "cache"
    assert look(folder, cache) == ALL
    assert look(other, cache)[0] == ["gender-bias==2.0"]
    assert look(folder, cache) == ALL
