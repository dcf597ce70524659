"""Old files of an index go when nothing speaks of them any more, and nothing else does, wherever that is killed."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import ppm
from index.indexes import PASSPHRASE, make_index, source_of
from packages import make_package

from ppm.errors import IntegrityError
from ppm.index.check import check_index
from ppm.index.prune import prune
from ppm.index.publish import yank
from ppm.index.roles import LIFETIMES

NOW = datetime.now(UTC)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def aged(folder, days=60):
    """Let all files be that old."""
    then = (NOW - timedelta(days=days)).timestamp()
    for path in folder.rglob("*"):
        os.utime(path, (then, then))


@pytest.fixture
def grown(tmp_path):
    """An index that changed three weeks ago, and today."""
    ago = NOW - timedelta(days=21)
    owned = make_index(tmp_path / "index", make_package(), make_package("core"), now=ago)
    owned.publish(make_package(version="1.1.0"), now=ago)
    yank(owned.open(), "toxicity", "1.0.0", "unsafe", ago)
    owned.open().refresh(NOW - timedelta(days=1))
    owned.publish(make_package(version="2.0.0"), now=NOW)
    (owned.folder / "index.html").write_text("hello")
    (owned.folder / "metadata" / ".partial-0123").write_text("{")
    aged(owned.folder)
    return owned


def pruned(owned, now=NOW, before=NOW, **settings):
    return prune(owned.open(), now, before, **settings)


def test_what_nothing_lists_goes_and_nothing_else(grown, tmp_path):
    source = source_of(tmp_path / "home", grown.folder.as_uri(), grown.first_root)
    assert len(source.named("toxicity")) == 3
    before = files(grown.folder)
    shards = {path for path in before if path.endswith(".toxicity.json")}
    would = pruned(grown, dry=True)
    assert files(grown.folder) == before
    assert pruned(grown) == would
    gone = before - files(grown.folder)
    assert (len(gone), would.size > 1000) == (would.files, True)
    # Yesterday's snapshot is valid still, and so is the list of a name that it speaks of.
    assert len(shards - gone) == 2
    assert "metadata/.partial-0123" in gone
    assert {"index.html", "metadata/1.root.json"} <= files(grown.folder)
    found = check_index(grown.folder, grown.first_root, str)
    assert (found.releases, found.faults) == (4, ())
    assert pruned(grown).files == 0
    pruned(grown, now=NOW + LIFETIMES["snapshot"])
    assert len([path for path in files(grown.folder) if path.endswith(".toxicity.json")]) == 1
    assert check_index(grown.folder, grown.first_root, str).faults == ()
    grown.publish(make_package(version="3.0.0"))
    source = source_of(tmp_path / "home", grown.folder.as_uri(), grown.first_root)
    assert {str(release.version) for release in source.named("toxicity")} == {"1.0.0", "1.1.0", "2.0.0", "3.0.0"}


def test_a_user_in_the_midst_of_yesterday_s_state_gets_its_files(grown, tmp_path):
    newest = grown.folder / "metadata" / "timestamp.json"
    today = newest.read_bytes()
    grown.publish(make_package(version="3.0.0"))
    aged(grown.folder)
    pruned(grown)
    newest.write_bytes(today)
    source = source_of(tmp_path / "home", grown.folder.as_uri(), grown.first_root)
    assert len([source.fetch(release) for release in source.named("toxicity")]) == 3


def test_what_is_young_stays(grown):
    before = files(grown.folder)
    assert pruned(grown, before=NOW - timedelta(days=61)).files == 0
    young = next(path for path in (grown.folder / "metadata").glob("1.*.json") if "root" not in path.name)
    os.utime(young)
    pruned(grown, before=NOW - timedelta(hours=1))
    assert young.is_file()
    assert files(grown.folder) < before


def test_an_index_that_is_damaged_is_left_alone(grown):
    newest = max((grown.folder / "metadata").glob("*.bin-0.json"))
    newest.write_bytes(b"{}")
    before = files(grown.folder)
    with pytest.raises(IntegrityError, match="is damaged"):
        pruned(grown)
    assert files(grown.folder) == before


class Killed(BaseException):
    """Nothing that runs catches it."""


def test_pruning_that_is_killed_leaves_a_valid_index(grown, monkeypatch):
    unlink, expected = Path.unlink, pruned(grown, dry=True).files
    done = []

    def dying(path, **settings):
        if len(done) % 5 == 4:
            done.append(None)
            raise Killed
        done.append(path)
        unlink(path, **settings)

    monkeypatch.setattr(Path, "unlink", dying)
    kills = 0
    while True:
        try:
            pruned(grown)
            break
        except Killed:
            kills += 1
            assert source_of(grown.folder.parent / f"home-{kills}", grown.folder.as_uri(), grown.first_root).named(
                "core"
            )
    monkeypatch.undo()
    assert kills >= expected // 5 > 0
    assert pruned(grown).files == 0
    assert check_index(grown.folder, grown.first_root, str).faults == ()


def test_the_command(grown, monkeypatch):
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", PASSPHRASE)
    index = str(grown.folder)
    assert ppm("index", "prune", index, "--older-than", "1 year ago").code == 1
    assert ppm("index", "prune", index, "--older-than", "90 days").out.startswith("Removed 0 files")
    would = ppm("index", "prune", index, "--dry-run").out
    assert would.startswith("Would remove ")
    assert ppm("index", "prune", index).out == would.replace("Would remove", "Removed")
    assert ppm("index", "verify", index).code == 0
    assert ppm("index", "prune", str(grown.folder.parent)).err.startswith("error: ")
