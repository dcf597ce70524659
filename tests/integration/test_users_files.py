"""What ppm does to files that are the user's own: their rights, links, byte order marks and line ends."""

import stat

import pytest
from commands import ppm
from integration.deployed import patch, write

from ppm.package import write_package

MARK = b"\xef\xbb\xbf"
TEXT = b'base = "lab"\n# why these\npatches = ["app"]\nsources = ["../dist"]\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a lock."""
    write(tmp_path / "dist", patch("app"), patch("core"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "ppm.toml").write_bytes(TEXT)
    monkeypatch.chdir(folder)
    assert ppm("lock").code == 0
    return folder


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("modes", [(0o640, 0o660), (0o600, 0o600), (0o664, 0o664)])
def test_their_modes_stay(project, modes):
    files = [project / "ppm.toml", project / "ppm.lock"]
    for path, mode in zip(files, modes, strict=True):
        path.chmod(mode)
    assert ppm("add", "core").code == 0
    assert "core" in files[1].read_text()
    assert tuple(map(mode_of, files)) == modes
    assert ppm("remove", "core").code == 0
    assert tuple(map(mode_of, files)) == modes


def test_their_links_stay(project, tmp_path):
    for name in ("ppm.toml", "ppm.lock"):
        (project / name).rename(tmp_path / f"real-{name}")
        (project / name).symlink_to(f"../real-{name}")
    assert ppm("add", "core").code == 0
    assert all((project / name).is_symlink() for name in ("ppm.toml", "ppm.lock"))
    assert "core" in (tmp_path / "real-ppm.toml").read_text()
    assert "core" in (tmp_path / "real-ppm.lock").read_text()


@pytest.mark.parametrize("text", [MARK + TEXT, TEXT.replace(b"\n", b"\r\n"), MARK + TEXT.replace(b"\n", b"\r\n")])
def test_a_project_file_of_another_editor_is_read_and_changed(project, text):
    (project / "ppm.toml").write_bytes(text)
    lock = project / "ppm.lock"
    lock.write_bytes(MARK + lock.read_bytes().replace(b"\n", b"\r\n"))
    assert ppm("lock").code == 0
    assert ppm("add", "core").code == 0
    changed = (project / "ppm.toml").read_bytes()
    assert b"# why these" in changed
    assert b"core" in changed
    assert changed.count(b"\r\n") == (changed.count(b"\n") if b"\r\n" in text else 0)


def test_requirements_of_another_editor_are_read(project):
    (project / "r.txt").write_bytes(MARK + b"app==1.0.0\r\n# why\r\n")
    done = ppm("install", "-r", "r.txt", "--base", "lab", "--find-links", "../dist", "--dry-run")
    assert (done.code, "app==1.0.0" in done.out) == (0, True)


def test_a_package_that_is_written_again_keeps_its_rights_and_leaves_nothing_else(tmp_path):
    path = write_package(patch("app"), tmp_path / "new" / "folder")
    path.chmod(0o640)
    assert write_package(patch("app"), path.parent) == path
    assert mode_of(path) == 0o640
    assert list(path.parent.iterdir()) == [path]
