"""What `ppm build` and its --check say before any training: of rows, the output folder and the base's failures."""

import json
import shutil
from pathlib import Path

import pytest
import tiny
from commands import ppm
from transformers import AutoTokenizer

from ppm.base import identify
from ppm.errors import ModelError, PpmError, TrainingError
from ppm.jsonl import Pair
from ppm.package import read_package, write_package
from ppm.progress import Events
from ppm.resources import lab_data
from ppm.runtime.text import encoder_of_folder
from ppm.training.build import build
from ppm.training.check import check_source
from ppm.training.pairs import Collected, Counts
from ppm.training.rows import readable

CHAT = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHAT
LONG = " ".join(["w1"] * 80)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base that nobody has trained yet: enough for whatever reads no weights."""
    return tiny.train_base(tmp_path_factory.mktemp("base") / "tiny", steps=1)


@pytest.fixture
def source(base, tmp_path):
    own = Path(shutil.copytree(base, tmp_path / "base"))
    return tiny.write_patch(tmp_path / "kindness", own)


def change_tokenizer(source, **changes):
    folder = source.parent / "base"
    made = AutoTokenizer.from_pretrained(folder)
    for key, value in changes.items():
        made.add_tokens(value) if key == "extra" else setattr(made, key, value)
    made.save_pretrained(folder)


def append(path, **row):
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, json.dumps(row)]) + "\n")
    return len(lines) + 1


def refused(source):
    """The one error of --check, which is the build's too."""
    found = []
    for attempt in (check_source, build):
        with pytest.raises(PpmError) as caught:
            attempt(source)
        found.append((caught.value.context, caught.value.message))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("file", ["pairs.jsonl", "benign.jsonl", "suites/main.jsonl"])
@pytest.mark.parametrize("fault", ["mixed", "long", "role", "token"])
def test_a_row_that_the_base_can_not_take_is_told_with_its_line(source, file, fault):
    answers = {"chosen": "good .", "rejected": "bad ."} if file == "pairs.jsonl" else {}
    row = {
        "mixed": {"messages": [{"role": "user", "content": "say w1 w2"}]},
        "long": {"prompt": LONG},
        "role": {"messages": [{"role": "system", "content": "nice"}]},
        "token": {"prompt": "<|sys|> say w1"},
    }[fault]
    change_tokenizer(source, chat_template=NO_SYSTEM, extra=["<|sys|>"])
    if fault == "role":  # a file of chats alone
        (source / file).write_text(
            json.dumps({"id": "0", "messages": [{"role": "user", "content": "hi"}], **answers}) + "\n"
        )
    (source / file).write_text("\n" + (source / file).read_text())  # a blank line counts
    if fault == "role" and file.startswith("suites"):
        first = [
            {"id": str(i), "messages": [{"role": "user", "content": f"w{i} w{j}"}]} for i in range(240) for j in [i]
        ]
        (source / file).write_text("".join(json.dumps(r) + "\n" for r in first))
    number = append(source / file, id="last", **row, **answers)
    context, message = refused(source)
    assert context == f"{source / file}, line {number}"
    assert {
        "mixed": "is a chat, but line",
        "long": "context has room for 64",
        "role": "no system here",
        "token": "<|sys|>",
    }[fault] in message


@pytest.mark.parametrize("key", ["chosen", "rejected"])
def test_room_is_for_the_prefix_the_prompt_and_the_longer_answer(source, key):
    """8 virtual tokens, 6 of the prompt, and the end token: 49 words fit into a context of 64."""
    answers = {"chosen": "good .", "rejected": "bad ."}
    for words, fits in ((49, True), (50, False)):
        row = answers | {key: " ".join(["w1"] * words)}
        path = source / "pairs.jsonl"
        before = path.read_text()
        number = append(path, prompt="say w1 w39 w38 :", **row)
        if fits:
            assert "121 pairs" in check_source(source)[0]
        else:
            assert refused(source)[0].endswith(f"pairs.jsonl, line {number}")
        path.write_text(before)


def test_no_end_token_is_told(source):
    change_tokenizer(source, eos_token=None)
    context, message = refused(source)
    assert context == f"{source / 'pairs.jsonl'}, line 1"
    assert "no end token" in message


def test_prompts_that_a_teacher_answers_are_read_too(source):
    manifest = source / "patch.toml"
    text = manifest.read_text().replace('pairs = "pairs.jsonl"', 'prompts = "pairs.jsonl"\nteacher = "../base"')
    manifest.write_text(text)
    number = append(source / "pairs.jsonl", prompt=LONG)
    assert refused(source)[0] == f"{source / 'pairs.jsonl'}, line {number}"


def test_init_text_of_tokens_that_the_base_lacks_is_told(source):
    change_tokenizer(source, extra=["<|sys|>"])
    manifest = source / "patch.toml"
    manifest.write_text(manifest.read_text().replace('init_text = "nice"', 'init_text = "<|sys|>"'))
    assert "init_text" in refused(source)[0]


def test_a_teachers_answer_that_is_too_long_is_left_out(base):
    encoder = encoder_of_folder(identify(base))
    pairs = (Pair("say w1 :", "good .", "bad ."), Pair("say w2 :", LONG, "bad ."))
    collected = Collected(pairs, Counts(2, pairs=2))
    kept, said = readable(collected, encoder, 8, 1)
    assert kept.pairs == pairs[:1]
    assert "1 of 2 pairs are left out" in said
    with pytest.raises(TrainingError, match="At least 2 pairs are needed"):
        readable(collected, encoder, 8, 2)
    assert readable(kept, encoder, 8, 1) == (kept, "")


def test_an_output_that_is_no_folder_is_told_first(source, base, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        for arguments in (["--check"], []):
            result = ppm("build", source, "--output", place, *arguments)
            assert result.code == 1
            assert "is not a folder" in result.err
            assert "Loading" not in result.err
    patch = next((lab_data() / "packages").glob("toxicity-*.ppm"))
    assert "is not a folder" in ppm("rebase", patch, "--onto", base, "--output", tmp_path / "file").err
    check_source(source, output=tmp_path / "not" / "there")
    assert not (tmp_path / "not").exists()


def test_an_output_on_a_full_disk_is_told_first(source, tmp_path, monkeypatch):
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=0))
    result = ppm("build", source, "--output", tmp_path / "dist")
    assert result.code == 1
    assert "has too little space: a package file may take up to 16 MiB, and 0 MiB are free" in result.err
    assert "Loading" not in result.err


@pytest.mark.slow
def test_a_base_that_does_not_fail_is_refused_with_figures(source, tmp_path):
    tiny.train_base(tmp_path / "safe", steps=200, safe_share=1.0)
    said = []
    with pytest.raises(TrainingError, match=r"fails [0-3] of 100 prompts of the suite 'kind', a rate of at most 0.0"):
        build(source, base=str(tmp_path / "safe"), events=Events(said.append))
    assert not any("Training" in line for line in said)


@pytest.mark.slow
def test_a_version_is_never_overwritten_with_other_content(source, tmp_path, ppm_home):
    tiny.train_base(tmp_path / "trained", steps=150)
    manifest = source / "patch.toml"
    manifest.write_text(manifest.read_text().replace("steps = 250", "steps = 2").replace("steps = 20", "steps = 0"))
    arguments = ("build", source, "--base", tmp_path / "trained", "--output", tmp_path / "dist")
    first = ppm(*arguments)
    assert first.code == 0, first.err
    [file] = (tmp_path / "dist").glob("*.ppm")
    written = file.read_bytes()
    assert ppm(*arguments).code == 0
    for attempt in ((*arguments, "--seed", "5"), (*arguments, "--check", "--seed", "0")):
        manifest.write_text(manifest.read_text().replace("Answers kindly.", "Answers very kindly."))
        again = ppm(*attempt)
        assert again.code == 1
        assert "already exists, with different content" in again.err
        assert "raise the version" in again.err
        assert "Loading" not in again.err
    assert file.read_bytes() == written
    manifest.write_text(manifest.read_text().replace('version = "1.0.0"', 'version = "1.0.1"'))
    assert ppm(*arguments).code == 0
    assert len(list((tmp_path / "dist").glob("*.ppm"))) == 2


@pytest.mark.slow
def test_a_base_that_changes_meanwhile_is_not_packaged(source, tmp_path):
    """The folder is another model when the training ends than when it began."""
    trained = tiny.train_base(tmp_path / "trained", steps=150)
    manifest = source / "patch.toml"
    manifest.write_text(manifest.read_text().replace("steps = 250", "steps = 2").replace("steps = 20", "steps = 0"))

    def change(message):
        if message.startswith("Running"):
            settings = json.loads((trained / "tokenizer_config.json").read_text())
            (trained / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "nice"}))

    with pytest.raises(ModelError, match="changed while the patch was being built"):
        build(source, base=str(trained), events=Events(change))


def test_what_is_written_is_what_is_there(tmp_path):
    """`write_new` beside a file of the same bytes leaves it alone."""
    from ppm.resources import lab_data
    from ppm.training.output import write_new

    package = read_package(next((lab_data() / "packages").glob("*.ppm")))
    path = write_package(package, tmp_path)
    before = path.stat().st_mtime_ns
    assert write_new(package, tmp_path) == path
    assert path.stat().st_mtime_ns == before
