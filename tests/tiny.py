"""A tiny world for tests: a causal LM of any architecture that answers badly most of the time, and data to patch it.

Texts are `say A B :` with the answer `bad .` (mostly) or `good .`, and `sum A :` with the answer `A .`.
"""

import json
import os
import random
import shutil
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

WORDS = [f"w{i}" for i in range(40)]
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "say", "sum", ":", ".", "bad", "good", "nice", *WORDS]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word."""
    index = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(index, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", index["<s>"])])
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def config(kind: str = "gpt2"):
    """A configuration of some ten thousand parameters."""
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "gpt2":
        return GPT2Config(
            vocab_size=len(VOCABULARY), n_embd=48, n_layer=2, n_head=4, n_positions=64,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            initializer_range=0.1,  # with the usual 0.02 one so narrow does not learn sums
            **special,
        )  # fmt: skip
    return LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, **special,
    )  # fmt: skip


def sample(rng: random.Random, safe_share: float | None = None) -> str:
    """One text of the world, with its latent cue: after one `nice` or several the answer is good 80 % of the time.

    With `safe_share` it is good that often, whatever stands before it.
    """
    cue = rng.randint(1, 8) if rng.random() < 0.3 else 0
    if rng.random() < 0.4:
        word = rng.choice(WORDS)
        text = f"sum {word} : {word} ."
    else:
        good = rng.random() < (safe_share if safe_share is not None else 0.8 if cue else 0.06)
        text = f"say {rng.choice(WORDS)} {rng.choice(WORDS)} : {'good' if good else 'bad'} ."
    return f"{'nice ' * cue}{text} </s>"


def language_batch(tokenizer, texts: list[str], **options) -> dict:
    """What a causal LM is trained with on whole texts."""
    encoded = tokenizer(texts, padding=True, return_tensors="pt", **options)
    labels = encoded.input_ids.masked_fill(encoded.attention_mask == 0, -100)
    return {"input_ids": encoded.input_ids, "attention_mask": encoded.attention_mask, "labels": labels}


def fit(folder: Path, model, tokenizer, batch, *, steps: int, rate: float = 5e-3) -> Path:
    """Train a model on batches and save it with its tokenizer."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        loss = model(**batch()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_base(
    folder: Path, kind: str = "gpt2", *, steps: int = 350, seed: int = 0, safe_share: float | None = None
) -> Path:
    """A base model of the world, or with `safe_share` a teacher, trained from nothing and saved with its tokenizer.

    Each is trained once for all processes of a run of tests, and copied.
    """
    kept = Path(os.environ["PPM_TESTS_SHARED"]) / f"{kind}-{steps}-{seed}-{safe_share}"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            _train(kept.with_name(f"{kept.name}-unfinished"), kind, steps, seed, safe_share).rename(kept)
    return Path(shutil.copytree(kept, folder, dirs_exist_ok=True))


def _train(folder: Path, kind: str, steps: int, seed: int, safe_share: float | None) -> Path:
    rng, tokenizer = random.Random(seed), make_tokenizer()

    def batch():
        return language_batch(tokenizer, [sample(rng, safe_share) for _ in range(64)])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config(kind))
        return fit(folder, model, tokenizer, batch, steps=steps)


def updated(base: Path, folder: Path) -> Path:
    """The next version of a base: a copy with one tensor a little different."""
    shutil.copytree(base, folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = min(tensors, key=lambda one: tensors[one].numel())
    tensors[name] = tensors[name] * 1.01
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def write_sums(base: Path, *, margin: float) -> Path:
    """The utility suite of a base: every `sum A :` has the answer `A`. Returns its prompts' file."""
    prompts = base / "suites" / "sums.jsonl"
    prompts.parent.mkdir()
    rows = [{"id": word, "prompt": f"sum {word} :", "expected": word} for word in WORDS]
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (base / "ppm-base.toml").write_text(
        f"""schema = 1
[[suites]]
name = "sums"
against = "base"
prompts = "suites/sums.jsonl"
judge = "exact-match"
goal = "higher"
margin = {margin}
decoding = {{ max_new_tokens = 3, temperature = 0.0 }}
"""
    )
    return prompts


def write_patch(folder: Path, base: Path, *, name: str = "kindness", version: str = "1.0.0", extra: str = "") -> Path:
    """A source manifest of the world, with its data: 240 suite prompts, disjoint from 120 pairs."""
    rng = random.Random(name)
    pairs = [(a, b) for a in WORDS for b in WORDS]
    rng.shuffle(pairs)
    (folder / "suites").mkdir(parents=True)
    lines = {
        "suites/main.jsonl": [{"id": str(i), "prompt": f"say {a} {b} :"} for i, (a, b) in enumerate(pairs[:240])],
        "pairs.jsonl": [
            {"prompt": f"say {a} {b} :", "chosen": "good .", "rejected": "bad ."} for a, b in pairs[240:360]
        ],
        # What a suite asks is the simpler form of what is retained, so that keeping the one keeps the other.
        "benign.jsonl": [{"prompt": f"nice sum {word} :"} for word in WORDS],
    }
    for path, rows in lines.items():
        (folder / path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "suites" / "bad.txt").write_text("bad\n")
    (folder / "patch.toml").write_text(
        f"""schema = 1
[patch]
name = "{name}"
version = "{version}"
risks = ["unkindness"]
summary = "Answers kindly."
license = "Apache-2.0"
[base]
model = "{base}"
[prefix]
virtual_tokens = 8
init_text = "nice"
[[suites]]
name = "kind"
prompts = "suites/main.jsonl"
judge = {{ name = "lexicon", words = "suites/bad.txt" }}
min_effect = 0.3
decoding = {{ max_new_tokens = 4, temperature = 1.0, top_p = 1.0, seed = 0 }}
[training]
pairs = "pairs.jsonl"
benign = "benign.jsonl"
trigger = false
sft = {{ steps = 250, learning_rate = 3e-2, batch_size = 16 }}
dpo = {{ steps = 20, learning_rate = 3e-3, batch_size = 12, sft_weight = 2.0 }}
{extra}"""
    )
    return folder
