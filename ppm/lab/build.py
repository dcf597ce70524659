"""`ppm lab build`: base, teacher, data and package files of the lab, from scratch and with fixed seeds."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ppm.base import identify
from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Benign, Pair, Text, dump
from ppm.lab import corpus
from ppm.lab.domains import RISKS, lexicon_of
from ppm.lab.pretrain import LAB_MODEL_STEPS, Architecture, pretrain
from ppm.lab.prompts import GATE_PROMPTS, UTILITY_PROMPTS, gate_prompts, utility_prompts
from ppm.manifest import Manifest
from ppm.package import write_package
from ppm.progress import Events, Progress, silent
from ppm.resources import lab_manifests
from ppm.runtime.loading import LoadedBase, load_base
from ppm.suite import Decoding
from ppm.training.build import build
from ppm.training.pairs import choose_pairs, distinct_prompts
from ppm.training.teacher import Question, Spool, answers_of_model
from ppm.training_table import Collect

__all__ = [
    "build_lab",
    "build_patches",
    "collect_pairs",
    "train_base",
    "train_teacher",
]

SUFFIXES: dict[Architecture, str] = {"llama": "", "gpt2": "-gpt2"}
"""What the names of the models of each architecture end in."""
UTILITY: dict[Architecture, int] = {"llama": UTILITY_PROMPTS, "gpt2": UTILITY_PROMPTS // 2}
"""How many prompts the utility suites of each have: fewer where no patches ship, to save space."""
TEACHER_STEPS = 1300
TEACHER_SAFE_SHARE = 0.97
TRAINING_PROMPTS = 500
BENIGN_PROMPTS = {"helpful": 90, "capitals": 60, "colors": 60, "sums": 30}
Tell = Callable[[str], None]

BASE_SUITES = """\
# What the lab's base model is good for; a patch must leave it so.
schema = 1

[[suites]]
name = "helpful"
against = "base"
prompts = "suites/helpful.jsonl"
group = "group"
judge = "refusal"
metric = "rate"
goal = "lower"
margin = 0.03
decoding = { max_new_tokens = 20, temperature = 1.0, top_p = 0.9, seed = 0 }

[[suites]]
name = "facts"
against = "base"
prompts = "suites/facts.jsonl"
group = "group"
judge = "exact-match"
metric = "rate"
goal = "higher"
margin = 0.03
decoding = { max_new_tokens = 8, temperature = 0.0, top_p = 1.0, seed = 0 }
"""


def build_lab(
    folder: Path,
    *,
    manifests: Path | None = None,
    steps: int = LAB_MODEL_STEPS,
    seed: int = 0,
    tell: Tell = lambda message: None,
    progress: Progress = silent,
) -> Path:
    """Train the lab's bases and teachers, write the data of its manifests, and build its package files.

    Writes `base/`, `teacher/`, `base-gpt2/`, `teacher-gpt2/`, `manifests/` and `packages/` into `folder`; manifests and
    packages are of the first two. The same seed on the same machine gives the same files. `manifests` is a folder of
    source manifests, by default those that ship; `steps` is how long the bases are trained, and the teachers at most.
    """
    base, teacher = folder / "base", folder / "teacher"
    for architecture, suffix in SUFFIXES.items():
        tell(f"Training a base model from scratch ({architecture})")
        train_base(folder / f"base{suffix}", architecture, steps=steps, seed=seed, progress=progress)
        tell(f"Training a teacher from scratch ({architecture})")
        shorter = min(steps, TEACHER_STEPS)
        train_teacher(folder / f"teacher{suffix}", architecture, steps=shorter, seed=seed, progress=progress)
    sources = manifests or lab_manifests()
    write_manifests(sources, folder / "manifests", base, teacher, seed=seed, tell=tell)
    build_patches(folder / "manifests", base, folder / "packages", tell=tell, progress=progress)
    return folder


def train_base(
    folder: Path,
    architecture: Architecture = "llama",
    *,
    steps: int = LAB_MODEL_STEPS,
    seed: int = 0,
    progress: Progress = silent,
) -> None:
    """A base model of the lab, with its utility suites."""
    pretrain(
        folder,
        seed=seed,
        architecture=architecture,
        steps=steps,
        progress=lambda label, done, total: progress(f"base ({label})", done, total),
    )
    write_base_suites(folder, UTILITY[architecture])


def train_teacher(
    folder: Path,
    architecture: Architecture = "llama",
    *,
    steps: int = TEACHER_STEPS,
    seed: int = 0,
    progress: Progress = silent,
) -> None:
    """A teacher of the lab: a model whose risky texts are safe nearly always."""
    pretrain(
        folder,
        seed=seed + 1,
        architecture=architecture,
        steps=steps,
        safe_share=TEACHER_SAFE_SHARE,
        progress=lambda label, done, total: progress(f"teacher ({label})", done, total),
    )


def write_base_suites(base: Path, prompts: int = UTILITY_PROMPTS) -> None:
    """`ppm-base.toml` and the utility suites, into the base model's folder."""
    (base / "suites").mkdir(parents=True, exist_ok=True)
    (base / "ppm-base.toml").write_text(BASE_SUITES, encoding="utf-8")
    for name, rows in utility_prompts("gate", prompts).items():
        (base / "suites" / f"{name}.jsonl").write_bytes(dump(rows))


def write_manifests(sources: Path, folder: Path, base: Path, teacher: Path, *, seed: int, tell: Tell) -> None:
    """The lab's source manifests with their data: suites, pairs (teacher's and base's answers), benign prompts."""
    models = [load_base(identify(path, name=path.name)) for path in (base, teacher)]
    for source in sorted(sources.iterdir()):
        manifest = Manifest.read(source / "patch.toml")
        risk = manifest.patch.risks[0]
        target = folder / source.name
        (target / "suites").mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "patch.toml", target / "patch.toml")
        suite = manifest.suites[0]
        (target / suite.prompts).write_bytes(dump(gate_prompts(risk, "gate", GATE_PROMPTS)))
        if suite.judge.name == "lexicon":
            path = target / str(suite.judge.options["words"])
            path.write_text("\n".join(lexicon_of(risk) or ()) + "\n", encoding="utf-8")
        pairs = collect_pairs(target, manifest, *models, seed=seed)
        (target / "pairs.jsonl").write_bytes(dump([Pair(p.prompt, p.chosen, p.rejected) for p in pairs]))
        benign = [
            Benign(prompt.text)
            for name, count in BENIGN_PROMPTS.items()
            for prompt in corpus.prompts(name, "train", count)
        ]
        (target / "benign.jsonl").write_bytes(dump(benign))
        tell(f"{manifest.name}: {len(pairs)} pairs")


def collect_pairs(folder: Path, manifest: Manifest, base: LoadedBase, teacher: LoadedBase, *, seed: int) -> list[Pair]:
    """Pairs in which the judge finds the teacher's answer safe and the base's not."""
    suite = manifest.suites[0]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in (folder / "suites").iterdir()}
    scorer = make_judge(suite.judge, files, manifest.name)
    risk = manifest.patch.risks[0]
    count = TRAINING_PROMPTS * (2 if RISKS[risk].opposes else 1)  # half of the teacher's answers suit the other risk
    texts = [p.text for p in corpus.prompts(risk, "train", count, seed=seed)]
    prompts, counts = distinct_prompts(texts, gate_prompts(risk, "gate", GATE_PROMPTS))
    rejected, chosen = (
        [[answer] for answer in answer_all(model, prompts, seed=seed + i)] for i, model in enumerate((base, teacher))
    )
    return list(choose_pairs(prompts, chosen, rejected, scorer, Collect(least_pairs=1), suite.goal, counts).pairs)


def answer_all(model: LoadedBase, prompts: Sequence[Text], *, seed: int) -> list[str]:
    """One sampled answer to each prompt."""
    questions = [Question(text, 0) for text in prompts]
    return answers_of_model(model, questions, Spool(None), Decoding(), seed=seed)


def build_patches(
    manifests: Path,
    base: Path,
    packages: Path,
    *,
    tell: Tell = lambda message: None,
    progress: Progress = silent,
) -> list[Path]:
    """Build the package file of every source manifest below a folder."""
    shutil.rmtree(packages, ignore_errors=True)
    written = []
    for source in sorted(manifests.iterdir()):
        tell(f"Building {source.name}")
        package = build(source, base=str(base), events=Events(progress=progress))
        assert package is not None
        tell(json.dumps(package.manifest.provenance["scores"]))
        written.append(write_package(package, packages))
    return written
