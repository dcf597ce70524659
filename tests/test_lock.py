from dataclasses import replace

import pytest
from packages import FINGERPRINT

from ppm.errors import ManifestError
from ppm.lock import Lock, LockedBase, LockedComposition, LockedPackage
from ppm.project import Gates, Project
from ppm.requirement import parse_requirement, read_requirement
from ppm.running import Running

SHA256 = "ab" * 32


def locked(name, *dependencies, requested=True):
    file = f"{name}-1.0.0-tiny_0123456789ab.ppm"
    return LockedPackage(name, "1.0.0", file, SHA256, "dist", requested, dependencies)


LOCK = Lock(
    base=LockedBase("acme/tiny", FINGERPRINT, "0" * 40),
    requirements=tuple(map(parse_requirement, ("toxicity>=1", "bias"))),
    strategy="distilled",
    strategy_digest="sha256:" + SHA256,
    packages=(locked("toxicity", "core"), locked("core", requested=False), locked("bias")),
    composition=LockedComposition(SHA256, SHA256),
)


def test_a_lock_comes_back_as_it_was_written():
    assert Lock.parse(LOCK.render(), "ppm.lock") == LOCK
    bare = Lock(LockedBase("acme/tiny", FINGERPRINT))
    assert Lock.parse(bare.render().encode(), "ppm.lock") == bare


def test_a_lock_says_in_which_dtype_the_base_runs_and_one_that_does_not_means_float32():
    other = replace(LOCK, dtype="bfloat16")
    assert Lock.parse(other.render(), "ppm.lock") == other
    assert other.running(Running(memory=5)) == Running("bfloat16", memory=5)
    assert "dtype" not in LOCK.render()
    assert LOCK.running().dtype == "float32"


def test_the_same_inputs_give_the_same_file():
    shuffled = replace(LOCK, packages=(LOCK.packages[2], LOCK.packages[0], LOCK.packages[1]))
    assert shuffled.render() == LOCK.render()
    assert [package.pin for package in LOCK.packages] == ["bias==1.0.0", "core==1.0.0", "toxicity==1.0.0"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("schema = 1", "schema = 2", "unknown schema 2"),
        ("schema = 1", "", "schema is missing"),
        ("schema = 1", "schema = ", "not valid TOML"),
        ("strategy = ", 'dtype = "int3"\nstrategy = ', "dtype"),
        ("requirements", "requirement", "unknown key 'requirement'"),
        ("sha256:ab", "ab", "strategy_digest"),
        ('name = "core"', 'name = "heart"', "'toxicity' depends on 'core', which is not locked"),
        ('name = "core"', 'name = "Bias"', "'bias' is locked twice"),
        ("core-1.0.0", "../core-1.0.0", "file must be the name"),
        ('version = "1.0.0"', 'version = "one"', "PEP 440"),
        (f'sha256 = "{SHA256}"', 'sha256 = "abc"', "64 hexadecimal digits"),
        (f'audit = "{SHA256}"', "", "audit is missing"),
        (FINGERPRINT, "none", "fingerprint must be"),
    ],
)
def test_a_malformed_lock_is_explained(before, after, message):
    text = LOCK.render()
    assert before in text
    with pytest.raises(ManifestError, match=message) as caught:
        Lock.parse(text.replace(before, after, 1), "fleet/ppm.lock")
    assert caught.value.context == "fleet/ppm.lock"


def test_a_missing_lock_says_how_to_get_one(tmp_path):
    with pytest.raises(ManifestError, match="No such file") as caught:
        Lock.read(tmp_path / "ppm.lock")
    assert "ppm.lock" in caught.value.hint
    (tmp_path / "ppm.lock").write_text(LOCK.render())
    assert Lock.read(tmp_path / "ppm.lock") == LOCK


def test_a_project_is_found_from_a_folder_below_it(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert Project.find(tmp_path / "deep") is None
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "ppm.toml").write_text(
        """
        base = "models/tiny"
        patches = ["toxicity>=1,<2", "bias", "dist/own-1.0-tiny.ppm"]
        strategy = "auto"
        sources = ["dist", "/srv/patches"]
        [gates]
        alpha = 0.01
        max_margin = 0.05
        suites = ["tests/ours.toml"]
        looks = [0.4, 0.7]
        """
    )
    project = Project.find(tmp_path / "deep" / "er")
    assert project == Project.find(tmp_path)
    assert project == Project(
        base=str(tmp_path / "models" / "tiny"),
        patches=tuple(map(read_requirement, ("toxicity>=1,<2", "bias", "dist/own-1.0-tiny.ppm"))),
        strategy="auto",
        sources=(str(tmp_path / "dist"), "/srv/patches"),
        gates=Gates(alpha=0.01, max_margin=0.05, suites=(str(tmp_path / "tests" / "ours.toml"),), looks=(0.4, 0.7)),
    )
    assert Project.locate(tmp_path / "deep") == tmp_path / "ppm.toml"


@pytest.mark.parametrize(
    ("source", "message"),
    [("", "sources are folders of package files"), ("https://patches.example.org/index", "URLs are not supported yet")],
)
def test_a_source_is_a_folder(tmp_path, source, message):
    (tmp_path / "ppm.toml").write_text(f'sources = ["dist", "{source}"]')
    with pytest.raises(ManifestError, match=message):
        Project.find(tmp_path)


def test_an_empty_project_has_the_default_policy(tmp_path):
    (tmp_path / "ppm.toml").write_text("")
    assert Project.find(tmp_path) == Project()
    assert Project().gates == Gates(alpha=0.05, max_margin=None, min_effect=None, min_prompts=None)


def test_a_base_that_is_no_folder_is_a_hub_name(tmp_path):
    (tmp_path / "ppm.toml").write_text('base = "acme/tiny"')
    assert Project.find(tmp_path).base == "acme/tiny"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gates.alpha = 0", "alpha must be above 0"),
        ("gates.alpha = 0.6", "alpha must be above 0 and at most 0.5, not 0.6"),
        ("gates.alpha = nan", "gates.alpha must be a finite number"),
        ("gates.max_margin = 1", "max_margin"),
        ("gates.min_effect = -0.1", "min_effect"),
        ("gates.min_prompts = 0", "min_prompts"),
        ("gates.looks = [0.7, 0.4]", "looks must be rising"),
        ("gates.looks = [1.0]", "looks must be rising"),
        ("gates.min_prompt = 9", "unknown key 'min_prompt'"),
        ('patches = ["toxicity 1.0"]', "'toxicity 1.0' is not a requirement"),
        ('patches = "toxicity"', "patches must be a list"),
        ('patchs = ["toxicity"]', "unknown key 'patchs'"),
        ('base = ""', "base must not be empty"),
        ('sources = [""]', "sources"),
    ],
)
def test_a_malformed_project_is_explained(tmp_path, text, message):
    (tmp_path / "ppm.toml").write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        Project.find(tmp_path)
    assert caught.value.context == str(tmp_path / "ppm.toml")


def test_a_base_with_a_name_too_long_for_a_file_is_no_folder(tmp_path):
    (tmp_path / "ppm.toml").write_text(f'base = "{"b" * 5000}"\n')
    assert Project.read(tmp_path / "ppm.toml").base == "b" * 5000
