"""From the command line: patches for one base on the same model in another form, and on another model."""

import shutil
from dataclasses import replace

import pytest
from commands import ppm
from integration.deployed import FINGERPRINT, deployed, patch, write

from ppm.base import identify
from ppm.bases.fetch import import_base
from ppm.lock import DerivedFrom, LockedBase
from ppm.package import SKETCH, Package, read_package, write_package
from ppm.resources import lab_data
from ppm.runtime.derived import sketch_of
from ppm.workspace import open_base


def accepting(package: Package) -> Package:
    """A package for the lab's base that accepts derived bases."""
    manifest = replace(package.manifest, schema=2, base=replace(package.manifest.base, accepts=("derived",)))
    return Package(manifest, package.bank, {**package.files, SKETCH: sketch_of(open_base("lab")).to_bytes()})


@pytest.fixture
def half(tmp_path, monkeypatch):
    """The lab's base, recast to float16, in the working directory."""
    monkeypatch.chdir(tmp_path)
    import_base(lab_data() / "base", tmp_path / "half", dtype="float16", tell=str)
    return tmp_path / "half"


def test_a_plan_for_a_derived_base_says_what_differs(half, tmp_path):
    core = accepting(patch("core"))
    write(tmp_path / "dist", accepting(patch("app", needs={"core": ">=1"})), core, patch("plain"))
    done = ppm("install", "app", "--base", "half", "--find-links", "dist", "--dry-run")
    assert done.code == 0, done.err
    assert "is accepted as derived from lab: weights in float16 instead of bfloat16, " in done.out + done.err
    refused = ppm("install", "plain", "--base", "half", "--find-links", "dist", "--dry-run")
    assert refused.code == 3
    assert "ppm build MANIFEST --base" in refused.err
    assert "docs/build-a-patch.md" in refused.err
    (tmp_path / "ppm.toml").write_text('base = "half"\npatches = ["app"]\nsources = ["dist"]\n')
    assert ppm("lock").code == 0
    text = (tmp_path / "ppm.lock").read_text()
    assert "[[base.derived_from]]" in text
    assert FINGERPRINT in text
    shutil.rmtree(half)  # what was accepted before holds on where the base is not at hand
    assert ppm("lock").code == 0
    assert (tmp_path / "ppm.lock").read_text() == text


def test_another_model_is_refused_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dist", accepting(patch("app")))
    done = ppm("install", "app", "--base", "lab-gpt2", "--find-links", "dist", "--dry-run")
    assert done.code == 3
    assert "it is not derived from that model either: its configuration differs" in done.err
    assert done.err.count("hint:") == 1
    assert "Traceback" not in done.err


def test_a_patch_for_the_base_itself_goes_first(half, tmp_path):
    own = patch("app")
    base = replace(own.manifest.base, fingerprint=identify(half).fingerprint)
    own = Package(replace(own.manifest, base=base), own.bank, own.files)
    write(tmp_path / "dist", own, accepting(patch("app", "2.0.0")))
    done = ppm("install", "app", "--base", "half", "--find-links", "dist", "--dry-run")
    assert "app==1.0.0" in done.out, done.err
    assert "derived" not in done.out + done.err


def test_what_is_deployed_says_so(half, tmp_path):
    found = DerivedFrom("lab", FINGERPRINT, "weights a bit off")
    base = LockedBase(str(half), identify(half).fingerprint, None, (found,))
    deployed(["app"], accepting(patch("app")), base=base)
    listed = ppm("list")
    assert "half is accepted as derived from lab: weights a bit off" in listed.err
    [known] = ppm("list", "--json").json["derived_from"]
    assert known == {"model": "lab", "fingerprint": FINGERPRINT, "note": "weights a bit off"}
    assert "[base accepted as derived from lab: weights a bit off]" in ppm("history").out
    assert ppm("history", "--json").json[0]["derived_from"] == ["lab: weights a bit off"]
    assert ppm("check").code == 0
    write(tmp_path / "dist", accepting(patch("app")), accepting(patch("app", "2.0.0")))
    outdated = ppm("outdated", "--find-links", "dist")
    assert "2.0.0" in outdated.out, outdated.err


@pytest.mark.slow
def test_a_patch_is_tested_and_deployed_on_a_derived_base(half, tmp_path):
    [path] = (lab_data() / "packages").glob("harm_refusal-*.ppm")
    (tmp_path / "dist").mkdir()
    write_package(accepting(read_package(path)), tmp_path / "dist")
    done = ppm("install", "harm-refusal", "--base", "half", "--find-links", "dist")
    assert done.code == 0, done.err
    assert "is accepted as derived from lab" in ppm("list").err
    assert "is accepted as derived from lab" in (audit := ppm("audit")).out + audit.err
    assert ppm("check").code == 0
    assert ppm("generate", "hello", "--max-new-tokens", "2").code == 0
    assert ppm("install", "harm-refusal", "--base", "half", "--find-links", "dist").code == 0
    assert ppm("uninstall", "harm-refusal").code == 0
