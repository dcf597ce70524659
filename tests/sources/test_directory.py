"""A directory of package files as a source."""

import pytest
from packages import FINGERPRINT, make_package

from ppm.errors import IntegrityError, SourceError
from ppm.package import Package, read_package, write_package
from ppm.sources import DirectorySource


@pytest.fixture
def folder(tmp_path):
    for package in (make_package(), make_package("toxicity", "1.1.0"), make_package("gender-bias", "2.0")):
        write_package(package, tmp_path)
    return tmp_path


def test_lists_every_package_file_with_its_metadata(folder):
    (folder / "README.md").write_text("not a package")
    (folder / ".toxicity-9-tiny.ppm").write_bytes(b"half written")
    source = DirectorySource(folder)
    assert [candidate.pin for candidate in source.candidates()] == [
        "gender-bias==2.0",
        "toxicity==1.0.0",
        "toxicity==1.1.0",
    ]
    assert source.problems() == ()
    first = source.candidates()[0]
    assert first.file_name == "gender_bias-2.0-tiny_0123456789ab.ppm"
    assert (first.base_tag, first.fingerprint) == ("tiny-0123456789ab", FINGERPRINT)
    assert first.source == source.location == str(folder)
    assert first.manifest.patch.risks == ("gender-bias",)


def test_fetches_what_it_listed(folder):
    source = DirectorySource(folder)
    for candidate in source.candidates():
        package = read_package(source.fetch(candidate), expected_sha256=candidate.sha256)
        assert package.manifest == candidate.manifest


def test_an_empty_directory_has_no_candidates(tmp_path):
    assert DirectorySource(tmp_path).candidates() == ()


def test_a_missing_directory_says_so(tmp_path):
    with pytest.raises(SourceError, match="nowhere: does not exist") as caught:
        DirectorySource(tmp_path / "nowhere").candidates()
    assert caught.value.hint == "give a directory that holds .ppm files"


def test_a_file_is_not_a_directory(folder):
    path = next(folder.glob("*.ppm"))
    with pytest.raises(SourceError, match="is not a directory"):
        DirectorySource(path).problems()


def test_a_damaged_file_hides_only_itself(folder):
    damaged = folder / "toxicity-1.1.0-tiny_0123456789ab.ppm"
    damaged.write_bytes(damaged.read_bytes()[:-10])
    (folder / "odd.ppm").write_bytes(b"")
    source = DirectorySource(folder)
    assert [candidate.pin for candidate in source.candidates()] == ["gender-bias==2.0", "toxicity==1.0.0"]
    assert source.problems() == (
        ("odd", f"{folder / 'odd.ppm'}: is not a whole package file"),
        ("toxicity", f"{damaged}: is not a whole package file"),
    )


@pytest.mark.parametrize(
    "name",
    ["harmless-1.0.0-tiny_0123456789ab.ppm", "toxicity-9.0-tiny_0123456789ab.ppm", "toxicity-1.0.0-llama.ppm", "x.ppm"],
)
def test_a_file_that_belies_its_name_is_a_problem(tmp_path, name):
    write_package(make_package(), tmp_path).rename(tmp_path / name)
    source = DirectorySource(tmp_path)
    assert source.candidates() == ()
    [(_, message)] = source.problems()
    assert message.endswith("holds toxicity==1.0.0 for tiny-0123456789ab, other than its file name says")


def test_a_directory_called_like_a_package_is_a_problem(tmp_path):
    (tmp_path / "toxicity-1.0-tiny.ppm").mkdir()
    assert DirectorySource(tmp_path).problems() == (
        ("toxicity", f"{tmp_path / 'toxicity-1.0-tiny.ppm'}: is not a file"),
    )


def test_metadata_is_read_without_the_rest(tmp_path):
    package = make_package()
    path = tmp_path / package.file_name
    path.write_bytes(Package(package.manifest, b"no prefix", {}).to_bytes())
    [candidate] = DirectorySource(tmp_path).candidates()
    assert candidate.pin == "toxicity==1.0.0"


def test_a_file_that_changes_after_it_was_listed_is_refused(folder):
    source = DirectorySource(folder)
    candidate = source.candidates()[0]
    (folder / candidate.file_name).write_bytes(make_package("gender-bias", "2.0", value=0.25).to_bytes())
    with pytest.raises(IntegrityError, match="has changed since it was listed"):
        source.fetch(candidate)


def test_a_file_that_vanishes_after_it_was_listed_is_missed(folder):
    source = DirectorySource(folder)
    candidate = source.candidates()[0]
    (folder / candidate.file_name).unlink()
    with pytest.raises(SourceError, match="can't be read: No such file"):
        source.fetch(candidate)
