"""A directory of package files as a source."""

import os
from datetime import UTC, datetime

import pytest
from packages import FINGERPRINT, make_package

from ppm.bank import Bank
from ppm.errors import IntegrityError, SourceError
from ppm.package import Package, read_package, write_package
from ppm.resolve import parse_requirement, resolve
from ppm.sources import Joined
from ppm.sources.directory import DirectorySource


@pytest.fixture
def folder(tmp_path):
    for package in (make_package(), make_package("toxicity", "1.1.0"), make_package("gender-bias", "2.0")):
        write_package(package, tmp_path)
    return tmp_path


def everything(source):
    """All releases of a source for the one base model, by file name."""
    found = [release for name in source.names(FINGERPRINT) for release in source.named(name)]
    return sorted(found, key=lambda release: release.file_name)


def test_lists_every_package_file_with_its_metadata(folder):
    (folder / "README.md").write_text("not a package")
    (folder / ".toxicity-9-tiny.ppm").write_bytes(b"half written")
    source = DirectorySource(folder)
    assert [release.pin for release in everything(source)] == [
        "gender-bias==2.0",
        "toxicity==1.0.0",
        "toxicity==1.1.0",
    ]
    assert source.damaged() == []
    first = everything(source)[0]
    assert first.file_name == "gender_bias-2.0-tiny_0123456789ab.ppm"
    assert (first.base_tag, first.fingerprint) == ("tiny-0123456789ab", FINGERPRINT)
    assert first.source == source.location == str(folder)
    assert first.risks == ("gender-bias",)


def test_fetches_what_it_listed(folder):
    source = DirectorySource(folder)
    for release in everything(source):
        package = read_package(source.fetch(release), expected_sha256=release.sha256)
        assert (package.manifest.pin, package.sha256) == (release.pin, release.sha256)


def test_an_empty_directory_has_no_releases(tmp_path):
    assert everything(DirectorySource(tmp_path)) == []


def test_a_missing_directory_says_so(tmp_path):
    with pytest.raises(SourceError, match="nowhere: does not exist") as caught:
        DirectorySource(tmp_path / "nowhere").named("toxicity")
    assert caught.value.hint == "name a directory that has .ppm files"


def test_a_file_is_not_a_directory(folder):
    path = next(folder.glob("*.ppm"))
    with pytest.raises(SourceError, match="is not a directory"):
        DirectorySource(path).problems("toxicity")


def test_a_damaged_file_hides_only_itself(folder):
    damaged = folder / "toxicity-1.1.0-tiny_0123456789ab.ppm"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    (folder / "odd.ppm").write_bytes(b"")
    source = DirectorySource(folder)
    assert [release.pin for release in everything(source)] == ["gender-bias==2.0", "toxicity==1.0.0"]
    assert source.problems("toxicity") == [f"{damaged}: is not a whole package file"]
    assert source.problems("gender-bias") == []
    assert source.damaged() == [f"{folder / 'odd.ppm'}: is not a whole package file", *source.problems("toxicity")]


@pytest.mark.parametrize(
    "name",
    ["harmless-1.0.0-tiny_0123456789ab.ppm", "toxicity-9.0-tiny_0123456789ab.ppm", "toxicity-1.0.0-llama.ppm", "x.ppm"],
)
def test_a_file_that_belies_its_name_is_a_problem(tmp_path, name):
    write_package(make_package(), tmp_path).rename(tmp_path / name)
    source = DirectorySource(tmp_path)
    assert everything(source) == []
    [message] = source.damaged()
    assert message.endswith("holds toxicity==1.0.0 for tiny-0123456789ab, but its file name says otherwise")


def test_a_directory_called_like_a_package_is_a_problem(tmp_path):
    (tmp_path / "toxicity-1.0-tiny.ppm").mkdir()
    problems = DirectorySource(tmp_path).problems("toxicity")
    assert problems == [f"{tmp_path / 'toxicity-1.0-tiny.ppm'}: is not a file"]


def test_a_yanked_file_says_why(folder):
    [first, _] = sorted(DirectorySource(folder).named("toxicity"), key=lambda release: release.version)
    assert first.yanked is None
    (folder / f"{first.file_name}.yanked").write_text("breaks\nrefusals\n")
    [first, second] = sorted(DirectorySource(folder).named("toxicity"), key=lambda release: release.version)
    assert (first.yanked, second.yanked) == ("breaks refusals", None)
    assert DirectorySource(folder).damaged() == []


def test_a_file_is_published_when_it_comes_into_the_directory(folder):
    path = next(folder.glob("gender*"))
    os.utime(path, (1e9, 1e9))
    [release] = DirectorySource(folder).named("gender-bias")
    assert release.published == datetime.fromtimestamp(1e9, UTC)


def test_metadata_is_read_without_the_rest(tmp_path):
    package = make_package()
    path = tmp_path / package.file_name
    path.write_bytes(Package(package.manifest, Bank(encoded=b"no prefix"), {}).to_bytes())
    [release] = DirectorySource(tmp_path).named("toxicity")
    assert release.pin == "toxicity==1.0.0"


def test_a_file_that_changes_after_it_was_listed_is_refused(folder):
    source = DirectorySource(folder)
    release = everything(source)[0]
    (folder / release.file_name).write_bytes(make_package("gender-bias", "2.0", value=0.25).to_bytes())
    with pytest.raises(IntegrityError, match="has changed since it was listed"):
        source.fetch(release)


def test_a_file_that_vanishes_after_it_was_listed_is_missed(folder):
    source = DirectorySource(folder)
    release = everything(source)[0]
    (folder / release.file_name).unlink()
    with pytest.raises(SourceError, match="can't be read: No such file"):
        source.fetch(release)


def test_two_files_of_one_version_are_both_named(tmp_path):
    write_package(make_package("toxicity", "1.0"), tmp_path)
    write_package(make_package("toxicity", "1.0.0", value=0.25), tmp_path)
    other = tmp_path / "other"
    write_package(make_package("toxicity", "1.0", model="elsewhere/small", value=0.75), other)
    for sources, files in (
        ([tmp_path], ("toxicity-1.0-tiny_0123456789ab.ppm", "toxicity-1.0.0-tiny_0123456789ab.ppm")),
        ([tmp_path / "other", tmp_path], ("toxicity-1.0-small_0123456789ab.ppm", "toxicity-1.0-tiny_0123456789ab.ppm")),
    ):
        offer = Joined([DirectorySource(path) for path in sources])
        with pytest.raises(IntegrityError) as caught:
            resolve([parse_requirement("toxicity")], offer, fingerprint=FINGERPRINT, base_name="acme/tiny")
        assert caught.value.message.startswith("two files of toxicity==1.0")
        for path, name in zip((sources[0], sources[-1]), files, strict=True):
            assert f"{name} in {path} (SHA-256 " in caught.value.message
    assert "leave out the other source" in caught.value.hint


def test_what_can_t_be_shown_of_a_yank_is_left_out(folder):
    path = next(folder.glob("gender*"))
    path.with_name(f"{path.name}.yanked").write_bytes(b"bad\x1b[31m\x00 news\xff")
    [release] = DirectorySource(folder).named("gender-bias")
    assert release.yanked == "bad[31m news\N{REPLACEMENT CHARACTER}"
