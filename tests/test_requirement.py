"""Requirements: what a user may ask for, what is refused, and how it is written down again."""

import pytest

from ppm import document
from ppm.errors import ManifestError, RequestError
from ppm.project import Project
from ppm.requirement import MAX_LENGTH, exactly, parse_name, parse_requirement, phrase, read_requirement


@pytest.mark.parametrize(
    ("text", "name", "specifier"),
    [
        ("toxicity", "toxicity", ""),
        ("Gender_Bias", "gender-bias", ""),
        ("  toxicity >= 1 , < 2  ", "toxicity", "<2,>=1"),
        ("toxicity(>=1)", "toxicity", ">=1"),
        ("toxicity~=1.2", "toxicity", "~=1.2"),
        ("toxicity==1.*", "toxicity", "==1.*"),
    ],
)
def test_a_name_with_its_versions(text, name, specifier):
    found = read_requirement(text)
    assert (found.name, str(found.specifier), found.is_file) == (name, specifier, False)
    assert str(found) == found.to_toml() == text.strip()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dist/own-1.0-tiny.ppm", "own"),
        ("own-1.0-tiny.ppm", "own"),
        ("./toxicity", ""),
        ("../some where/patch.ppm", ""),
    ],
)
def test_the_path_of_a_file_keeps_its_text(text, name):
    found = read_requirement(text)
    assert (found.name, found.is_file, found.text) == (name, True, text)
    assert found.specifier.contains("0.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/toxicity.ppm", "is a URL without a name"),
        ("toxicity @ https://example.org/toxicity.ppm", "is a URL without a digest"),
        (
            "toxicity @ https://example.org/toxicity.ppm#sha256=1234",
            "is a URL without a digest of 64 hexadecimal digits",
        ),
        ("toxicity @ https://example.org/toxicity.ppm#md5=" + "0" * 64, "is a URL without a digest"),
        ("toxicity @ ftp://example.org/toxicity.ppm#sha256=" + "0" * 64, "is a URL without a name, or not one"),
        ("toxicity>=1 @ https://example.org/toxicity.ppm#sha256=" + "0" * 64, "has a URL and a version"),
        ("toxicity[extra]", "has extras"),
        ("toxicity @ somewhere", "has a URL"),
        ("toxicity; python_version < '3'", "has a marker"),
        ("toxicity>=1; os_name == 'posix'", "has a marker"),
        ("", "is not a requirement"),
        ("toxicity 1.0", "is not a requirement"),
        ("toxicity>=1,,<2", "is not a requirement"),
        ("toxicity>=1,", "is not a requirement"),
        ("toxicity=>1", "is not a requirement"),
        ("-toxicity", "is not a requirement"),
        ("toxicity>=one", "is not a requirement"),
        ("t" * (MAX_LENGTH + 1), "is not a requirement"),
    ],
)
def test_what_is_no_requirement_says_where_it_stands(text, message):
    with pytest.raises(RequestError, match=message) as caught:
        read_requirement(text, "limits.txt, line 3")
    assert caught.value.context == "limits.txt, line 3"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("toxicity@1.0.0", "write toxicity==1.0.0"),
        ("toxicity @ 1.0", "write toxicity==1.0"),
        ("toxicity  gender-bias", "if these are 2 patches, give each as a requirement of its own"),
        ("-toxicity@1", "write a name and, if you like, versions, such as 'toxicity>=1,<2'"),
        ("toxicity@1..2", "write a name and, if you like, versions, such as 'toxicity>=1,<2'"),
        ("t" * 100 + "@1", "write a name and, if you like, versions, such as 'toxicity>=1,<2'"),
        ("toxicity[more]", "write a name and, if you like, versions, such as 'toxicity>=1,<2'"),
        ("@" * 500, "write a name and, if you like, versions, such as 'toxicity>=1,<2'"),
        ("a " * 400, "write a name and, if you like, versions, such as 'toxicity>=1,<2'"),
    ],
)
def test_the_hint_says_what_was_meant_where_that_is_plain(text, hint):
    with pytest.raises(RequestError) as caught:
        parse_requirement(text)
    assert caught.value.hint == hint


def test_what_does_not_count_when_two_are_compared():
    assert parse_requirement("toxicity>=1,<2", "here") == parse_requirement("toxicity>=1,<2", "there")
    assert parse_requirement("toxicity>=1") != parse_requirement("toxicity>=2")


@pytest.mark.parametrize(
    ("text", "pinned"),
    [("a==1.0", "1.0"), ("a===1.0", "1.0"), ("a==1.*", None), ("a>=1", None), ("a", None), ("a>0,==2rc1", "2rc1")],
)
def test_a_pin_names_one_version(text, pinned):
    assert parse_requirement(text).pinned == pinned


def test_an_exact_requirement_lets_no_local_version_in():
    found = exactly("toxicity", "1.0")
    assert (found.specifier.contains("1.0"), found.specifier.contains("1.0+ours")) == (True, False)


def test_where_a_name_is_meant_versions_are_refused():
    assert parse_name("Gender_Bias") == "gender-bias"
    with pytest.raises(RequestError, match="only a name is") as caught:
        parse_name("toxicity>=1")
    assert caught.value.hint == "use toxicity"


@pytest.mark.parametrize(
    ("specifier", "text"),
    [("", "core"), ("*", "core"), ("<2,>=1", "core>=1,<2"), ("!=1.5,~=1.2", "core~=1.2,!=1.5")],
)
def test_a_phrase_is_what_a_user_would_type(specifier, text):
    assert phrase("core", specifier) == text


def test_a_project_has_them_as_text(tmp_path):
    path = tmp_path / "ppm.toml"
    path.write_text('patches = ["toxicity >=1", "dist/own-1.0-tiny.ppm"]\nconstraints = ["core<2"]\n')
    project = Project.read(path)
    assert [(r.name, r.is_file) for r in project.patches] == [("toxicity", False), ("own", True)]
    assert document.to_table(project.patches) == ["toxicity >=1", "dist/own-1.0-tiny.ppm"]
    for text, message in (
        ('patches = ["toxicity[x]"]', r"patches\[0\]: 'toxicity\[x\]' has extras"),
        ('constraints = ["./core.ppm"]', "constraints: './core.ppm' is not a requirement"),
    ):
        path.write_text(text)
        with pytest.raises(ManifestError, match=message) as caught:
            Project.read(path)
        assert caught.value.context == str(path)
