"""Opening a source by its location, and what every source can be asked."""

import pytest
from packages import FINGERPRINT, make_package

from ppm.errors import SourceError
from ppm.package import sha256, write_package
from ppm.sources import open_source


def test_a_folder_is_a_source_whether_named_by_path_or_text(tmp_path):
    write_package(make_package(), tmp_path)
    for location in (tmp_path, str(tmp_path)):
        source = open_source(location)
        assert source.location == str(tmp_path)
        assert [release.pin for release in source.named("toxicity")] == ["toxicity==1.0.0"]
    assert open_source(tmp_path, label="lab").location == "lab"


@pytest.mark.parametrize(
    ("location", "shown", "hint"),
    [
        ("https://example.org/patches", "https://example.org/patches", "download the package files into a folder"),
        ("https:/example.org/patches", "https://example.org/patches", "and name that folder"),
        (f"https://example.org{'/a' * 3000}", f"https://example.org{'/a' * 3000}", "download"),
        ("s3://bucket/patches", "s3://bucket/patches", "download"),
        ("git+ssh://example.org/x", "git+ssh://example.org/x", "download"),
        ("file:///srv/patches", "file:///srv/patches", "give the path itself: /srv/patches"),
        ("file:/srv/patches", "file:///srv/patches", "give the path itself: /srv/patches"),
    ],
)
def test_a_url_is_said_to_be_unsupported(location, shown, hint):
    with pytest.raises(SourceError) as caught:
        open_source(location)
    assert (caught.value.message, caught.value.context) == ("URLs are not supported yet", shown)
    assert hint in caught.value.hint


def test_a_folder_that_looks_like_a_url_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "old:" / "patches"
    folder.mkdir(parents=True)
    write_package(make_package(), folder)
    assert list(open_source("old:/patches").names(FINGERPRINT)) == ["toxicity"]


def test_any_file_is_found_by_name_and_digest(tmp_path):
    (tmp_path / "composition.ppm.audit.json").write_bytes(b"{}")
    source = open_source(tmp_path)
    assert source.find("composition.ppm.audit.json", sha256(b"{}")) == b"{}"
    assert source.find("composition.ppm.audit.json", sha256(b"[]")) is None
    assert source.has_file("composition.ppm.audit.json")
    assert source.find("other.json", sha256(b"{}")) is None
    assert not source.has_file("other.json")


@pytest.mark.parametrize("name", ["../secret", "sub/file", "", ".", "..", "a\0b", "n" * 300])
def test_a_name_leads_to_no_file_outside_the_source(tmp_path, name):
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "file").write_bytes(b"x")
    source = open_source(folder)
    assert source.find(name, sha256(b"x")) is None
    assert not source.has_file(name)
