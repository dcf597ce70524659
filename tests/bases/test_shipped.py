"""What ships for a real base: the composition of its patches, tested in two dtypes."""

import gguf_files
import pytest
from commands import ppm
from environment.samples import install

from ppm.bases.fetch import import_base
from ppm.bases.kept import folder_of
from ppm.lock import Lock
from ppm.package import read_package, sha256
from ppm.resources import shipped_packages, shipped_project
from ppm.running import UNSAID
from ppm.workspace import Workspace, open_base

DTYPES = ("float32", "bfloat16")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_lock_pins_the_shipped_patches_and_an_audit_that_lies_beside_it(dtype):
    project = shipped_project("smollm2", dtype)
    lock = Lock.read(project / "ppm.lock")
    assert lock.running(UNSAID).dtype == dtype
    [audit] = project.glob("*.audit.json")
    assert lock.composition.audit == sha256(audit.read_bytes())
    shipped = {read_package(path).sha256 for path in shipped_packages("smollm2").glob("*.ppm")}
    assert {package.sha256 for package in lock.packages} == shipped


def test_both_locks_pin_one_composition_and_carry_the_same_counts_of_attempts():
    one, other = (Lock.read(shipped_project("smollm2", dtype) / "ppm.lock") for dtype in DTYPES)
    assert one.composition.sha256 == other.composition.sha256
    [composed] = shipped_project("smollm2", "bfloat16").glob("*.ppm")
    assert one.composition.sha256 == sha256(composed.read_bytes())
    assert one.attempts == other.attempts


def test_the_quickstart_refuses_a_dtype_that_was_not_tested(ppm_home, tmp_path, monkeypatch):
    gguf_files.write_gguf(tmp_path / "model.gguf")
    import_base(tmp_path / "model.gguf", folder_of("smollm2", ppm_home), tell=str)
    monkeypatch.setenv("PPM_DTYPE", "float16")
    done = ppm("quickstart", "--base", "smollm2")
    assert done.code == 1
    assert "was not tested in float16" in done.err
    assert "PPM_DTYPE" in done.err


def test_the_quickstart_replaces_no_patches_of_the_user(ppm_home, tmp_path, monkeypatch):
    gguf_files.write_gguf(tmp_path / "model.gguf")
    import_base(tmp_path / "model.gguf", folder_of("smollm2", ppm_home), tell=str)
    monkeypatch.setenv("PPM_DTYPE", "float32")
    monkeypatch.setattr("ppm.cli.base.fetch_wheel", lambda base: None)  # it is another model, and can't be fetched
    environment = Workspace.open(tmp_path).environment_for(open_base("smollm2"))
    install(environment)
    done = ppm("quickstart", "--base", "smollm2")
    assert done.code == 1
    assert "has toxicity==1.0.0 deployed, which the shipped composition would replace" in done.err
    assert "hint: try it beside that, in another environment, such as --env trial" in done.err
    assert "would replace" in ppm("quickstart", "--base", "smollm2", "--recompose").err
    beside = ppm("quickstart", "--base", "smollm2", "--env", "trial")
    assert beside.code == 1
    assert "is not the locked base model" in beside.err
    assert environment.current().number == 1
