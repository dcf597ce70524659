"""patch.toml: what a manifest may say, and how a mistake in it is reported."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages import FINGERPRINT, make_package

from ppm import document
from ppm.errors import ManifestError
from ppm.manifest import (
    Base,
    Component,
    CompositionRecord,
    DataFile,
    Manifest,
    Patch,
    PrefixShape,
    Replay,
    Retention,
)
from ppm.suite import Decoding, Judge, Suite
from ppm.training_table import StageTable, Training

MINIMAL = """schema = 1
[patch]
name = "Toxicity"
version = "1.2"
[base]
model = "acme/tiny"
[prefix]
virtual_tokens = 50
"""

FULL = f"""schema = 1
[patch]
name = "Toxi_City"
version = "v1.2.0-rc.1"
risks = ["toxicity"]
summary = "Steers continuations away from toxic language."
license = "Apache-2.0"
authors = ["A <a@example.org>"]
provides = ["Kind.Words"]
replaces = {{ Toxicity_Legacy = "<1" }}
[base]
model = "meta-llama/Llama-2-7b-hf"
revision = "{"ab" * 20}"
fingerprint = "{FINGERPRINT}"
placement = "after-bos"
[prefix]
virtual_tokens = 50
init_text = "You are a helpful assistant."
[dependencies]
Safety_Core = ">=2, <3"
[conflicts]
toxicity-old = "*"
[[suites]]
name = "Toxicity"
prompts = "suites/toxicity.jsonl"
judge = {{ name = "lexicon", words = "suites/insults.txt" }}
samples = 2
margin = 0.05
min_effect = 0.20
limit = 0.30
decoding = {{ max_new_tokens = 20, temperature = 1.0, top_p = 0.9, seed = 0 }}
[[suites]]
name = "helpful"
against = "base"
prompts = "suites/helpful.jsonl"
judge = "exact"
goal = "higher"
[replay]
[retention]
[training]
pairs = "pairs.jsonl"
benign = "benign.jsonl"
sft = {{ steps = 150, learning_rate = 2e-2, batch_size = 16 }}
[provenance]
teacher = "acme/large"
"""


def refused(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        Manifest.parse(text, "patch.toml")
    assert caught.value.context == "patch.toml"
    return caught.value


def changed(old: str, new: str) -> ManifestError:
    assert FULL.count(old) == 1
    return refused(FULL.replace(old, new))


def test_a_full_manifest():
    manifest = Manifest.parse(FULL, "patch.toml")
    assert (manifest.name, manifest.version, manifest.pin) == ("toxi-city", "1.2.0rc1", "toxi-city==1.2.0rc1")
    assert manifest.patch.provides == ("kind-words",)
    assert manifest.patch.replaces == {"toxicity-legacy": "<1"}
    assert manifest.dependencies == {"safety-core": "<3,>=2"}
    assert manifest.conflicts == {"toxicity-old": "*"}
    assert manifest.base.placement == "after-bos"
    toxicity, helpful = manifest.suites
    assert toxicity.name == "toxicity"
    assert toxicity.judge == Judge("lexicon", {"words": "suites/insults.txt"})
    assert toxicity.decoding == Decoding(20, 1.0, 0.9, 0)
    assert (helpful.judge, helpful.against, helpful.goal) == (Judge("exact"), "base", "higher")
    assert manifest.training == Training(pairs="pairs.jsonl", benign="benign.jsonl", sft=StageTable(150, 0.02, 16))
    assert manifest.provenance == {"teacher": "acme/large"}


def test_a_minimal_manifest():
    manifest = Manifest.parse(MINIMAL, "patch.toml")
    assert manifest == Manifest(1, Patch("toxicity", "1.2"), Base("acme/tiny"), PrefixShape(50))
    assert manifest.data_files() == []


def test_its_data_files_are_known():
    manifest = Manifest.parse(FULL, "patch.toml")
    packaged = [
        DataFile("suites/toxicity.jsonl", "prompts", "suites.toxicity.prompts"),
        DataFile("suites/helpful.jsonl", "prompts", "suites.helpful.prompts"),
        DataFile("suites/insults.txt", "text", "suites.toxicity.judge.words"),
        DataFile("replay.jsonl", "pairs", "replay.pairs"),
        DataFile("retention.jsonl", "benign", "retention.prompts"),
    ]
    training = [
        DataFile("pairs.jsonl", "pairs", "training.pairs"),
        DataFile("benign.jsonl", "benign", "training.benign"),
    ]
    assert manifest.data_files() == packaged + training
    assert manifest.without_training().data_files() == packaged


@pytest.mark.parametrize("text", [FULL, MINIMAL])
def test_what_is_rendered_is_read_back(text):
    manifest = Manifest.parse(text, "patch.toml")
    assert Manifest.parse(manifest.render(), "rendered") == manifest


def test_a_composition_records_what_it_came_from():
    record = CompositionRecord(
        "distilled", "sha256:" + "0" * 64, (Component("a", "1.0", "1" * 64), Component("b", "2.0", "2" * 64)), 7, "auto"
    )
    manifest = replace(make_package().manifest, composition=record)
    assert Manifest.parse(manifest.render(), "x").composition == record


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("schema = 1", "", "schema is missing", "this ppm reads schema = 1 or 2"),
        ("schema = 1", "schema = 3", "unknown schema 3", "a newer one needs a newer ppm"),
        ("schema = 1", "schema = true", "schema must be a whole number, not a boolean", ""),
        ("summary", "sumary", "unknown key 'sumary' in [patch]", "did you mean 'summary'?"),
        ("[conflicts]", "[conflict]", "unknown key 'conflict' in the document", "did you mean 'conflicts'?"),
        ("min_effect", "min_efect", "unknown key 'min_efect' in [suites[0]]", "did you mean 'min_effect'?"),
        ("top_p", "topp", "unknown key 'topp' in [suites[0].decoding]", "did you mean 'top_p'?"),
        ('model = "meta-llama/Llama-2-7b-hf"', "", "base.model is missing", "add model to [base]"),
        ('"Toxi_City"', '"toxi city"', "[patch]: 'toxi city' is not a name: letters, digits,", ""),
        ('"Toxi_City"', '"../x"', "[patch]: '../x' is not a name", ""),
        ('"v1.2.0-rc.1"', '"new"', "[patch]: 'new' is not a PEP 440 version such as 1.2.0", ""),
        ('"v1.2.0-rc.1"', "1.2", "patch.version must be a string, not 1.2", ""),
        ('"Kind.Words"', '""', "[patch]: '' is not a name", ""),
        ('">=2, <3"', '"2"', "the document: dependencies.Safety_Core: '2' is not a PEP 440 specifier such as", ""),
        ('">=2, <3"', '">=2"\nsafety-core = "<3"', "the document: dependencies names 'safety-core' twice", ""),
        ('"<1"', '"< one"', "[patch]: replaces.Toxicity_Legacy: '< one' is not a PEP 440 specifier", ""),
        ('"' + "ab" * 20 + '"', '"main"', "[base]: revision must be a full commit (40 hexadecimal digits), not", ""),
        (FINGERPRINT, "sha256:12", "[base]: fingerprint must be 'sha256:' followed by 64 hexadecimal digits", ""),
        ("after-bos", "after", "base.placement must be one of 'before-bos', 'after-bos', not 'after'", "'after-bos'?"),
        ("virtual_tokens = 50", "virtual_tokens = 5000", "[prefix]: virtual_tokens must be between 1 and 4096", ""),
        ('"helpful"', '"TOXICITY"', "the document: two suites are named 'toxicity'", ""),
        ("samples = 2", "samples = 0", "[suites[0]]: samples must be between 1 and 1000", ""),
        ("margin = 0.05", "margin = 1", "[suites[0]]: margin must be above 0 and below 1", ""),
        ("limit = 0.30", "limit = 1.5", "[suites[0]]: limit must be between 0 and 1", ""),
        ("top_p = 0.9", "top_p = 0", "[suites[0].decoding]: temperature must be 0 or more, and top_p above 0", ""),
        ("20, temp", "0, temp", "[suites[0].decoding]: max_new_tokens must be between 1 and 4096", ""),
        ('judge = "exact"', "judge = 3", "suites[1].judge must be a table, not a number", ""),
        ('name = "lexicon", ', "", "suites[0].judge.name is missing", "add name to [suites[0].judge]"),
        ("steps = 150", "steps = -1", "[training.sft]: steps must be 0 or more", ""),
        ('pairs = "pairs.jsonl"', "", "[training]: give either pairs, or prompts and a teacher", ""),
        ('pairs = "pairs.jsonl"', 'prompts = "p.jsonl"', "[training]: prompts need a teacher to answer them", ""),
    ],
)
def test_a_mistake_is_named(old, new, message, hint):
    error = changed(old, new)
    assert error.message.startswith(message)
    assert hint in error.hint


@pytest.mark.parametrize("path", ["../x.jsonl", "/etc/passwd", "a/../../x", "a\\\\b", "", "a\\u0000"])
@pytest.mark.parametrize(
    ("old", "key"),
    [
        ('"suites/toxicity.jsonl"', "prompts"),
        ('"pairs.jsonl"', "pairs"),
        ('"benign.jsonl"', "benign"),
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(old, key, path):
    assert f"{key} must be a path inside the patch's folder" in changed(old, f'"{path}"').message


def test_other_paths_are_held_to_the_same_rule():
    assert "judge.words must be a path" in changed("suites/insults.txt", "suites/../../x").message
    for cls, key in ((Replay, "pairs"), (Retention, "prompts")):
        with pytest.raises(ValueError, match="must be a path inside"):
            cls(**{key: "../x"})


def test_a_file_that_can_not_be_read(tmp_path):
    (tmp_path / "patch.toml").write_text(MINIMAL)
    assert Manifest.read(tmp_path / "patch.toml").pin == "toxicity==1.2"
    with pytest.raises(ManifestError, match="can't be read: No such file") as caught:
        Manifest.read(tmp_path / "gone.toml")
    assert caught.value.hint == "name a patch.toml, or its folder"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
versions = st.sampled_from(["1", "1.0.0", "2.0rc1", "1!3.post4", "0.dev1", "1.0+local.7"])
specifiers = st.dictionaries(names, st.sampled_from(["*", ">=1", "<3,>=2", "~=1.4", "==2.*"]), max_size=2)
values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.filter(bool), inner, max_size=3),
    max_leaves=5,
)
tables = st.dictionaries(texts.filter(bool).map("k".__add__), values, max_size=3)
suites = st.builds(
    Suite,
    names,
    names.map("suites/{}.jsonl".format),
    st.builds(Judge, names, tables.filter(lambda table: not any("/" in str(value) for value in table.values()))),
    margin=st.none() | st.floats(0.01, 0.99),
    limit=st.none() | st.floats(0, 1),
    samples=st.integers(1, 1000),
)
manifests = st.builds(
    Manifest,
    st.just(1),
    st.builds(
        Patch,
        names,
        versions,
        st.lists(texts, max_size=2).map(tuple),
        texts,
        texts,
        st.lists(texts, max_size=2).map(tuple),
        st.lists(names, max_size=2).map(tuple),
        specifiers,
    ),
    st.builds(Base, texts.filter(str.isprintable), fingerprint=st.none() | st.just(FINGERPRINT)),
    st.builds(PrefixShape, st.integers(1, 4096), texts),
    specifiers,
    specifiers,
    st.lists(suites, max_size=2, unique_by=lambda suite: suite.name).map(tuple),
    st.none() | st.just(Replay()),
    st.none() | st.just(Retention("other.jsonl")),
    provenance=tables,
)


@settings(max_examples=50)
@given(manifests)
def test_every_manifest_survives_a_round_trip(manifest):
    text = manifest.render()
    assert Manifest.parse(text, "rendered") == manifest
    assert Manifest.parse(text.encode(), "rendered").render() == text


@pytest.mark.parametrize(
    "change",
    [
        {"base": {"model": "acme/tiny\nhint: run something else"}},
        {"base": {"model": "acme/tiny\u202e"}},
        {"composition": {"strategy": "merged\nhint: x", "strategy_digest": "sha256:0", "components": []}},
        {
            "composition": {
                "strategy": "merged",
                "strategy_digest": "sha256:0",
                "components": [{"name": "a b", "version": "1", "sha256": "0" * 64}],
            }
        },
    ],
)
def test_no_text_of_a_manifest_passes_for_a_line_of_a_message(change):
    table = {"schema": 1, "patch": {"name": "a", "version": "1"}, "base": {"model": "acme/tiny"}}
    table |= {"prefix": {"virtual_tokens": 1}, **change}
    with pytest.raises(ManifestError, match=r"one line of printable characters|is not a name"):
        Manifest.parse(document.render(table), "patch.toml")


def test_groups_take_schema_2_which_means_a_group_in_every_suite():
    grouped = FULL.replace("[[suites]]", '[[suites]]\ngroup = "author"', 1)
    assert grouped != FULL
    assert "needs schema = 2" in str(refused(grouped))
    found = Manifest.parse(grouped.replace("schema = 1", "schema = 2"), "patch.toml").counted_in_groups()
    assert [suite.group for suite in found.suites] == ["author", *["group"] * (len(found.suites) - 1)]
    old = Manifest.parse(FULL, "patch.toml")
    assert old.counted_in_groups() == old
