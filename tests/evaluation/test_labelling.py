"""People label completions blind to who wrote them; what they agree on becomes a judge's evidence."""

import io
import json
from dataclasses import replace

import pytest
from commands import ppm
from hypothesis import given
from hypothesis import strategies as st
from integration.test_json_docs import differs, shape_of

from ppm.audit.report import sample_lines
from ppm.errors import ManifestError, RequestError
from ppm.evaluation.agreement import read_labels
from ppm.evaluation.labelling import Session, agreed, cohens_kappa, compare, items_of, krippendorffs_alpha
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump, numbered_labels
from ppm.suite import Judge, Suite

ANSWERS = ("I can't help with that.", "Sure, here you are.")


@pytest.fixture
def samples(tmp_path):
    """What an audit writes of two configurations, which say the same of every second prompt."""
    prompts = [Prompt(f"p{i}", (("user", f"thing {i}"),) if i % 3 else f"thing {i}") for i in range(12)]
    suite = Suite("harm", "suites/harm.jsonl", Judge("refusal"))
    loaded = load_suite(suite, {"suites/harm.jsonl": dump(prompts)}, origin="a test", owner="harm")
    outcomes = {
        ("base", loaded.digest): Outcome((1.0,) * 12, tuple((ANSWERS[1],) for _ in prompts)),
        ("composition", loaded.digest): Outcome((0.0,) * 12, tuple((ANSWERS[i % 2],) for i in range(12))),
    }
    path = tmp_path / "samples.jsonl"
    path.write_bytes(sample_lines(outcomes, [loaded]))
    return path


def label(samples, keys, by="ada", *options):
    output = samples.with_name(f"{by}.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.StringIO(keys))
        done = ppm("judges", "label", "refusal", "--samples", samples, "--by", by, "--output", output, *options)
    return done, output


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_answer_is_asked_about_once_and_nobody_sees_who_gave_it(samples):
    items = items_of(samples.read_bytes(), "samples.jsonl")
    assert len(items) == 12 + 6
    done, output = label(samples, "y" * 18)
    assert done.code == 0, done.err
    assert "composition" not in done.out
    assert "base" not in done.out
    assert {(row["group"], row["completion"]) for row in rows(output)} == {(i.group, i.completion) for i in items}
    assert {row["label"] for row in rows(output)} == {"true"}


def test_a_session_goes_on_where_it_ended(samples):
    first, output = label(samples, "yn\n q yyy")
    assert first.code == 0, first.err
    assert [row["label"] for row in rows(output)] == ["true", "false"]
    assert "16 are left" in first.out
    second, _ = label(samples, "p" * 30)
    assert [row["label"] for row in rows(output)] == ["true", "false", *["partial"] * 16]
    assert "left" not in second.out
    assert len({(row["group"], row["completion"]) for row in rows(output)}) == 18


def test_keys_that_mean_nothing_label_nothing_and_a_label_can_be_taken_back(samples):
    done, output = label(samples, "x b y b n s q")
    assert done.code == 0, done.err
    assert "Nothing was labelled in this session yet" in done.out
    assert [row["label"] for row in rows(output)] == ["false"]


def test_everybody_has_an_order_and_a_file_of_their_own(samples):
    _, ada = label(samples, "y" * 18)
    _, ben = label(samples, "y" * 18, "ben")
    orders = [[(row["group"], row["completion"]) for row in rows(path)] for path in (ada, ben)]
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]
    with pytest.raises(ManifestError, match="has labels of ada"):
        Session(items_of(samples.read_bytes(), ""), "ben", ada)


@pytest.mark.parametrize(
    ("text", "suite", "words"),
    [
        ("[]\n", None, "not"),
        ('{"suite": "harm", "id": "1", "prompt": "p", "completions": "text"}\n', None, "list of texts"),
        ('{"suite": "harm", "id": "1", "prompt": "p", "completions": ["t"]}\n', "harn", "no suite 'harn'"),
        ('{"suite": "harm", "id": "1", "prompt": "p"}\n', None, "nothing to label"),
    ],
)
def test_what_are_no_samples_is_said(text, suite, words):
    with pytest.raises((ManifestError, RequestError), match=words):
        items_of(text.encode(), "samples.jsonl", suite)


def test_the_published_examples_come_out():
    # Cohen (1960) as worked in textbooks: 20, 5, 10 and 15 of 50 proposals
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    # Krippendorff (2011), section C: four observers, twelve units, nominal data
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    units = [[label for label in unit if label != "."] for unit in zip(*map(str.split, observers), strict=True)]
    assert krippendorffs_alpha(units) == pytest.approx(0.743, abs=5e-4)


@given(st.lists(st.tuples(st.sampled_from("yn"), st.sampled_from("yn")), min_size=1, max_size=40))
def test_agreement_is_full_just_where_all_agree(pairs):
    kappa, alpha = cohens_kappa(pairs), krippendorffs_alpha(pairs)
    for found in (kappa, alpha):
        assert found is None or found <= 1 + 1e-12
        if found is not None:
            assert (found == pytest.approx(1)) == all(a == b for a, b in pairs)


def test_what_two_people_agree_on_is_what_a_judge_is_measured_on(samples):
    _, ada = label(samples, "y" * 9 + "n" * 9)
    said = {(row["group"], row["completion"]): row["label"] for row in rows(ada)}
    items = sorted(items_of(samples.read_bytes(), ""), key=lambda item: item.key)
    ben = samples.with_name("ben.jsonl")
    session = Session(items, "ben", ben)
    changed = session.left[0]
    while session.left:
        item = session.left[0]
        own = said[item.group, item.completion]
        session.say({"true": "false", "false": "true"}[own] if item is changed else own)
    done = ppm("judges", "agree", ada, ben, "--output", samples.with_name("agreed.jsonl"), "--json")
    assert done.code == 0, done.err
    assert differs(done.json, shape_of("judges agree")) is None
    assert (done.json["shared"], done.json["agreed"], len(done.json["split"])) == (18, 17, 1)
    assert done.json["kappas"][0]["kappa"] == pytest.approx(1 - 1 / 18 / 0.5, abs=0.01)
    labels = read_labels(samples.with_name("agreed.jsonl").read_bytes(), "agreed.jsonl", {})
    assert len(labels.rows) == 17
    assert labels.groups is not None
    assert "differ: ada: " in ppm("judges", "agree", ada, ben).out
    assert ppm("judges", "agree", ada).code == 1


def test_labels_of_one_person_alone_are_agreed_on():
    given = [label for _, label in numbered_labels(b'{"prompt": "p", "completion": "c", "label": true}\n', "x")]
    found = compare({"ada": given, "ben": [replace(given[0], completion="other")]})
    assert (found.shared, found.alpha, found.kappas) == (0, None, {("ada", "ben"): None})
    assert len(agreed(found).splitlines()) == 2


def test_a_last_line_without_an_end_gets_one(samples):
    _, output = label(samples, "ynq")
    output.write_bytes(output.read_bytes().rstrip())
    done, _ = label(samples, "yq")
    assert done.code == 0, done.err
    assert [row["label"] for row in rows(output)] == ["true", "false", "true"]


def test_what_a_killed_process_left_of_a_line_is_labelled_again(samples):
    _, output = label(samples, "ynq")
    output.write_bytes(output.read_bytes()[:-9])
    done, _ = label(samples, "y" * 18)
    assert done.code == 0, done.err
    assert [row["label"] for row in rows(output)] == ["true"] * 18


def test_answers_to_prompts_of_one_group_are_one_group(samples):
    lines = [json.loads(line) | {"group": "one"} for line in samples.read_text().splitlines()]
    items = items_of("".join(json.dumps(line) + "\n" for line in lines).encode(), "")
    assert {item.group for item in items} == {"one"}


def test_nobody_is_compared_with_themselves(samples):
    _, output = label(samples, "y" * 18)
    assert ppm("judges", "agree", output, output).code == 1
