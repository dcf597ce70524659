"""Writes that are whole or did not happen, and that leave a file's rights and links as they were."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest
from environment.samples import folder_of_another, run_killed_at, small_disk

from ppm.disk import PARTIAL, append_file, disk_errors, make_folder, replace_file
from ppm.errors import DiskError, EnvironmentStateError

OTHER_GROUP = 4321


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o660, 0o664, 0o400, 0o755])
def test_a_replaced_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(mode)
    replace_file(path, b"new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_a_new_file_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == mode


@pytest.mark.parametrize("far", [False, True])
def test_a_symbolic_link_stays_one(tmp_path, far):
    folder = tmp_path / "elsewhere" if far else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "real").write_text("old")
    (folder / "real").chmod(0o640)
    (tmp_path / "link").symlink_to(folder / "real")
    (tmp_path / "link of link").symlink_to("link")
    replace_file(tmp_path / "link of link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert ((folder / "real").read_text(), mode_of(folder / "real")) == ("new", 0o640)
    assert not list(tmp_path.rglob(f"{PARTIAL}*"))


def test_a_link_to_nothing_yet_makes_the_file_it_names(tmp_path):
    (tmp_path / "link").symlink_to("real")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_link_to_itself_is_told(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(DiskError) as caught, disk_errors("can't be written", tmp_path / "link"):
        replace_file(tmp_path / "link", b"new")
    assert caught.value.fault == "wrong kind"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_a_replaced_file_keeps_its_owner_and_group(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    os.chown(path, 65534, OTHER_GROUP)
    path.chmod(0o660)
    replace_file(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (65534, OTHER_GROUP, 0o660)


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a file of another group and then becomes another user")
@pytest.mark.parametrize(("mode", "left"), [(0o640, 0o600), (0o664, 0o644), (0o660, 0o600), (0o646, 0o646)])
def test_a_group_that_can_not_be_kept_gets_no_other_one_its_rights(mode, left):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text("old")
        os.chown(path, 65534, OTHER_GROUP)
        path.chmod(mode)
        path.parent.chmod(0o777)
        os.seteuid(65534)
        try:
            replace_file(path, b"new")
        finally:
            os.seteuid(0)
        assert path.read_text() == "new"
        assert path.stat().st_gid != OTHER_GROUP
        assert mode_of(path) == left


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    for step in range(1, 20):
        path = tmp_path / str(step) / "file"
        path.parent.mkdir()
        path.write_text("old")
        path.chmod(0o640)
        killed = run_killed_at(step, lambda path=path: replace_file(path, b"new", sole_writer=True))
        assert path.read_text() in ("old", "new")
        assert mode_of(path) == 0o640
        replace_file(path, b"newer", sole_writer=True)
        assert [entry.name for entry in path.parent.iterdir()] == ["file"]
        if not killed:
            break
    assert step > 3


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EROFS, "denied"),
        (errno.EACCES, "denied"),
        (errno.ENOTDIR, "wrong kind"),
        (errno.EIO, "other"),
        (errno.ENAMETOOLONG, "other"),
    ],
)
def test_why_a_disk_refuses_is_data(tmp_path, number, fault):
    with pytest.raises(DiskError) as caught, disk_errors("can't be read", tmp_path):
        raise OSError(number, os.strerror(number))
    assert (caught.value.path, caught.value.fault) == (tmp_path, fault)
    assert caught.value.hint
    assert "PPM_HOME" not in caught.value.hint
    assert isinstance(caught.value, EnvironmentStateError)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(DiskError) as caught, disk_errors("can't be written", path), small_disk(1000):
        replace_file(path, bytes(100_000))
    assert caught.value.fault == "full"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_folder_of_another_is_denied():
    with folder_of_another() as folder, pytest.raises(DiskError) as caught, disk_errors("can't be written", folder):
        make_folder(folder / "inner" / "most")
    assert caught.value.fault == "denied"


def test_what_is_appended_follows_what_was_there(tmp_path):
    path = tmp_path / "file"
    append_file(path, b"one\n")
    append_file(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_full_disk_leaves_a_file_as_long_as_it_was(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one\n")
    with pytest.raises(DiskError), disk_errors("can't be written", path), small_disk(1000):
        append_file(path, bytes(100_000))
    assert path.read_bytes() == b"one\n"
