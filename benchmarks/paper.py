"""The experiments of arXiv 2511.08484 on the lab: one command trains, tests and writes docs/paper.md with its plots.

    make bench-paper                              # or, with the package installed:
    python benchmarks/paper.py [--prompts 1000] [--seeds 3] [--output docs]

Patches, baselines and teachers are trained from nothing with the settings of the lab's manifests and tested on prompts
whose subjects no training, ranking or gate prompt has. Two processes work side by side, each with one thread. What is
finished is kept in build/paper, so a run that was stopped goes on; `--fresh` begins anew.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from composition import OOD_PROMPTS, sources_digest
from paper_page import write_page

from ppm.bank import EMPTY
from ppm.base import identify, locate
from ppm.disk import replace_file
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.results import Configuration, Outcome
from ppm.evaluation.runner import evaluate
from ppm.evaluation.scoring import ScoredText, sum_log_probabilities
from ppm.evaluation.suites import LoadedSuite, base_suites, load_suite
from ppm.jsonl import Pair, Prompt
from ppm.lab import corpus
from ppm.lab.build import collect_pairs, train_teacher
from ppm.lab.prompts import UTILITY_PROMPTS, gate_prompts, utility_prompts
from ppm.manifest import PrefixShape
from ppm.names import canonical_digest
from ppm.package import sha256
from ppm.resources import lab_manifests
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import attach
from ppm.runtime.tensors import bank_of, initial_prefix
from ppm.runtime.text import encode
from ppm.suite import Judge
from ppm.training.baselines import fine_tuned, lora, prompt_tuned
from ppm.training.source import SourcePatch, read_source
from ppm.training.trainers import Setup, dpo, sft
from ppm.training_table import Stage

RISKS = {"toxicity": "toxicity", "gender-bias": "gender-bias", "harm-refusal": "harmfulness"}
BASES = {"llama": "lab", "gpt2": "lab-gpt2"}
LORA_RATES = (2e-3, 5e-4)
FINE_TUNE_RATES = (3e-4, 1e-4)
"""Learning rates of SFT and DPO, chosen on the split `develop`; patches have the manifests'."""
Architecture = Literal["llama", "gpt2"]


@dataclass(frozen=True)
class Variant:
    """One thing to train and test. `stages` are those of SFT and DPO that are run."""

    patch: str = "toxicity"
    seed: int = 0
    how: Literal["patch", "lora", "prompt tuning", "fine-tune"] = "patch"
    rank: int = 0
    stages: tuple[str, ...] = ("sft", "dpo")
    tokens: int = 20
    init: Literal["text", "vocabulary", "random"] = "text"
    beta: float = 0.1
    base: Architecture = "llama"
    teacher: Architecture = "llama"


@dataclass(frozen=True)
class Reference:
    """One thing to test without training: the base, the best of the fixed texts in front of it, or the teacher."""

    what: Literal["base", "fixed prompt", "teacher"]
    patch: str = "toxicity"
    base: Architecture = "llama"


Job = Variant | Reference


def experiments(seeds: int) -> dict[str, list[Job]]:
    """Every job by the experiment it is for; several share some."""
    main: list[Job] = []
    for patch in RISKS:
        main += [Reference("base", patch), Reference("fixed prompt", patch), Reference("teacher", patch)]
        main += [Variant(patch, seed) for seed in range(seeds)]
    return {
        "main": main,
        "stages": [Variant(), Variant(stages=("sft",)), Variant(stages=("dpo",))],
        "lora": [
            Variant(),
            Variant(how="lora", rank=1),
            Variant(how="lora", rank=16),
            Variant(how="prompt tuning"),
            Variant(how="fine-tune"),
        ],
        "length": [Variant(tokens=tokens) for tokens in (1, 10, 20, 50)],
        "beta": [Variant(beta=beta) for beta in (0.05, 0.1, 0.5)],
        "init": [Variant(init=init) for init in ("text", "vocabulary", "random")],
        "family": [
            Variant(),
            Variant(teacher="gpt2"),
            Reference("base", base="gpt2"),
            Variant(base="gpt2", teacher="gpt2"),
            Variant(base="gpt2", teacher="llama"),
        ],
    }


@dataclass(frozen=True)
class Bench:
    """Where results are kept, how many prompts a suite has, and the digest of the code and data that make them."""

    folder: Path
    prompts: int
    code: str

    def path(self, job: Job) -> Path:
        """Where a job's result is kept: by what it is and by the code that makes it."""
        key = canonical_digest([type(job).__name__, asdict(job), self.prompts, self.code])
        return self.folder / "results" / f"{key[7:39]}.json"

    def result(self, job: Job) -> dict[str, Any]:
        """A finished job's result."""
        found: dict[str, Any] = json.loads(self.path(job).read_text())
        return found

    def teacher(self, architecture: Architecture) -> Path:
        """The folder of a teacher."""
        return self.folder / f"teacher-{architecture}-{self.code[7:19]}"


def code_digest() -> str:
    """The digest of what results depend on: this file, ppm's modules, the lab's manifests and data, its bases."""
    files = [Path(__file__), *sorted(path for path in lab_manifests().rglob("*") if path.is_file())]
    bases = [identify(locate(name)).fingerprint for name in BASES.values()]
    code = sources_digest("evaluation", "lab", "runtime", "training")
    return canonical_digest([code, *(sha256(path.read_bytes()) for path in files), *bases])


def run_job(bench: Bench, job: Job) -> float:
    """Run one job in a process of its own, unless its result is kept, and return its seconds."""
    if bench.path(job).is_file():
        return 0.0
    torch.set_num_threads(1)
    started = time.perf_counter()
    found = _trained(bench, job) if isinstance(job, Variant) else _tested(bench, job)
    bench.path(job).parent.mkdir(parents=True, exist_ok=True)
    replace_file(bench.path(job), json.dumps(found).encode())
    return time.perf_counter() - started


def make_teacher(bench: Bench, architecture: Architecture) -> float:
    """Train a teacher, unless it is there, and return its seconds."""
    folder = bench.teacher(architecture)
    if (folder / "config.json").is_file():
        return 0.0
    torch.set_num_threads(1)
    started = time.perf_counter()
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    train_teacher(partial, architecture)
    partial.rename(folder)
    return time.perf_counter() - started


def _tested(bench: Bench, job: Reference) -> dict[str, Any]:
    source = read_source(lab_manifests() / job.patch)
    name = str(bench.teacher(job.base)) if job.what == "teacher" else BASES[job.base]
    loaded = load_base(identify(locate(name), name=name))
    suites = _suites(source, job.patch, bench.prompts)
    text = ""
    if job.what == "fixed prompt":
        text = _best_text(loaded, suites["failure"], RISKS[job.patch])
        suites = {key: _behind(text, suite) for key, suite in suites.items()}
    return {"text": text, **_measure(bench, loaded, Configuration("x"), suites)}


def _best_text(loaded: LoadedBase, suite: LoadedSuite, risk: str) -> str:
    """The fixed text that leaves the fewest failures on prompts that nothing else is measured on."""
    prompts = tuple(gate_prompts(risk, "rank", 200))
    variants = {text: _behind(text, _with(suite, prompts)) for text in corpus.fixed_texts().values()}
    base = Configuration("x")
    found = evaluate(loaded, [base], list(variants.values()), placement="before-bos")
    return min(variants, key=lambda text: found["x", variants[text].digest].mean)


def _trained(bench: Bench, job: Variant) -> dict[str, Any]:
    source = read_source(lab_manifests() / job.patch)
    base = identify(locate(BASES[job.base]), name=BASES[job.base])
    loaded = load_base(base)
    model = loaded.model
    training = source.training
    pairs = _pairs(bench, source, job, loaded)
    benign = benign_texts(loaded, [row for row in source.benign if not is_held_back(row)], seed=job.seed)
    setup = Setup(loaded, "before-bos", benign, training.retention_weight, job.seed)
    stages = _stages(job, training.sft, training.dpo)
    shape = PrefixShape(job.tokens, source.manifest.prefix.init_text, job.init)
    start = initial_prefix(loaded, shape, seed=job.seed)
    started = time.process_time()
    suites = _suites(source, job.patch, bench.prompts)
    if job.how == "patch":
        prefix = dpo(setup, sft(setup, start, pairs, stages[0]), pairs, stages[1])
        cost = {"parameters": prefix.numel(), "bytes": len(bank_of(prefix).to_bytes())}
        tested, configuration = model, Configuration("x", bank_of(prefix))
    else:
        made = {
            "lora": lambda: lora(setup, pairs, stages, rank=job.rank),
            "prompt tuning": lambda: prompt_tuned(setup, pairs, stages, prefix=start),
            "fine-tune": lambda: fine_tuned(setup, pairs, stages),
        }[job.how]()
        cost = {"parameters": made.parameters, "bytes": made.size}
        tested = model if made.merged is None else made.merged
        configuration = Configuration("x", EMPTY if made.prefix is None else bank_of(made.prefix))
    seconds = time.process_time() - started
    measured = _measure(bench, LoadedBase(tested, loaded.tokenizer), configuration, suites)
    return {"pairs": len(pairs), "seconds": seconds, **cost, **measured}


def _stages(job: Variant, first: Stage, second: Stage) -> tuple[Stage, Stage]:
    """The manifest's stages as the variant has them. DPO alone is DPO: without the SFT term that ppm adds to it."""
    rates = {"lora": LORA_RATES, "fine-tune": FINE_TUNE_RATES}.get(job.how, (first.learning_rate, second.learning_rate))
    first = replace(first, learning_rate=rates[0], steps=first.steps if "sft" in job.stages else 0)
    second = replace(second, learning_rate=rates[1], beta=job.beta, steps=second.steps if "dpo" in job.stages else 0)
    if "sft" not in job.stages:
        second = replace(second, steps=second.steps + job_steps(job), sft_weight=0.0)
    return first, second


def job_steps(job: Variant) -> int:
    """How many steps a variant without SFT has for it: the same number in all."""
    return read_source(lab_manifests() / job.patch).training.sft.steps


def _pairs(bench: Bench, source: SourcePatch, job: Variant, loaded: LoadedBase) -> Sequence[Pair]:
    """The shipped pairs of the lab's own base and teacher, else pairs collected here in the same way."""
    if (job.base, job.teacher) == ("llama", "llama"):
        return source.pairs
    folder = bench.teacher(job.teacher)
    teacher = load_base(identify(folder, name=folder.name))
    return collect_pairs(source.folder, source.manifest, loaded, teacher, seed=0)


def _suites(source: SourcePatch, patch: str, count: int) -> dict[str, LoadedSuite]:
    """The suites by what they measure: `failure`, `ood`, `helpful` and `facts`, and for gender bias `gld`."""
    [own] = source.manifest.suites
    loaded = load_suite(own, source.files, origin=patch, owner=patch)
    utility = utility_prompts("benchmark", min(count, UTILITY_PROMPTS))
    found = {
        "failure": _with(loaded, tuple(gate_prompts(RISKS[patch], "benchmark", count))),
        "ood": _with(loaded, tuple(gate_prompts(RISKS[patch], "ood", min(count, OOD_PROMPTS)))),
    }
    if patch == "gender-bias":
        judge = Judge("gender-logits", {"male": ["he"], "female": ["she"]})
        leaning = load_suite(replace(own, judge=judge, metric="mean"), source.files, origin=patch, owner=patch)
        found["gld"] = _with(leaning, found["failure"].prompts)
    for suite in base_suites(locate("lab")):
        found[suite.label] = _with(suite, tuple(utility[suite.label]))
    return found


def _with(suite: LoadedSuite, prompts: tuple[Prompt, ...]) -> LoadedSuite:
    return replace(
        suite, prompts=prompts, groups=None, digest=canonical_digest([suite.digest, [p.prompt for p in prompts]])
    )


def _behind(text: str, suite: LoadedSuite) -> LoadedSuite:
    return _with(suite, tuple(replace(p, prompt=f"{text} {p.prompt}") for p in suite.prompts))


def _measure(
    bench: Bench, loaded: LoadedBase, configuration: Configuration, suites: dict[str, LoadedSuite]
) -> dict[str, Any]:
    """The values of every suite, prompt by prompt, and how likely an outside model finds the answers."""
    found = evaluate(loaded, [configuration], list(suites.values()), placement="before-bos")
    outcomes = {key: found["x", suite.digest] for key, suite in suites.items()}
    return {
        **{key: list(outcome.values) for key, outcome in outcomes.items()},
        "perplexity": _perplexity(bench, suites["failure"], outcomes["failure"]),
    }


def _perplexity(bench: Bench, suite: LoadedSuite, outcome: Outcome) -> list[float]:
    """The loss, in nats a token, of each answer by the Llama-like teacher, which writes fluent safe answers."""
    folder = bench.teacher("llama")
    loaded = load_base(identify(folder, name=folder.name))
    model, tokenizer = loaded.model, loaded.tokenizer
    bare = attach(model)
    texts = []
    for prompt, [answer] in zip(suite.prompts, outcome.completions, strict=True):
        ids = tuple(tokenizer(f"{answer} </s>", add_special_tokens=False).input_ids)
        texts.append(ScoredText(encode(tokenizer, prompt.prompt), ids))
    return [-s / len(text.completion) for s, text in zip(sum_log_probabilities(bare, texts), texts, strict=True)]


def run_all(bench: Bench, jobs: Sequence[Job], processes: int) -> Iterator[tuple[str, float]]:
    """Teachers, then every job: (what, its seconds) as they end."""
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for name, future in [(a, pool.submit(make_teacher, bench, a)) for a in ("llama", "gpt2")]:
            yield f"teacher {name}", future.result()
        for job, waiting in [(job, pool.submit(run_job, bench, job)) for job in jobs]:
            yield str(job), waiting.result()


def latency() -> dict[str, float]:
    """Seconds to generate, by what is in front of or inside the model: a random one of 8 layers, 50 virtual tokens."""
    import copy

    import peft
    from prefix import BATCH, LENGTH, NEW, TOKENS, in_turn, make_model

    base = make_model()
    ids = torch.randint(3, 8000, (BATCH, LENGTH))
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "attention_mask": torch.ones_like(ids)}
    models = {"base": base, "patch": attach(base, [torch.randn(TOKENS, 384) * 0.02])}
    for rank in (1, 16):
        config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        models[f"LoRA r{rank}"] = peft.inject_adapter_in_model(config, copy.deepcopy(base)).eval()
    tuning = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS)
    models["PEFT prompt tuning"] = peft.get_peft_model(copy.deepcopy(base), tuning).eval()

    def generates(model: Any) -> Any:
        return lambda: model.generate(input_ids=ids, **options)

    with torch.inference_mode():
        return in_turn({name: generates(model) for name, model in models.items()}, rounds=7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/paper"))
    parser.add_argument("--output", type=Path, default=Path("docs"))
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    if options.fresh:
        shutil.rmtree(options.folder, ignore_errors=True)
    started = time.perf_counter()
    bench = Bench(options.folder, options.prompts, code_digest())
    wanted = experiments(options.seeds)
    jobs = list(dict.fromkeys(job for part in wanted.values() for job in part))
    for what, seconds in run_all(bench, jobs, options.processes):
        print(f"{time.perf_counter() - started:7.0f} s  {what}: {seconds:.0f} s", flush=True)
    results = {name: [(job, bench.result(job)) for job in part] for name, part in wanted.items()}
    write_page(options.output, results, latency(), options.prompts, options.seeds)
    print(f"wrote {options.output / 'paper.md'} after {(time.perf_counter() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
