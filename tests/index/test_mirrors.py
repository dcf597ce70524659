"""Copies of an index on other hosts: whole, verified, brought up to date, and left valid wherever they are killed."""

import shutil
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from commands import ppm
from index.indexes import make_index, passphrase, serve, source_of
from packages import make_package
from tuf.api.metadata import TargetFile

from ppm.errors import IntegrityError, RequestError, SourceError
from ppm.index import mirror
from ppm.index.check import check_index
from ppm.index.keys import Keyring
from ppm.index.mirror import mirror_index
from ppm.index.prune import prune
from ppm.index.repository import Repository
from ppm.index.roles import LIFETIMES
from ppm.index.trust import Access
from ppm.progress import Events, silent


@pytest.fixture
def origin(tmp_path):
    """An index of two patches, its host, and what copies it."""
    owned = make_index(tmp_path / "index", make_package(), make_package("core"))
    with serve(owned.folder) as (host, url):

        def copy(folder=tmp_path / "copy", root=owned.first_root, offline=False, progress=silent):
            host.asked.clear()
            return mirror_index(url, root, folder, Access(offline, timeout=5), Events(progress=progress))

        yield owned, host, copy, tmp_path / "copy"


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def versions(home, folder, root):
    source = source_of(home, folder.as_uri(), root)
    return {str(release.version): source.fetch(release) for release in source.named("toxicity")}


def test_a_copy_is_whole_and_serves_those_who_trust_the_origin(origin, tmp_path):
    owned, _, copy, folder = origin
    seen = []
    done = copy(progress=lambda *step: seen.append(step))
    found = check_index(folder, owned.first_root, str)
    assert (found.names, found.releases, found.faults) == (2, 2, ())
    assert versions(tmp_path / "home", folder, owned.first_root) == {"1.0.0": make_package().data}
    copied = files(folder)
    assert all(files(owned.folder)[path] == data for path, data in copied.items())
    assert (done.fetched, done.size, done.kept) == (len(copied), sum(map(len, copied.values())), 0)
    assert done.expires == owned.open().timestamp.signed.expires
    assert seen[-1] == ("Copying files, by list", 5, 5)


def test_a_copy_is_brought_up_to_date_with_what_is_new_alone(origin, tmp_path):
    owned, host, copy, folder = origin
    copy()
    again = copy()
    assert (again.fetched, host.asked) == (0, ["metadata/2.root.json", "metadata/timestamp.json"])
    owned.publish(make_package(version="2.0.0"))
    owned.open().refresh(datetime.now(UTC), offline=True)
    done = copy()
    assert set(versions(tmp_path / "home", folder, owned.first_root)) == {"1.0.0", "2.0.0"}
    new = [path for path in host.asked if not path.startswith("metadata/")]
    # The file, its statement, and the list of the name.
    assert len(new) == len(set(new)) == 3
    assert done.kept > done.fetched > 3
    assert check_index(folder, None, str).faults == ()


def test_a_file_that_was_damaged_is_fetched_again(origin):
    _, host, copy, folder = origin
    copy()
    whole = files(folder)
    damaged = [next((folder / "targets" / "files").rglob("*.ppm")), next((folder / "metadata").glob("*.bin-*.json"))]
    damaged[0].write_bytes(b"")
    damaged[1].write_bytes(b"{}")
    assert copy().fetched == 2
    assert files(folder) == whole
    assert len(host.asked) == 4


def test_what_is_not_the_origin_s_is_not_copied(origin, tmp_path):
    owned, host, copy, folder = origin
    other = make_index(tmp_path / "other")
    with pytest.raises(IntegrityError, match="not signed by the keys"):
        copy(root=other.first_root)
    assert not folder.exists()
    false = next((other.folder / "metadata").glob("*.bin-*.json")).read_bytes()
    host.instead = {f"metadata/{path.name}": false for path in (owned.folder / "metadata").glob("*.bin-*.json")}
    with pytest.raises(IntegrityError, match="not signed by the keys"):
        copy()
    host.instead = {"targets/files/*": b"evil"}
    with pytest.raises(IntegrityError, match="not the signed one"):
        copy()
    assert not (folder / "metadata" / "timestamp.json").exists()
    host.instead.clear()
    copy()
    assert check_index(folder, None, str).faults == ()


def test_a_copy_does_not_go_back(origin):
    owned, host, copy, folder = origin
    old = (owned.folder / "metadata" / "timestamp.json").read_bytes()
    owned.publish(make_package(version="2.0.0"))
    copy()
    whole = files(folder)
    host.instead["metadata/timestamp.json"] = old
    with pytest.raises(IntegrityError, match="an older state"):
        copy()
    assert files(folder) == whole


def test_nobody_answers(origin):
    _, host, copy, folder = origin
    with pytest.raises(SourceError, match="is not asked"):
        copy(offline=True)
    copy()
    host.instead["metadata/timestamp.json"] = 503
    with pytest.raises(SourceError, match="can't be reached"):
        copy()
    assert check_index(folder, None, str).faults == ()


def test_a_folder_with_something_else_in_it_is_left_alone(origin, tmp_path):
    _, _, copy, _ = origin
    other = make_index(tmp_path / "other")
    before = files(other.folder)
    with pytest.raises(RequestError, match="is a copy of another index"):
        copy(other.folder)
    assert files(other.folder) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear")
    with pytest.raises(RequestError, match="something in it that is no index"):
        copy(tmp_path / "mine")


@pytest.mark.parametrize("path", ["../../evil", "/evil", "names/../../evil", "names//x", "a\\b", "a\nb"])
def test_no_file_is_written_outside_of_a_copy(origin, tmp_path, path):
    owned, _, copy, folder = origin
    repository = owned.open()
    role, listed = repository._list_of(path)
    listed.signed.targets[path] = TargetFile.from_data(path, b"evil", ["sha256"])
    repository.touch(role)
    repository.commit(datetime.now(UTC))
    for place in (owned.folder / "targets" / "evil", owned.folder / "evil", owned.folder / "targets" / path.strip("/")):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"evil")
    with pytest.raises(IntegrityError, match="can't be the path of a file"):
        copy()
    assert not list(folder.rglob("*evil*"))
    assert not (folder / "metadata" / "timestamp.json").exists()


def test_the_roots_before_the_trusted_one_lead_to_it(origin, tmp_path):
    owned, host, copy, folder = origin
    owned.open().rotate("root", datetime.now(UTC))
    owned.open().rotate("timestamp", datetime.now(UTC))
    newest = (owned.folder / "metadata" / "3.root.json").read_bytes()
    other = make_index(tmp_path / "other")
    host.instead["metadata/1.root.json"] = other.first_root
    with pytest.raises(IntegrityError, match="not signed by the keys"):
        copy(root=newest)
    host.instead.clear()
    copy(root=newest)
    assert check_index(folder, owned.first_root, str).faults == ()
    assert check_index(folder, newest, str).faults == ()


class Killed(BaseException):
    """Nothing that runs catches it."""


def changes(owned):
    """What the owner does while a copy is as it was: after each, the copy is brought up to date."""
    yield owned.publish(make_package(version="2.0.0"))
    yield owned.open().rotate("timestamp", datetime.now(UTC))
    yield owned.open().refresh(datetime.now(UTC))
    yield owned.open().rotate("snapshot", datetime.now(UTC))
    yield owned.open().refresh(datetime.now(UTC) + timedelta(minutes=1), offline=True)
    yield owned.open().rotate("targets", datetime.now(UTC))


def test_a_copy_that_is_killed_anywhere_is_valid_and_goes_on(tmp_path, monkeypatch):
    owned, folder, whole = make_index(tmp_path / "index", make_package()), tmp_path / "copy", tmp_path / "whole"
    copy = partial(mirror_index, owned.folder.as_uri(), owned.first_root, folder, Access(), Events())
    copy()
    writes = []

    def dying(path, data, **settings):
        if len(writes) >= limit:
            raise Killed
        replace_file(path, data, **settings)
        writes.append(path)

    replace_file = mirror.replace_file
    monkeypatch.setattr(mirror, "replace_file", dying)
    for _ in changes(owned):
        shutil.copytree(folder, whole)
        limit, ended = 0, False
        while not ended:
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            writes.clear()
            try:
                copy()
                ended = True
            except Killed:
                assert versions(tmp_path / "home", folder, owned.first_root)
                limit += 1
        assert limit >= len(writes) >= 2
        shutil.rmtree(whole)
        assert files(folder)["metadata/timestamp.json"] == files(owned.folder)["metadata/timestamp.json"]
    found = check_index(folder, owned.first_root, str)
    assert (found.releases, found.faults) == (2, ())
    assert (folder / "metadata" / "5.root.json").is_file()


def test_a_copy_is_pruned_as_its_origin_is(origin, tmp_path):
    owned, _, copy, folder = origin
    copy()
    first = files(folder)
    long_after = datetime.now(UTC) + timedelta(days=1) + max(LIFETIMES.values())
    owned.publish(make_package(version="2.0.0"))
    copy()
    pruned = prune(Repository.open(folder, Keyring(tmp_path / "no-keys", passphrase)), long_after, long_after)
    gone = (first | files(folder)).keys() - files(folder).keys()
    assert (len(gone), {path.partition("/")[0] for path in gone}) == (pruned.files, {"metadata", "targets"})
    assert check_index(folder, owned.first_root, str).faults == ()
    assert set(versions(tmp_path / "home", folder, owned.first_root)) == {"1.0.0", "2.0.0"}
    assert copy().fetched == 0
    assert ppm("index", "prune", folder).out == f"Removed 0 files (0.0 MB) of {folder}.\n"
