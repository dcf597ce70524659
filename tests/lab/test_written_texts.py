"""The text that ppm's authors wrote for SmolLM2 and for chat bases: wide enough, well formed, and nothing shared."""

import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

import ppm.evaluation
from ppm.evaluation.judges.registry import make_judge
from ppm.evaluation.neutral import neutral_text
from ppm.evaluation.ordinary import plain_text
from ppm.jsonl import Prompt, normalised, read_benign, read_pairs, read_prompts
from ppm.resources import lab_manifests
from ppm.suite import Judge

SMOLLM2 = lab_manifests().parent / "smollm2"
HARM = SMOLLM2 / "harm-refusal"
SHIPPED = Path(ppm.evaluation.__file__).parent
FILES = {
    "gate": HARM / "suites" / "harm.jsonl",
    "pairs": HARM / "pairs.jsonl",
    "ranking": HARM / "ranking.jsonl",
    "examples": HARM / "examples.jsonl",
    "benign": HARM / "benign.jsonl",
    "ordinary": SHIPPED / "ordinary.jsonl",
    "ordinary-benign": SHIPPED / "ordinary-benign.jsonl",
    "facts": SMOLLM2 / "suites" / "facts.jsonl",
}
GROUPS = {"gate": 330, "examples": 1200, "benign": 340, "ordinary": 450, "ordinary-benign": 450, "facts": 150}
ALIKE = 0.6
"""The share of three-word shingles at which two prompts are near-duplicates."""


def rows(name):
    """The rows of a file as prompts; of pairs, too, whose group stands among the fields that are kept."""
    data, origin = FILES[name].read_bytes(), str(FILES[name])
    if name in ("pairs", "ranking"):
        return [Prompt(str(r.extra["id"]), r.prompt, group=str(r.extra["group"])) for r in read_pairs(data, origin)]
    return list(read_prompts(data, origin))


def pairs(name):
    found = read_pairs(FILES[name].read_bytes(), name)
    return [p for p in found if "twin_of" not in p.extra], [p for p in found if "twin_of" in p.extra]


def shingles(prompt):
    words = re.findall(r"\w+", normalised(prompt.prompt))
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def scenario(name, row):
    """What a prompt may be close to others of: its group, and for a look-alike the group that it looks like."""
    return name, row.group.removesuffix("-twin")


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_a_chat_with_a_group_and_a_kind(name):
    for row in rows(name):
        assert row.group
        roles = [role for role, _ in row.prompt]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"], row.id
        assert all(content == content.strip() and content for _, content in row.prompt), row.id
    for line in FILES[name].read_text(encoding="utf-8").splitlines():
        assert name in ("facts", "gate") or '"kind": "' in line


@pytest.mark.parametrize(("name", "least"), GROUPS.items())
def test_a_file_has_enough_groups_of_few_prompts(name, least):
    sizes = Counter(row.group for row in rows(name))
    assert len(sizes) >= least
    assert max(sizes.values()) <= 3


def test_facts_say_what_is_expected():
    assert all(row.expected for row in rows("facts"))
    assert all(row.expected is None for row in rows("ordinary"))


def test_pairs_are_wide_and_many_have_a_twin():
    (train, train_twins), (ranking, _) = pairs("pairs"), pairs("ranking")
    assert len({p.extra["group"] for p in train}) >= 400
    assert len({p.extra["group"] for p in ranking}) >= 100
    assert len({p.extra["twin_of"] for p in train_twins}) >= 200
    assert {p.extra["twin_of"] for p in train_twins} <= {p.extra["group"] for p in train}


def test_refusals_are_built_in_many_ways_and_short():
    train, _ = pairs("pairs")
    assert len({p.chosen for p in train}) >= 400
    assert len({tuple(p.chosen.split()[:4]) for p in train}) >= 60
    assert all(len(p.chosen.split()) <= 40 for p in train)


@pytest.mark.parametrize("name", ["pairs", "ranking"])
def test_the_judge_tells_refusals_from_answers(name):
    harmful, twins = pairs(name)
    scorer = make_judge(Judge("refusal"), {}, name)

    def refused(texts):
        scores = scorer.judged([(Prompt(str(i), ""), (text,)) for i, text in enumerate(texts)])
        return sum(score for row in scores for score in row) / len(scores)

    assert refused([p.chosen for p in harmful]) >= 0.97
    assert refused([p.rejected for p in harmful]) <= 0.03
    assert refused([p.chosen for p in twins]) <= 0.03
    assert refused([p.rejected for p in twins]) >= 0.9


def test_no_two_groups_have_prompts_alike():
    everything = [(name, row) for name in FILES for row in rows(name)]
    found = [shingles(row) for _, row in everything]
    where = defaultdict(list)
    close = []
    for i, own in enumerate(found):
        shared = Counter(j for shingle in own for j in where[shingle])
        for j, count in shared.items():
            if scenario(*everything[i]) != scenario(*everything[j]) and count / len(own | found[j]) >= ALIKE:
                close.append((everything[i][1].prompt, everything[j][1].prompt))
        for shingle in own:
            where[shingle].append(i)
    assert close == []


def test_no_prompt_and_no_group_of_risk_stands_in_two_files():
    prompts = Counter(normalised(row.prompt) for name in FILES for row in rows(name))
    assert [text for text, count in prompts.items() if count > 1] == []
    groups = [{row.group for row in rows(name)} for name in ("gate", "pairs", "ranking", "examples")]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_plain_sentences_are_none_of_the_neutral_ones():
    plain = [row.prompt for row in plain_text()]
    assert len(set(plain)) == len(plain) >= 150
    neutral = [shingles(Prompt("", text)) for text in neutral_text()]
    found = [shingles(Prompt("", text)) for text in plain]
    assert not [own for own in found for other in neutral if len(own & other) / len(own | other) >= 0.3]


def test_benign_files_read_as_training_text_and_all_is_small():
    for name in ("benign", "ordinary-benign"):
        assert all(row.completion is None for row in read_benign(FILES[name].read_bytes(), name))
    assert sum(path.stat().st_size for path in FILES.values()) < 1_500_000


def test_examples_are_of_both_kinds():
    found = [row.extra["concerns"] for row in read_benign(FILES["examples"].read_bytes(), "examples")]
    assert found.count(True) >= 800
    assert found.count(False) >= 400
