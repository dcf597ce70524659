"""docs/build-a-patch.md: what its part on the lab's model says works as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parent.parent.parent / "docs" / "build-a-patch.md"


def blocks(text):
    """The fenced blocks: (language, content)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_guide_on_the_lab_leads_to_a_deployed_patch(ppm_home, tmp_path):
    text = GUIDE.read_text()
    start, end = text.index("## On the lab's model"), text.index("## On a model of the hub")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, module in (("ppm", "-m ppm"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    printed = ""
    for language, content in blocks(text[start:end]):
        if language == "toml":
            (tmp_path / "calm" / "patch.toml").write_text(content)
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", content], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{content}\n{done.stdout}\n{done.stderr}"
        printed += done.stdout + done.stderr
    assert "calm==0.1.0 can be built: 500 prompts for the teacher lab" in printed
    assert re.search(r"\d{3} pairs of 500 prompts", printed)
    assert "Deployed calm==0.1.0" in printed
    assert "circular" in printed
    assert (tmp_path / "collected.jsonl").is_file()
    assert len(list((tmp_path / "dist").glob("calm-0.2.0-*.ppm"))) == 1
