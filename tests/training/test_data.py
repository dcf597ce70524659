"""Data files made of data sets: columns, filters, shares without a common prompt, and what is told of mistakes."""

import json

import pytest

from ppm.errors import ManifestError
from ppm.jsonl import normalised, read_benign, read_prompts
from ppm.training.data import data_file
from ppm.training_table import DataSet

ROWS = [
    {"prompt": {"text": f"say something {i}", "toxicity": i / 40}, "challenging": i % 2 == 0, "answer": f"a{i}"}
    for i in range(40)
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def made(folder, kind="prompts", **settings):
    data, _ = data_file(
        "suites/x.jsonl", kind, DataSet(**{"name": "rows.jsonl", "column": "prompt.text", **settings}), folder
    )
    return (read_prompts if kind == "prompts" else read_benign)(data, "made")


def test_a_column_inside_a_column_makes_prompts(folder):
    rows = made(folder, where={"challenging": True}, expected="answer", limit=5)
    assert [(r.id, r.prompt, r.expected) for r in rows] == [
        (f"x-{n}", f"say something {2 * n}", f"a{2 * n}") for n in range(5)
    ]


def test_shares_that_do_not_touch_have_no_prompt_in_common(folder):
    rows = [json.dumps({"text": text}) for text in ("Say this", " say  THIS ", "say that", *map(str, range(60)))]
    (folder / "plain.jsonl").write_text("\n".join(rows))
    parts = [
        {normalised(r.prompt) for r in made(folder, "benign", name="plain.jsonl", column="text", share=share)}
        for share in ((0.0, 0.5), (0.5, 1.0))
    ]
    assert len(parts[0]) + len(parts[1]) == 62
    assert not parts[0] & parts[1]
    assert min(map(len, parts)) > 15


def test_a_text_around_each_prompt_and_completions(folder):
    [row] = made(folder, "benign", text="Q: {prompt}\nA:", completion="answer", limit=1)
    assert (row.prompt, row.completion) == ("Q: say something 0\nA:", "a0")


def test_a_text_around_the_prompts_of_one_file_does_not_mix_the_shares(folder):
    one = made(folder, "benign", text="Q: {prompt}", share=(0.0, 0.5))
    other = made(folder, "benign", share=(0.5, 1.0))
    assert not {row.prompt.removeprefix("Q: ") for row in one} & {row.prompt for row in other}
    assert len(one) + len(other) == 40


def test_what_is_not_there_is_left_out_and_what_is_no_text_refused(folder):
    (folder / "nulls.jsonl").write_text('{"p": "a", "c": null}\n{"p": "b", "c": "yes"}\n')
    rows = made(folder, "benign", name="nulls.jsonl", column="p", completion="c")
    assert [(row.prompt, row.completion) for row in rows] == [("a", None), ("b", "yes")]
    with pytest.raises(ManifestError, match="'challenging' holds bool, not text"):
        made(folder, expected="challenging")


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "folder"])
def test_files_of_other_kinds(tmp_path, kind):
    import datasets

    rows = datasets.Dataset.from_list([{"question": f"q{i}"} for i in range(3)])
    name = f"rows.{kind}"
    if kind == "parquet":
        rows.to_parquet(tmp_path / name)
    elif kind == "folder":
        name = "rows"
        (tmp_path / name).mkdir()
        rows.to_json(tmp_path / name / "train.jsonl")
    else:
        rows.to_csv(tmp_path / name, sep="\t" if kind == "tsv" else ",", index=False)
    assert [r.prompt for r in made(tmp_path, "benign", name=name, column="question")] == ["q0", "q1", "q2"]


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"column": "promt.text"}, "no column 'promt.text'", "did you mean 'prompt'"),
        ({"column": "prompt.txt"}, "no column 'prompt.txt'", "did you mean 'text'"),
        ({"column": "prompt"}, "holds dict, not text", "a dot reaches inside"),
        ({"where": {"chalenging": True}}, "no column 'chalenging'", "did you mean 'challenging'"),
        ({"where": {"challenging": "yes"}}, "leaves no prompts", "where"),
        ({"name": "absent/rows"}, "can't be fetched", "network"),
        ({"name": "rows.xml"}, "is not a .json", "kinds"),
    ],
)
def test_a_mistake_is_told_with_its_place(folder, settings, message, hint):
    (folder / "rows.xml").write_text("<x/>")
    with pytest.raises(ManifestError) as caught:
        made(folder, **settings)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "suites/x.jsonl" in caught.value.context


def test_offline_means_what_the_hub_client_takes_it_for(folder, monkeypatch):
    """Any of its ways to say so: a data set that is cached is used, and nobody is asked what its commit is."""
    asked = []
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda self, name: asked.append(name))
    with pytest.raises(ManifestError, match="can't be fetched"):
        made(folder, name="nobody/has-this")
    assert not asked
