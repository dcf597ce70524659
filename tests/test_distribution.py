"""A wheel, an sdist and an editable install find strategies, manifests and the lab's data alike."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ppm.resources import lab_data, lab_manifests, strategies_folder

ROOT = Path(__file__).parent.parent
LOOK = (
    "from ppm.resources import *; from ppm.composition.strategy import read_strategy;"
    "print(read_strategy('distilled').name, (lab_data() / 'base' / 'model.safetensors').is_file(),"
    " len(list((lab_data() / 'packages').glob('*.ppm'))), (lab_manifests() / 'toxicity' / 'pairs.jsonl').is_file(),"
    " strategies_folder().parent.name)"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel that was built from an sdist that was built from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


def test_editable_install_finds_its_files():
    assert (strategies_folder() / "distilled.toml").is_file()
    assert len(list((lab_data() / "packages").glob("*.ppm"))) == 12
    assert (lab_manifests() / "toxicity" / "patch.toml").is_file()


@pytest.mark.slow
def test_wheel_from_sdist_finds_its_files(built, tmp_path):
    wheel = next(built.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        assert "ppm/py.typed" in archive.namelist()
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.split() == ["distilled", "True", "12", "True", "ppm"], done.stderr


@pytest.mark.slow
def test_sdist_runs_where_it_is_unpacked(built, tmp_path):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = next(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert done.stdout.split()[:4] == ["distilled", "True", "12", "True"], done.stderr
    assert (folder / "README.md").is_file()
