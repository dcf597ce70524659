"""The page of the paper's experiments, from made-up results: its verdicts follow the figures."""

import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
LATENCY = {"base": 1.0, "patch": 1.02, "LoRA r1": 1.2, "LoRA r16": 1.25, "PEFT prompt tuning": 1.5}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Renders results in which `failures(job)` is the failure rate of each job."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    from paper import Reference, experiments
    from paper_page import write_page

    def render(failures):
        rng = random.Random(0)

        def result(job):
            def values(rate):
                return [float(rng.random() < rate) for _ in range(400)]

            found = {"failure": values(failures(job)), "ood": values(failures(job)), "perplexity": [0.5] * 400}
            found |= {"helpful": values(0.01), "facts": values(0.02)}
            if job.patch == "gender-bias":
                found["gld"] = [failures(job)] * 400
            if isinstance(job, Reference):
                return found | {"text": "kind words :"}
            size = 10240 * job.rank if job.how == "lora" else 128 * job.tokens
            size = 1_000_000 if job.how == "fine-tune" else size
            return found | {"pairs": 300, "seconds": 60.0, "parameters": size, "bytes": 4 * size}

        wanted = experiments(2)
        kept = {job: result(job) for part in wanted.values() for job in part}
        write_page(
            tmp_path, {name: [(job, kept[job]) for job in part] for name, part in wanted.items()}, LATENCY, 400, 2
        )
        return (tmp_path / "paper.md").read_text()

    return render


def is_patch(job):
    return not hasattr(job, "what") or job.what == "teacher"


def test_figures_that_agree(page, tmp_path):
    text = page(lambda job: 0.05 if is_patch(job) else 0.9)
    assert text.count("| **agrees** |") == 7
    assert "at 1/64 of its parameters" in text
    assert "{{" not in text
    for name in ("paper-main.svg", "paper-length.svg", "paper-cost.svg"):
        assert f"({name})" in text
        assert "<svg" in (tmp_path / name).read_text()


def test_figures_that_disagree(page):
    text = page(lambda job: 0.8 if is_patch(job) and getattr(job, "how", "") != "lora" else 0.9 * (not is_patch(job)))
    assert text.count("| **disagrees** |") == 6
    lora = next(line for line in text.splitlines() if "Published: 0.24" in line)
    assert "+0.8" in lora or "+0.79" in lora
    assert "**disagrees** (bar: within 0.05" in text
