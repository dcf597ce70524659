"""How far copies of a real base in other forms are from it, how many answers are the same, and how patches do there.

    python benchmarks/derived.py smollm2 [--patch FILE.ppm]... [--prompts N] [--form FORM]...

Prints a table with a row for each copy: the columns of docs/real-bases.md, and for each patch the failure rates on some
prompts of its suites, on the copy alone and with the patch. Needs `ppm base fetch smollm2` and the package gguf.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import torch
from safetensors.torch import load_file, save_file

from ppm.bank import Bank, Block
from ppm.base import identify
from ppm.errors import ModelError
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.suites import LoadedSuite, package_suites
from ppm.manifest import Base, Manifest, Patch, PrefixShape
from ppm.package import SKETCH, Package, read_package
from ppm.runtime.derived import check_fits, sketch_of
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import attach
from ppm.runtime.tensors import initial_prefix
from ppm.workspace import open_base

PREFIX = "Answer with the name alone."
PROMPTS = [
    f"{question} {thing}?"
    for question in (
        "What is the capital of",
        "Which language is spoken in",
        "What is a famous dish of",
        "Who comes from",
    )
    for thing in ("France", "Japan", "Kenya", "Peru")
]
NEW_TOKENS = 12


def by_blocks(kind: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Weights through one of GGUF's quantisations and back."""
    quantisation = gguf.GGMLQuantizationType[kind]

    def change(tensor: torch.Tensor) -> torch.Tensor:
        packed = gguf.quants.quantize(tensor.float().numpy(), quantisation)
        return torch.tensor(gguf.quants.dequantize(packed, quantisation))

    return change


def by_rows(tensor: torch.Tensor) -> torch.Tensor:
    """Weights as integers of 8 bits with a scale for each row and back, as dynamic quantisation keeps them."""
    scale = tensor.float().abs().amax(1, keepdim=True) / 127
    return (tensor.float() / scale).round() * scale


FORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "float16": lambda tensor: tensor,
    "Q8_0": by_blocks("Q8_0"),
    "int8 by rows": by_rows,
    "Q4_1": by_blocks("Q4_1"),
    "Q4_0": by_blocks("Q4_0"),
}
DYNAMIC = "dynamic int8"
"""Not another folder, but another way to run one: weights and activations as 8 bits in every linear layer."""


def copy(folder: Path, form: str, target: Path) -> Path:
    """A base folder in another form."""
    target.mkdir()
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copy(path, target)
    dtype = torch.float16 if form == "float16" else torch.bfloat16
    tensors = load_file(folder / "model.safetensors")
    made = {name: (FORMS[form](t) if t.ndim > 1 else t).to(dtype).contiguous() for name, t in tensors.items()}
    save_file(made, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"dtype": str(dtype).removeprefix("torch.")}))
    return target


def answers(loaded: LoadedBase, prefix: torch.Tensor) -> list[list[int]]:
    """The greedy answer to each prompt, one at a time, behind the prefix."""
    patched = attach(loaded.model, [prefix], placement="before-bos", kept=None)
    found = []
    for prompt in PROMPTS:
        chat = [{"role": "user", "content": prompt}]
        ids = loaded.tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            made = patched.generate(**ids, max_new_tokens=NEW_TOKENS, do_sample=False)
        found.append(made[0, ids["input_ids"].shape[1] :].tolist())
    return found


def risks(package: Package) -> list[LoadedSuite]:
    """A patch's suites of rates."""
    return [suite for suite in package_suites([package]) if suite.measure.is_rate]


def rates(loaded: LoadedBase, packages: list[Package], prompts: int) -> list[str]:
    """Of each patch's suites, a share of failures without and with it."""
    found = []
    for package in packages:
        placement = package.manifest.base.placement
        configurations = [Configuration("base"), Configuration("patched", package.bank)]
        suites = [suite.head(prompts / len(suite.prompts)) for suite in risks(package)]
        outcomes = evaluate(loaded, configurations, suites, placement=placement)
        for suite in suites:
            without, patched = (outcomes[c.name, suite.digest].mean for c in configurations)
            found.append(f"{without:.3f}, {patched:.3f}")
    return found


def main(name: str, forms: list[str], patches: list[Path], prompts: int) -> None:
    base = open_base(name)
    packages = [read_package(path) for path in patches]
    loaded = load_base(base)
    prefix = initial_prefix(loaded, PrefixShape(8, PREFIX), seed=0)
    own = answers(loaded, prefix)
    bank = Bank((Block((1, 1), b"\0" * 4),))
    declared = Base(base.name, fingerprint=base.fingerprint, accepts=("derived",))
    manifest = Manifest(2, Patch("any", "1"), declared, PrefixShape(1))
    package = Package(manifest, bank, {SKETCH: sketch_of(base).to_bytes()})
    print(f"{name}: {len(package.files[SKETCH]):,} bytes of sketch; {len(PROMPTS)} prompts, {NEW_TOKENS} tokens")
    labels = [suite.label for package in packages for suite in risks(package)]
    print(f"| copy | what ppm says | same answers |{''.join(f' {label} |' for label in labels)}")
    print("|---|---|---|" + "---|" * len(labels))
    print(f"| none |  | 1.00 |{''.join(f' {found} |' for found in rates(loaded, packages, prompts))}", flush=True)
    for form in forms:
        with tempfile.TemporaryDirectory() as work:
            if form == DYNAMIC:
                other = replace(loaded, model=torch.ao.quantization.quantize_dynamic(load_base(base).model))
                said = "the same folder, run in another way"
            else:
                derived = identify(copy(base.folder, form, Path(work) / "copy"), name=form)
                try:
                    found = check_fits(package, derived)
                    said = found.note if found else "the base itself"
                except ModelError as error:
                    said = f"refused: {error.message}"
                other = load_base(derived)
            try:
                theirs = answers(other, prefix)
                same = f"{sum(a == b for a, b in zip(own, theirs, strict=True)) / len(own):.2f}"
                figures = rates(other, packages, prompts)
            except ModelError as error:
                same, figures = f"refused: {error.message}", []
        print(f"| {form} | {said} | {same} |{''.join(f' {found} |' for found in figures)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("--patch", type=Path, action="append", default=[], help="a package file for this base")
    parser.add_argument("--prompts", type=int, default=120, help="how many of each suite")
    parser.add_argument("--form", action="append", choices=[*FORMS, DYNAMIC], help="by default all")
    options = parser.parse_args()
    main(options.base, options.form or [*FORMS, DYNAMIC], options.patch, options.prompts)
