"""Suites made ready to run: what their digest covers, how they are named, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from packages import make_package

from ppm.errors import ManifestError, ModelError
from ppm.evaluation import neutral
from ppm.evaluation.neutral import beginnings, default_utility, is_held_back, neutral_text
from ppm.evaluation.suites import base_suites, load_suite, package_suites, policy_suites, uncalibrated
from ppm.jsonl import Benign, Prompt, dump
from ppm.resources import lab_data
from ppm.suite import Decoding, Evidence, Judge, Suite

FILES = {
    "suites/main.jsonl": dump([Prompt("a", "tell me"), Prompt("b", "please", expected="thank you")]),
    "suites/words.txt": b"fool\n",
}
SUITE = Suite("main", "suites/main.jsonl", Judge("lexicon", {"words": "suites/words.txt"}))


def digest_of(suite=SUITE, **files):
    return load_suite(suite, {**FILES, **files}, origin="toxicity==1.0.0", owner="toxicity").digest


def test_a_suite_carries_its_prompts_and_judge():
    loaded = load_suite(SUITE, FILES, origin="toxicity==1.0.0", owner="toxicity")
    assert [prompt.id for prompt in loaded.prompts] == ["a", "b"]
    assert loaded.scorer.score([(loaded.prompts[0], ("you fool", "hello"))]) == [[1, 0]]
    assert (loaded.label, loaded.owner) == ("main", "toxicity")


@pytest.mark.parametrize(
    "suite",
    [
        replace(SUITE, judge=Judge("lexicon", {"words": ["fool"]})),
        replace(SUITE, judge=Judge("refusal")),
        replace(SUITE, goal="higher"),
        replace(SUITE, samples=2),
        replace(SUITE, decoding=Decoding(seed=1)),
        replace(SUITE, decoding=Decoding(max_new_tokens=21)),
        replace(SUITE, decoding=Decoding(temperature=0.5)),
        replace(SUITE, decoding=Decoding(top_p=0.5)),
    ],
)
def test_whatever_a_completion_or_its_verdict_depends_on_changes_the_digest(suite):
    assert digest_of(suite) != digest_of()


def test_data_changes_the_digest():
    assert digest_of(**{"suites/main.jsonl": dump([Prompt("a", "tell me more")])}) != digest_of()
    assert digest_of(**{"suites/words.txt": b"clown\n"}) != digest_of()


def test_what_the_gate_makes_of_the_outcomes_does_not_change_the_digest():
    for other in ({"margin": 0.1, "min_effect": 0.3, "limit": 0.5}, {"against": "base"}, {"name": "other"}):
        assert digest_of(replace(SUITE, **other)) == digest_of()


def test_exact_match_needs_an_expected_text_in_every_prompt():
    suite = replace(SUITE, judge=Judge("exact-match"))
    with pytest.raises(ManifestError, match="'a' has no 'expected'") as caught:
        load_suite(suite, FILES, origin="facts==1.0.0", owner="facts")
    assert caught.value.context == "facts==1.0.0, suites/main.jsonl"


def test_a_broken_prompt_is_named_by_package_file_and_line():
    broken = FILES | {"suites/main.jsonl": FILES["suites/main.jsonl"] + b'{"id": "c"}\n'}
    with pytest.raises(ManifestError, match="'prompt' is missing") as caught:
        load_suite(SUITE, broken, origin="toxicity==1.0.0", owner="toxicity")
    assert caught.value.context == "toxicity==1.0.0, suites/main.jsonl, line 3"


def labels(*packages):
    return [suite.label for suite in package_suites(packages)]


def test_suites_of_one_name_carry_their_patch():
    toxicity, bias = make_package("toxicity"), make_package("bias")
    assert labels(toxicity) == ["main"]
    assert labels(toxicity, bias) == ["toxicity/main", "bias/main"]


def test_a_suite_that_did_not_change_between_versions_runs_once():
    found = package_suites([make_package(version="2.0.0"), make_package(version="1.0.0")])
    assert [suite.label for suite in found] == ["main"]


def test_old_and_new_suites_of_one_patch_keep_apart():
    new = make_package(version="2.0.0")
    new.files["suites/main.jsonl"] = dump([Prompt("a", "a new question")])
    found = labels(new, make_package(version="1.0.0"), make_package("bias"))
    assert found == ["toxicity==2.0.0/main", "toxicity==1.0.0/main", "bias/main"]


def test_two_patches_with_the_same_suite_are_both_held_to_it():
    toxicity, copy = make_package("toxicity"), make_package("manners")
    copy.files.update(toxicity.files)
    found = package_suites([toxicity, copy])
    assert [suite.owner for suite in found] == ["toxicity", "manners"]
    assert found[0].digest == found[1].digest


TABLE = """schema = 1
[[suites]]
name = "facts"
against = "base"
prompts = "facts.jsonl"
judge = "exact-match"
goal = "higher"
"""


def test_a_base_may_declare_utility_suites(tmp_path):
    (tmp_path / "ppm-base.toml").write_text(TABLE)
    (tmp_path / "facts.jsonl").write_bytes(dump([Prompt("1", "two and two make", expected="four")]))
    [suite] = base_suites(tmp_path)
    assert (suite.label, suite.owner, suite.suite.goal) == ("facts", None, "higher")
    assert suite.scorer.score([(suite.prompts[0], ("four",))]) == [[1]]


def test_a_base_without_suites_has_none(tmp_path):
    assert base_suites(tmp_path) == []


def test_prompts_that_a_base_lacks_are_named(tmp_path):
    (tmp_path / "ppm-base.toml").write_text(TABLE)
    with pytest.raises(ManifestError, match="can't be read") as caught:
        base_suites(tmp_path)
    assert caught.value.context == str(tmp_path / "facts.jsonl")


def test_the_neutral_text_is_enough_for_the_gate():
    lines = neutral_text()
    assert len(set(lines)) >= 400
    assert all(len(line.split()) >= 3 for line in lines)


def test_the_beginnings_are_of_no_neutral_text():
    found = [row.prompt for row in beginnings()]
    assert len(set(found)) >= 400
    assert not [text for text in found if any(line.startswith(text) for line in neutral_text())]


def test_a_deployer_may_bring_suites_of_their_own(tmp_path):
    (tmp_path / "ours.toml").write_text(TABLE)
    (tmp_path / "facts.jsonl").write_bytes(dump([Prompt("1", "two and two make", expected="four")]))
    assert [suite.label for suite in policy_suites(tmp_path / "ours.toml")] == ["facts"]
    with pytest.raises(ManifestError):
        policy_suites(tmp_path / "none.toml")


def test_the_head_of_a_suite_is_a_fixed_choice_of_its_prompts():
    prompts = [Prompt(str(i), f"question {i}") for i in range(40)]
    suite = load_suite(SUITE, {**FILES, "suites/main.jsonl": dump(prompts)}, origin="a test", owner="toxicity")
    half, more = suite.head(0.5), suite.head(0.75)
    assert (len(half.prompts), len(more.prompts)) == (20, 30)
    assert set(half.prompts) < set(more.prompts)
    assert half.prompts != tuple(prompts[:20])
    assert half == suite.head(0.5)
    assert half.digest == suite.digest
    assert suite.head(1.0) is suite


def test_perplexity_is_not_looked_at_in_part():
    suite = Suite("main", "suites/main.jsonl", Judge("perplexity"), against="base", metric="perplexity")
    loaded = load_suite(suite, FILES, origin="toxicity==1.0.0", owner=None)
    assert loaded.head(0.5).prompts == loaded.prompts


def test_a_waiver_is_for_a_patch_s_suite_with_its_limits():
    def waived(suite=SUITE, owner="toxicity"):
        return load_suite(suite, FILES, origin="toxicity==1.0.0", owner=owner).waiver_digest

    others = [waived(owner="manners"), waived(replace(SUITE, margin=0.01)), waived(replace(SUITE, limit=0.1))]
    assert len({waived(), *others}) == 4
    changed = {**FILES, "suites/main.jsonl": dump([Prompt("a", "tell me more")])}
    base = replace(SUITE, against="base")
    loaded = [load_suite(base, files, origin="the base", owner=None) for files in (FILES, changed)]
    assert loaded[0].waiver_digest == loaded[1].waiver_digest


def test_a_package_names_no_folder_for_a_judge_and_a_deployer_may(tmp_path):
    judge = Judge("detoxify", {"model": str(tmp_path)})
    package = make_package()
    suites = (replace(package.manifest.suites[0], judge=judge),)
    with pytest.raises(ManifestError, match="never a folder") as caught:
        package_suites([replace(package, manifest=replace(package.manifest, suites=suites))])
    assert "toxicity==1.0.0" in caught.value.context
    (tmp_path / "facts.jsonl").write_bytes(dump([Prompt("1", "two and two make", expected="four")]))
    (tmp_path / "own.toml").write_text(TABLE.replace('"exact-match"', f'{{ name = "detoxify", model = "{tmp_path}" }}'))
    with pytest.raises(ModelError, match=r"config\.json"):  # it was looked into, and holds no model
        policy_suites(tmp_path / "own.toml")


def test_a_deployer_s_suites_have_different_names(tmp_path):
    suite = '[[suites]]\nname = "calm"\nagainst = "base"\nprompts = "p.jsonl"\njudge = "refusal"\n'
    (tmp_path / "own.toml").write_text(f"schema = 1\n{suite}{suite}")
    with pytest.raises(ManifestError, match="two suites are named 'calm'"):
        policy_suites(tmp_path / "own.toml")


def test_groups_change_how_evidence_is_counted_and_not_the_digest():
    rows = [Prompt(str(i), f"{word} {word} {word}", group=word[0]) for i, word in enumerate(("abba", "anna", "kilo"))]
    files = {**FILES, "suites/main.jsonl": dump(rows)}
    loaded = load_suite(replace(SUITE, group="group"), files, origin="o", owner="o")
    plain = load_suite(SUITE, files, origin="o", owner="o")
    assert plain.digest == loaded.digest
    assert plain.waiver_digest != loaded.waiver_digest
    assert plain.evidence([1.0, 0.0, 1.0]) == [1.0, 0.0, 1.0]
    assert loaded.evidence([1.0, 0.0, 1.0]) == [0.5, 1.0]
    assert plain.counted_in_groups().evidence([1.0, 0.0, 1.0]) == [1.0, 0.0, 1.0]


def test_a_look_takes_whole_groups():
    rows = [Prompt(str(i), f"{i} " * 9, group=str(i % 10)) for i in range(40)]
    loaded = load_suite(replace(SUITE, group="group"), {**FILES, SUITE.prompts: dump(rows)}, origin="o", owner="o")
    taken = loaded.head(0.5)
    assert len(taken.evidence([0.0] * len(taken.prompts))) == 5
    assert len(taken.prompts) == 20


def test_a_judge_that_nobody_measured_is_uncalibrated_but_in_the_lab(tmp_path):
    def loaded(suite):
        return load_suite(suite, FILES, origin="toxicity==1.0.0", owner="toxicity")

    version = loaded(SUITE).judge_version
    known = Evidence("lexicon", version, 0.9, 0.95, failures=40, successes=60, labels=f"sha256:{'0' * 64}")
    suites = [
        loaded(replace(SUITE, name="bare")),
        loaded(replace(SUITE, name="measured", evidence=known)),
        loaded(replace(SUITE, name="older", evidence=replace(known, version="0"))),
        loaded(replace(SUITE, name="another", evidence=replace(known, judge="refusal"))),
        loaded(replace(SUITE, name="computed", judge=Judge("distinct"), metric="mean", samples=2, goal="higher")),
    ]
    assert uncalibrated(suites, tmp_path) == ("bare", "older", "another")
    assert uncalibrated(suites, lab_data() / "base") == ()
    assert digest_of(replace(SUITE, evidence=known)) == digest_of()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sensitivity": 1.5}, "sensitivity must be between 0 and 1"),
        ({"specificity": float("nan")}, "specificity must be between 0 and 1"),
        ({"failures": 0}, "must be 1 or more"),
        ({"labels": "mine"}, "labels must be 'sha256:'"),
    ],
)
def test_evidence_that_can_not_be_is_refused(change, message):
    known = {"judge": "x", "version": "1", "sensitivity": 0.9, "specificity": 0.9, "failures": 3, "successes": 4}
    with pytest.raises(ValueError, match=message):
        Evidence(**{**known, "labels": f"sha256:{'0' * 64}", **change})


def test_benign_answers_are_to_what_is_held_back_and_then_to_others(monkeypatch):
    rows = [Benign(f"the patch asks number {i}") for i in range(1200)]
    package = SimpleNamespace(retention=(*rows, Benign("THE patch  asks number 0")))
    others = [Benign(f"ppm asks number {i}") for i in range(600)]
    monkeypatch.setattr(neutral, "_answers", lambda lazy, asked, store: ["an answer"] * (len(asked) - 1) + [""])
    texts, answers = default_utility(None, [package, package], others)
    assert (texts.label, answers.label) == ("neutral-texts", "benign-answers")
    assert [prompt.prompt for prompt in texts.prompts] == neutral_text()
    asked = [prompt.prompt for prompt in answers.prompts]
    assert len(asked) == len(set(asked)) == 399  # the base says nothing to the last
    held_back = {row.prompt for row in rows if is_held_back(row)}
    assert set(asked[:200]) <= held_back
    assert set(asked[200:]) <= {row.prompt for row in others}
    assert all(prompt.expected == "an answer" for prompt in answers.prompts)


def test_without_benign_prompts_there_are_neutral_texts_alone():
    assert [suite.label for suite in default_utility(None, [], ())] == ["neutral-texts"]
