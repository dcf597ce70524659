"""A package file from an address: taken with its digest, refused with another one or without any."""

import pytest
from commands import ppm
from index.indexes import serve
from integration.deployed import patch, write

from ppm.errors import ManifestError
from ppm.project import Project


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """(package, host, address) of a package file."""
    monkeypatch.chdir(tmp_path)
    package = patch("guard")
    write(tmp_path / "dist", package)
    with serve(tmp_path / "dist") as (host, url):
        yield package, host, f"{url}/{package.file_name}"


def test_it_is_taken_with_its_digest(hosted, tmp_path):
    package, _, url = hosted
    wish = f"guard @ {url}#sha256={package.sha256}"
    for arguments in (["download", wish, "--base", "lab", "--dest", "got"], ["install", wish, "--base", "lab"]):
        done = ppm(*arguments, *(["--dry-run"] if arguments[0] == "install" else []))
        assert done.code == 0, done.err
    assert (tmp_path / "got" / package.file_name).read_bytes() == package.data
    assert f"(from {url})" in done.out + done.err
    (tmp_path / "wishes.txt").write_text(wish + "\n")
    assert ppm("install", "-r", "wishes.txt", "--base", "lab", "--dry-run").code == 0
    local = f"guard@{(tmp_path / 'dist' / package.file_name).as_uri()}#sha256={package.sha256}"
    assert ppm("download", local, "--base", "lab", "--dest", "near", "--offline").code == 0


def test_it_is_refused_otherwise(hosted, tmp_path):
    package, host, url = hosted

    def refused(wish, *more):
        done = ppm("download", wish, "--base", "lab", "--dest", "got", *more)
        assert not (tmp_path / "got").exists()
        assert "Traceback" not in done.err
        return done.code, done.err

    code, said = refused(f"guard @ {url}#sha256={'0' * 64}")
    assert (code, "is pinned" in said) == (4, True)
    code, said = refused(f"guard @ {url}")
    assert (code, "is a URL without a digest" in said) == (1, True)
    code, said = refused(f"other @ {url}#sha256={package.sha256}")
    assert (code, "is guard==1.0.0, not other" in said) == (4, True)
    code, said = refused(f"guard @ {url}#sha256={package.sha256}", "--offline")
    assert (code, "without --offline" in said) == (1, True)
    code, said = refused(f"guard @ {url}x#sha256={package.sha256}")
    assert (code, "lacks a file" in said) == (1, True)
    host.instead["*"] = "endless"
    code, said = refused(f"guard @ {url}#sha256={package.sha256}")
    assert (code, "sends more than it may" in said) == (4, True)


def test_a_project_names_no_address(hosted, tmp_path):
    package, _, url = hosted
    wish = f"guard @ {url}#sha256={package.sha256}"
    done = ppm("add", wish, "--base", "lab")
    assert (done.code, (tmp_path / "ppm.toml").exists()) == (1, False)
    assert "is a URL; download the package file" in done.err
    (tmp_path / "ppm.toml").write_text(f'constraints = ["{wish}"]\n')
    with pytest.raises(ManifestError, match="is not a requirement such as"):
        Project.read(tmp_path / "ppm.toml")
    (tmp_path / "limits.txt").write_text(wish + "\n")
    (tmp_path / "ppm.toml").unlink()
    done = ppm("download", "guard", "--base", "lab", "-c", "limits.txt")
    assert "is a URL, but only a name is allowed here" in done.err
