"""An install that is interrupted or raced leaves the old deployment in force, and the next one works."""

import shutil
import signal
import subprocess
import time

import pytest
from commands import ppm, start

from ppm.environment.deployment import Environment
from ppm.resources import lab_data


@pytest.fixture
def toxicity_alone(deployed):
    """One patch deployed as number 2, with every result that its reinstallation needs kept."""
    result = ppm("uninstall", "gender-bias", "harm-refusal", "--base", "lab")
    assert result.code == 0, result.err
    return deployed


def reinstall(home):
    return start("install", "toxicity", "--base", "lab", "--force", home=home)


def test_interrupted_from_the_keyboard(deployed):
    before = ppm("list", "--json").json
    process = start(
        "install", "toxicity", "gender-bias", "harm-refusal", "--base", "lab", "--strategy", "sequential", home=deployed
    )
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert ppm("list", "--json").json == before


def test_five_installs_at_once_are_five_correct_outcomes(toxicity_alone, monkeypatch):
    monkeypatch.setenv("PPM_LOCK_TIMEOUT", "900")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    processes = [reinstall(toxicity_alone) for _ in range(5)]
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0] * 5, results
    assert sum("Waiting for process" in err for err, _ in results) >= 4
    environment = Environment.all(toxicity_alone)[0]
    assert environment.numbers() == tuple(range(1, 8))
    assert all(deployment.files() for deployment in environment.deployments())


def test_no_disk_space_is_one_message_and_changes_nothing(toxicity_alone, tmp_path):
    before = ppm("list", "--json").json
    command = 'ulimit -f 1; exec "$0" "$@"'
    from commands import command as of

    done = subprocess.run(
        ["bash", "-c", command, *of("install", "toxicity", "--base", "lab", "--force")],
        env={**__import__("os").environ, "PPM_HOME": str(toxicity_alone)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "hint:" in done.stderr
    assert ppm("list", "--json").json == before


def test_a_disk_that_is_nearly_full_is_told_before_anything_is_tested(toxicity_alone, monkeypatch):
    before, usage = ppm("list", "--json").json, shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=2**20))
    result = ppm("install", "toxicity", "--base", "lab", "--force")
    assert result.code == 1
    assert "too little space: a deployment may take up to 16 MiB, and 1 MiB are free" in result.err
    assert "hint: free some space" in result.err
    assert "Loading" not in result.err + result.out
    assert ppm("list", "--json").json == before


def test_another_base_model_is_refused_with_what_differs(ppm_home, tmp_path):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "other"
    shutil.copytree(lab_data() / "base", other)
    weights = load_file(other / "model.safetensors")
    weights["model.layers.0.self_attn.q_proj.weight"] *= 1.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    result = ppm("install", "toxicity", "--base", str(other), "--find-links", str(lab_data() / "packages"))
    assert result.code == 3
    assert "another base model" in result.err
    path = next((lab_data() / "packages").glob("toxicity-*.ppm"))
    import transformers

    import ppm as library
    from ppm.errors import ModelError

    model = transformers.AutoModelForCausalLM.from_pretrained(other)
    with pytest.raises(ModelError, match="weights differ"):
        library.apply(model, path)
