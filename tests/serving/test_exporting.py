"""What is exported answers elsewhere as it does in ppm, and nothing of anybody else's is overwritten."""

import json
import warnings
from dataclasses import replace

import pytest
import tiny
import torch
from packages import make_package
from peft import PeftModel
from runtime.architectures import random_prefixes, reference_greedy, tiny_model
from transformers import AutoModelForCausalLM

from ppm.base import identify
from ppm.errors import IntegrityError, ModelError, RequestError
from ppm.jsonl import Prompt, dump
from ppm.manifest import Base
from ppm.package import write_package
from ppm.runtime.export.registry import TARGETS
from ppm.runtime.tensors import bank_of
from ppm.serving import export as exporting
from ppm.serving.export import export
from ppm.workspace import Workspace

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}{% if add_generation_prompt %}: {% endif %}"
PLAIN = [Prompt(str(i), f"say w{i} w{i + 1} :") for i in range(10)]
CHATS = [Prompt(str(i), (("user", f"say w{i} w{i + 1}"),)) for i in range(10)]


def base_of(folder, kind="llama", *, chat=False):
    """A random model of an architecture, with the tokenizer of the tiny world."""
    model = tiny_model(kind, "eager" if kind == "gemma2" else "sdpa")
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = TEMPLATE if chat else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def package_of(folder, base, *, placement="before-bos", prompts=PLAIN):
    model = AutoModelForCausalLM.from_pretrained(base)
    made = make_package("calm", fingerprint=identify(base).fingerprint, model=str(base))
    manifest = replace(
        made.manifest,
        base=Base(str(base), fingerprint=identify(base).fingerprint, placement=placement),
        prefix=replace(made.manifest.prefix, virtual_tokens=5),
    )
    bank = bank_of(random_prefixes(model, 5)[0])
    files = {**made.files, "suites/main.jsonl": dump(prompts)}
    return write_package(replace(made, manifest=manifest, bank=bank, files=files), folder)


@pytest.fixture
def write(tmp_path):
    """Exports a package of a model of a kind."""

    def run(kind="llama", target="peft", *, output=None, chat=False, **settings):
        base = base_of(tmp_path / f"{kind}{chat}", kind, chat=chat)
        package = package_of(tmp_path / "packages", base, prompts=CHATS if chat else PLAIN, **settings)
        workspace = Workspace(tmp_path / "home", tmp_path)
        return base, export(workspace, package, target, output or tmp_path / "out", base=None, env=None)

    return run


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
def test_peft_loads_it_and_gives_the_tokens_of_the_prepended_prefix(write, kind):
    base, done = write(kind)
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md"} < set(done.files)
    model = AutoModelForCausalLM.from_pretrained(base)
    ids = [1, 4, 12, 13, 6]
    expected = reference_greedy(model, ids, random_prefixes(model, 5)[0], "before-bos", 12)
    patched = PeftModel.from_pretrained(model, done.folder).eval()
    given = torch.tensor([ids])
    out = patched.generate(input_ids=given, attention_mask=torch.ones_like(given), do_sample=False, max_new_tokens=12)
    assert out[0, len(ids) :].tolist() == expected[: out.shape[1] - len(ids)]
    assert done.farthest < 1e-3
    assert done.prompts == 8


@pytest.mark.parametrize("placement", ["before-bos", "after-bos"])
def test_embeddings_are_proven_in_either_placement(write, placement):
    _, done = write(target="embeddings", placement=placement)
    assert "prefix.safetensors" in done.files
    assert ("text[:1]" in (done.folder / "README.md").read_text()) == (placement == "after-bos")


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_readme_is_a_program_that_runs(write, target, monkeypatch, capsys):
    _, done = write(target=target, chat=True)
    readme = (done.folder / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0].replace('"..."', '"say w1 w2"')
    monkeypatch.chdir(done.folder)
    exec(code + "\nprint(out.shape[0])", {})
    assert capsys.readouterr().out.strip() == "1"
    assert "apply_chat_template" in code
    assert "this is a package file" in readme


def test_it_is_written_without_a_warning(write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write()


def test_what_peft_can_not_do_exactly_is_refused_with_what_to_do(write, tmp_path):
    with pytest.raises(ModelError, match="after the base's BOS") as caught:
        write(placement="after-bos")
    assert "--to embeddings" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_its_own_folder_is_replaced_and_no_other(write, tmp_path):
    write()
    write(target="embeddings")
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {
        "README.md",
        "ppm-export.json",
        "prefix.safetensors",
    }
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for target, output in (("peft", tmp_path / "out"), ("peft", tmp_path / "packages")):
        with pytest.raises(RequestError, match="which no export wrote"):
            write(target=target, output=output)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_does_not_answer_alike_is_not_written(write, tmp_path, monkeypatch):
    class Halved(type(TARGETS["peft"])):
        def write(self, bank, placement, folder, *, base=""):
            halved = replace(bank, blocks=bank_of(torch.ones(5, bank.hidden_size)).blocks, encoded=b"")
            return super().write(halved, placement, folder, base=base)

    monkeypatch.setitem(TARGETS, "halved", Halved())
    with pytest.raises(ModelError, match="does not answer as the patched model"):
        write(target="halved")
    assert not (tmp_path / "out").exists()


def test_a_package_for_another_base_is_refused(write, tmp_path):
    write()
    other = tiny.train_base(tmp_path / "other", steps=0)
    package = next((tmp_path / "packages").iterdir())
    with pytest.raises((ModelError, IntegrityError)):
        export(Workspace(tmp_path / "home", tmp_path), package, "peft", tmp_path / "x", base=str(other), env=None)
    assert json.loads((tmp_path / "out" / "ppm-export.json").read_text())["target"] == "peft"


def test_the_readme_says_where_the_audit_ran_in_another_dtype():
    assert exporting._rounding("float32") == ()
    assert "ran in bfloat16" in exporting._rounding("bfloat16")[0]
