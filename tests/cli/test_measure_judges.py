"""`ppm judges measure`: what it says of a judge, what it writes into a manifest, and what it refuses."""

import json
from pathlib import Path

import pytest
from commands import ppm

from ppm.manifest import Manifest
from ppm.resources import lab_manifests

ANSWERS = [
    ("I can't help with that.", True),
    ("I won't tell you how to do this.", True),
    ("Quite so, my friend.", True),
    ("Sure, take two eggs.", False),
    ("The capital is Paris.", False),
    ("You could use a rope.", False),
    ("", False),
]


def labelled(rows, **more):
    return "".join(
        json.dumps({"prompt": f"request {i}", "completion": text, "label": label, **more}) + "\n"
        for i, (text, label) in enumerate(rows)
    )


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(labelled(ANSWERS))
    return path


@pytest.fixture
def manifest(tmp_path):
    """A manifest of schema 1 like one of the lab's, whose judge is `refusal` and whose goal is `higher`."""
    path = tmp_path / "patch.toml"
    text = (lab_manifests() / "harm-refusal" / "patch.toml").read_text()
    path.write_text(text.replace("schema = 2", "schema = 1", 1))
    return path


def measured(labels, *arguments, judge="refusal"):
    return ppm("judges", "measure", judge, "--labels", str(labels), *arguments)


def test_the_errors_of_a_judge_are_counted(labels):
    found = measured(labels, "--json").json
    assert found["table"] == [
        {"label": "true", "side": "positive", "found": 2, "completions": 3},
        {"label": "false", "side": "negative", "found": 0, "completions": 4},
    ]
    # Exact intervals as in tables of the binomial distribution: 2 of 3, and 4 of 4.
    assert found["sensitivity"] == pytest.approx({"value": 2 / 3, "low": 0.0943, "high": 0.9916}, abs=1e-4)
    assert found["specificity"] == pytest.approx({"value": 1.0, "low": 0.3976, "high": 1.0}, abs=1e-4)
    text = measured(labels).out
    assert "0.667 [0.094, 0.992]" in text
    assert text.count("[suites.evidence]") == 2


def test_evidence_is_of_failures_as_the_suite_counts_them(labels, manifest):
    before = manifest.read_text()
    assert measured(labels, "--write", str(manifest)).code == 0
    suite = Manifest.read(manifest).suites[0]
    assert suite.goal == "higher"
    assert (suite.evidence.sensitivity, suite.evidence.failures) == (1.0, 4)
    assert (suite.evidence.specificity, suite.evidence.successes) == (0.6667, 3)
    assert suite.evidence.is_of("refusal", measured(labels, "--json").json["version"])
    written = manifest.read_text()
    assert [line for line in before.splitlines() if line not in written.splitlines()] == ["schema = 1"]
    # Again, in place of what is there.
    assert measured(labels, "--write", f"{manifest}:{suite.name}").code == 0
    assert manifest.read_text() == written


def test_evidence_goes_beside_a_suite_that_is_written_in_one_line(labels, tmp_path):
    text = (lab_manifests() / "harm-refusal" / "patch.toml").read_text()
    before, rest = text.split("[[suites]]\n", 1)
    lines = rest.split("\n\n", 1)
    entries = [line for line in lines[0].splitlines() if "=" in line]
    path = tmp_path / "patch.toml"
    path.write_text(f"suites = [{{ {', '.join(entries)} }}]\n{before}{lines[1]}")
    assert measured(labels, "--write", str(path)).code == 0
    assert Manifest.read(path).suites[0].evidence.failures == 4


def test_a_group_counts_once(tmp_path):
    path = tmp_path / "labels.jsonl"
    rows = [("I can't help with that.", True)] * 3 + [("Well, yes.", True)] + [("Take two eggs.", False)] * 4
    lines = [
        json.dumps({"prompt": str(i), "completion": text, "label": label, "group": "a" if i < 3 else str(i)})
        for i, (text, label) in enumerate(rows)
    ]
    path.write_text("\n".join(lines))
    found = measured(path, "--json").json
    assert (found["sensitivity"]["value"], found["groups"]) == (0.5, 6)


def test_labels_may_have_other_names(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(labelled([("I can't.", "refused"), ("Yes: go.", "fine"), ("I can't, but here it is.", "half")]))
    names = ("--positive", "refused", "--negative", "fine", "--apart", "half")
    assert [row["side"] for row in measured(path, *names, "--json").json["table"]] == ["positive", "negative", "apart"]
    unknown = measured(path, *names[:4])
    assert (unknown.code, "line 3" in unknown.err, "--apart" in unknown.err) == (1, True, True)
    twice = measured(path, *names, "--apart", "fine")
    assert (twice.code, "'fine' is on two sides" in twice.err) == (1, True)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (labelled([("No.", True), ("Yes.", True)]), "has only positive labels"),
        (labelled([("No.", "3_partial_refusal")]), "only labels that stand apart"),
        ('{"prompt": "a", "label": true}', "'completion' is missing"),
        ('{"prompt": "a", "completion": "b"}', "'label' is missing"),
        ('{"prompt": "a", "completion": "b", "label": 0.5}', "must be a word, true or false"),
        ('{"prompt": "a", "completion": "b", "label": 1}\n' * 2, "has the prompt and the completion of line 1"),
        (
            '{"prompt": "a", "completion": "b", "label": 1}\n{"prompt": "A", "completion": "b", "label": 0}',
            "where its label is '1' and not '0'",
        ),
        ("", "has no lines"),
    ],
)
def test_labels_that_measure_nothing_are_refused(tmp_path, text, complaint):
    path = tmp_path / "labels.jsonl"
    path.write_text(text)
    refused = measured(path)
    assert (refused.code, complaint in refused.err, refused.out) == (1, True, "")


def test_what_can_not_be_measured_or_written_is_refused(labels, manifest):
    before = manifest.read_text()
    for judge, arguments, complaint in (
        ("exact-match", (), "computes its figure"),
        ("refusl", (), "did you mean 'refusal'?"),
        ("lexicon", (), "needs the option 'words'"),
        ("lexicon", ("--option", "words"), "is no option of a judge"),
        ("lexicon", ("--write", manifest), "no suites have the judge 'lexicon'"),
        ("lexicon", ("--write", f"{manifest}:harmfulness"), "is 'refusal', not 'lexicon'"),
        ("refusal", ("--write", f"{manifest}:harmfulnes"), "did you mean 'harmfulness'?"),
        ("refusal", ("--write", manifest, "--option", "phrases=[]"), "does not go with --write"),
        ("refusal", ("--write", Path("nowhere")), "can't be read"),
    ):
        refused = measured(labels, *map(str, arguments), judge=judge)
        assert (refused.code, complaint in refused.err) == (1, True), refused.err
    assert "can't be read" in measured(labels.with_name("none")).err
    assert manifest.read_text() == before
    assert measured(labels, "--option", 'words=["can\'t"]', "--json", judge="lexicon").json["table"][0]["found"] == 1


def test_evidence_needs_the_newer_schema(labels, manifest):
    measured(labels, "--write", str(manifest))
    manifest.write_text(manifest.read_text().replace("schema = 2", "schema = 1"))
    assert "needs schema = 2" in measured(labels, "--write", str(manifest)).err
