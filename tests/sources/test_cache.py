"""The cache of a directory's metadata: never wrong, never in the way."""

import os
import sqlite3
import sys
import time
from pathlib import Path
from shutil import copy

import pytest
from packages import FINGERPRINT, make_package

from ppm.manifest import Component, CompositionRecord
from ppm.package import write_package
from ppm.sources.cache import MetadataCache
from ppm.sources.directory import DirectorySource


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "packages"
    folder.mkdir()
    for version in ("1.0.0", "1.1.0"):
        write_package(make_package("toxicity", version), folder)
    write_package(make_package("gender-bias", "2.0", provides=("fairness",)), folder)
    return folder


_opened = []
sys.addaudithook(lambda event, args: event == "open" and _opened.append(str(args[0])))


@pytest.fixture
def reads():
    """The names of the package files that were opened since the last time this was asked."""

    def since():
        names = sorted(Path(path).name for path in _opened if path.endswith(".ppm"))
        _opened.clear()
        return names

    since()
    return since


def later():
    """A clock by which nothing has changed for a while."""
    return time.time() + 60


def look(folder, cache, clock=later):
    """What a new process sees: every pin, and who provides what."""
    source = DirectorySource(folder, cache, clock=clock)
    pins = sorted(c.pin for name in source.names(FINGERPRINT) for c in source.named(name))
    return pins, sorted(source.providers("fairness", FINGERPRINT)), list(source.damaged())


ALL = (["gender-bias==2.0", "toxicity==1.0.0", "toxicity==1.1.0"], ["gender-bias"], [])


def test_nothing_is_read_twice(folder, tmp_path, reads):
    assert look(folder, tmp_path / "cache") == ALL
    assert len(reads()) == 3
    assert look(folder, tmp_path / "cache") == ALL
    assert reads() == []
    [first] = DirectorySource(folder, tmp_path / "cache").named("gender-bias")
    assert first == DirectorySource(folder).named("gender-bias")[0]
    assert vars(first) == vars(DirectorySource(folder).named("gender-bias")[0])


def test_what_is_new_gone_or_changed_is_seen(folder, tmp_path, reads):
    cache = tmp_path / "cache"
    look(folder, cache)
    write_package(make_package("toxicity", "2.0.0"), folder)
    (folder / "gender_bias-2.0-tiny_0123456789ab.ppm").unlink()
    changed = folder / "toxicity-1.0.0-tiny_0123456789ab.ppm"
    changed.write_bytes(changed.read_bytes()[:-1])
    reads()
    pins, providers, damaged = look(folder, cache)
    assert reads() == ["toxicity-1.0.0-tiny_0123456789ab.ppm", "toxicity-2.0.0-tiny_0123456789ab.ppm"]
    assert (pins, providers) == (["toxicity==1.1.0", "toxicity==2.0.0"], [])
    assert damaged == [f"{changed}: is not a whole package file"]


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


def test_only_of_a_directory_that_has_not_just_changed_the_list_of_files_is_kept(folder, tmp_path):
    """A clock that is too coarse would give two changes one time."""
    cache = tmp_path / "cache"
    look(folder, cache, clock=time.time)
    assert MetadataCache.open(cache, folder).listing == ""
    look(folder, cache)
    assert MetadataCache.open(cache, folder).listing != ""


def test_a_composition_is_kept_as_one(folder, tmp_path):
    made = CompositionRecord("concat", "sha256:" + "0" * 64, (Component("toxicity", "1.0.0", "0" * 64),))
    write_package(make_package("both", "1.0.0+aaa", provides=("toxicity", "made-of"), composition=made), folder)
    for _ in range(2):
        source = DirectorySource(folder, tmp_path / "cache", clock=later)
        assert source.named("both") == []
        [composition] = source.compositions("both")
        assert (composition.pin, composition.composed) == ("both==1.0.0+aaa", True)
        assert not {"both", "made-of"} & set(source.names(None))
        assert list(source.providers("made-of", FINGERPRINT)) == []
        assert look(folder, tmp_path / "cache") == ALL


@pytest.mark.parametrize(
    "damage", ["no database", "another schema", "not a table", "not json", "not as written", "emptied", "not a file"]
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
            "not as written": "UPDATE files SET metadata = json_set(metadata, '$.dependencies', 'x')",
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
