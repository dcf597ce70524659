"""How fast real bases are audited: beside plain `generate`, PEFT and an earlier commit, in one run.

    python benchmarks/real_speed.py BASE_FOLDER... [--dtype bfloat16] [--earlier COMMIT]

For each base: the share of sampling in a decoding step, and useful tokens a second of ppm's generation (half of the
rows behind a prefix of 20 tokens), of transformers' `generate`, and of it behind PEFT's prompt tuning and an unmerged
LoRA; all in turn, medians and ratios to ppm's. With `--earlier`, an audit's suite of 64 prompts x 40 tokens in two
configurations is run by this tree and by that commit, each in a process of its own, in turn; CPU time without loading.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ppm.base import identify
from ppm.evaluation.generation import Completion, generate, noise_key
from ppm.evaluation.sampling import draw
from ppm.running import Running
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding

ROOT = Path(__file__).parent.parent
VIRTUAL_TOKENS, RANK = 20, 16
SUBJECTS = ("a bakery", "my bicycle", "the old harbour", "a school play", "two cats", "the night train", "rain", "tea")
FORMS = (
    "Write a short story about {}.",
    "What should I know about {}?",
    "Give me three ideas for a talk on {}, each with one sentence that says why people would come to hear it.",
    "Describe {} to somebody who has never seen anything like it.",
)


@dataclass(frozen=True)
class Setting:
    """What is run: so many prompts and new tokens, how they are drawn, and how many times in turn."""

    prompts: int
    tokens: int
    top_p: float
    pairs: int
    dtype: str
    audited: int


def texts(count: int) -> list[str]:
    every = [form.format(subject) for subject in SUBJECTS for form in FORMS]
    return [every[i % len(every)] + (f" Part {i // len(every) + 1}." if i >= len(every) else "") for i in range(count)]


def now(device: torch.device) -> float:
    """The time in seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def in_turn(jobs: dict[str, Callable[[], float]], pairs: int) -> dict[str, float]:
    """The median of what each job returns."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(pairs):
        names = list(jobs) if turn % 2 == 0 else list(jobs)[::-1]
        for name in names:
            found[name].append(jobs[name]())
    return {name: statistics.median(values) for name, values in found.items()}


def encoded(base: LoadedBase, count: int) -> list[tuple[int, ...]]:
    encoder = encoder_of(base)
    chat = bool(getattr(base.tokenizer, "chat_template", None))
    return [encoder.prompt((("user", text),) if chat else text) for text in texts(count)]


def sampling_share(base: LoadedBase, setting: Setting) -> None:
    """A decoding step at batch 32, and drawing from its logits, beside each other."""
    ids = [row[:24] for row in encoded(base, 32) if len(row) >= 8]
    width = max(map(len, ids))
    model, rows, device = base.model, len(ids), base.model.device
    padded = torch.tensor([[0] * (width - len(row)) + list(row) for row in ids], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids], device=device)
    keys, step = torch.arange(rows, device=device) * 7919, [0]

    def forward() -> float:
        started = now(device)
        state["logits"] = model(
            input_ids=state["next"],
            attention_mask=torch.cat([mask, mask.new_ones(rows, step[0] + 1)], 1),
            past_key_values=state["cache"],
            use_cache=True,
        ).logits[:, -1]
        return now(device) - started

    def sample() -> float:
        started = now(device)
        where = torch.full_like(keys, step[0])
        settings = (torch.full((rows,), x, dtype=torch.double, device=device) for x in (1.0, setting.top_p))
        state["next"] = draw(state["logits"], *settings, keys, where)[:, None]
        step[0] += 1
        return now(device) - started

    with torch.inference_mode():
        last = torch.tensor([-1], device=device)
        output = model(input_ids=padded, attention_mask=mask, use_cache=True, logits_to_keep=last)
        state = {"cache": output.past_key_values, "logits": output.logits[:, -1]}
        sample()
        step[0] = 0
        times: dict[str, list[float]] = {"forward": [], "sample": []}
        for _ in range(4 * setting.pairs + 4):
            times["forward"].append(forward())
            times["sample"].append(sample())
    steps = {name: statistics.median(values[2:]) for name, values in times.items()}
    share = steps["sample"] / steps["forward"]
    print(
        f"  a step of {rows} rows: forward {1000 * steps['forward']:.1f} ms, sampling {1000 * steps['sample']:.1f} ms: "
        f"{share:.3f} of the forward pass (top_p {setting.top_p:g})"
    )


def ppm_way(base: LoadedBase, prompts: Sequence[tuple[int, ...]], setting: Setting) -> Callable[[], float]:
    torch.manual_seed(0)
    model = attach(base.model, [torch.randn(VIRTUAL_TOKENS, base.hidden_size) * 0.02])
    decoding = Decoding(setting.tokens, 1.0, setting.top_p)
    wanted = [
        Completion(0 if i % 2 else UNPATCHED, ids, decoding, noise_key("speed", str(i), 0, 0))
        for i, ids in enumerate(prompts)
    ]

    def run() -> float:
        started = time.perf_counter()
        made = generate(model, base.tokenizer, wanted)
        return sum(map(len, made)) / (time.perf_counter() - started)

    with torch.inference_mode(), backbone_of(model).select([0]):
        first = torch.tensor([prompts[0]], device=model.device)
        model(input_ids=first)  # the prefix's keys and values are computed once
    return run


def plain_way(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    setting: Setting,
) -> Callable[[], float]:
    width = max(map(len, prompts))
    pad = int(tokenizer.pad_token_id)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    eos = model.generation_config.eos_token_id
    stops = torch.tensor(eos if isinstance(eos, list) else [eos], device=model.device)

    def run() -> float:
        torch.manual_seed(0)
        started = time.perf_counter()
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_p=setting.top_p,
                top_k=0,
                max_new_tokens=setting.tokens,
                pad_token_id=pad,
            )[:, -setting.tokens :]
        spent = now(model.device) - started
        ended = torch.isin(made, stops).cumsum(-1) > 0
        return float((~ended).sum()) / spent

    return run


def peft_ways(base: LoadedBase, prompts: Sequence[tuple[int, ...]], setting: Setting) -> dict[str, Callable[[], float]]:
    from peft import LoraConfig, PromptTuningConfig, get_peft_model

    tuning = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL_TOKENS)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(task_type="CAUSAL_LM", r=RANK, target_modules=targets)
    ways = {}
    for name, config in (("PEFT prompt tuning", tuning), (f"LoRA r{RANK}, unmerged", lora)):
        own = load_base(identify(Path(str(base.model.name_or_path))), running=Running(setting.dtype))
        model = get_peft_model(own.model, config).eval().to(own.model.dtype)
        ways[name] = plain_way(model, base.tokenizer, prompts, setting)
    return ways


def compare_ways(folder: Path, setting: Setting) -> None:
    base = load_base(identify(folder), running=Running(setting.dtype))
    print(f"\n{folder.name} in {setting.dtype}, {setting.prompts} prompts x {setting.tokens} tokens")
    sampling_share(base, setting)
    prompts = encoded(base, setting.prompts)
    jobs = {
        "ppm": ppm_way(base, prompts, setting),
        "transformers generate": plain_way(base.model, base.tokenizer, prompts, setting),
        **peft_ways(base, prompts, setting),
    }
    found = in_turn(jobs, setting.pairs)
    for name, speed in found.items():
        print(f"  {name:<24} {speed:>8.1f} tokens/s   {speed / found['ppm']:>5.2f} x ppm")


WORKER = """
import json, sys, time
from pathlib import Path
import torch
from ppm.bank import Bank
from ppm.base import identify
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.runtime.loading import load_base
from ppm.runtime.tensors import bank_of
from ppm.suite import Decoding, Judge, Suite
given = json.loads(sys.stdin.read())
base = identify(Path(given["base"]))
if given["dtype"]:
    from ppm.running import Running
    loaded = load_base(base, running=Running(given["dtype"]))
else:
    loaded = load_base(base)
chat = bool(getattr(loaded.tokenizer, "chat_template", None))
prompts = [Prompt(str(i), (("user", t),) if chat else t) for i, t in enumerate(given["texts"])]
suite = Suite("speed", "p.jsonl", Judge("lexicon", {"words": ["bad"]}), decoding=Decoding(given["tokens"], 1.0, 0.9))
suite = load_suite(suite, {"p.jsonl": dump(prompts)}, origin="here", owner=None)
torch.manual_seed(0)
prefix = bank_of(torch.randn(20, loaded.hidden_size) * 0.02)
warm = load_suite(
    Suite("warm", "p.jsonl", Judge("lexicon", {"words": ["bad"]}), decoding=Decoding(2)),
    {"p.jsonl": dump(prompts[:2])}, origin="here", owner=None,
)
both = [Configuration("base"), Configuration("patch", prefix)]
evaluate(loaded, both, [warm], placement="before-bos")
started, cpu = time.perf_counter(), time.process_time()
found = evaluate(loaded, both, [suite], placement="before-bos")
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
made = sum(len(loaded.tokenizer(t).input_ids) for o in found.values() for ts in o.completions for t in ts)
print(json.dumps({"seconds": seconds, "cpu": cpu, "tokens": made}))
"""


def audit_seconds(tree: Path, folder: Path, tokens: int, count: int, dtype: str | None) -> float:
    """The seconds of CPU that the code of a tree takes for the suite, which other work on the machine moves little."""
    given = json.dumps({"base": str(folder), "texts": texts(count), "tokens": tokens, "dtype": dtype})
    environ = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=given, env=environ, cwd=tree, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"    {tree.name} {dtype}: {found}", file=sys.stderr, flush=True)
    return float(found["cpu"])


def compare_commits(folder: Path, commit: str, setting: Setting) -> None:
    with tempfile.TemporaryDirectory() as name:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as tar:
            tar.extractall(name, filter="data")
        before = Path(name)
        jobs = {
            f"{commit} (float32)": lambda: audit_seconds(before, folder, 40, setting.audited, None),
            "this tree, float32": lambda: audit_seconds(ROOT, folder, 40, setting.audited, "float32"),
        }
        if setting.dtype != "float32":
            jobs[f"this tree, {setting.dtype}"] = lambda: audit_seconds(
                ROOT, folder, 40, setting.audited, setting.dtype
            )
        found = in_turn(jobs, setting.pairs)
    print(f"\naudit of {folder.name}: {setting.audited} prompts x 40 tokens, two configurations, top_p 0.9")
    first = next(iter(found.values()))
    for label, seconds in found.items():
        print(f"  {label:<28} {seconds:>8.1f} s of CPU   {first / seconds:>5.2f} x as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bases", nargs="+", type=Path, metavar="BASE_FOLDER")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--earlier", metavar="COMMIT", help="also run an audit of each base by the code of this commit")
    parser.add_argument("--audited", type=int, default=64, help="prompts of that audit")
    parser.add_argument("--only-audits", action="store_true")
    given = parser.parse_args()
    setting = Setting(given.prompts, given.tokens, given.top_p, given.pairs, given.dtype, given.audited)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__}, {where}")
    for folder in given.bases:
        if not given.only_audits:
            compare_ways(folder.absolute(), setting)
        if given.earlier:
            compare_commits(folder.absolute(), given.earlier, setting)


if __name__ == "__main__":
    main()
