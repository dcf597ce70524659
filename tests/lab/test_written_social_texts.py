"""The text that patches for real bases were written with: wide enough, well formed, and nothing shared."""

import re
from collections import Counter, defaultdict

import pytest

from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Prompt, last_turn, normalised, read_benign, read_pairs, read_prompts
from ppm.resources import lab_manifests
from ppm.suite import Judge

MANIFESTS = lab_manifests().parent
SUITES = {
    "smollm2/gender-bias": "gender",
    "smollm2/civility": "civility",
    "gemma3-270m/gender-bias": "gender",
    "gemma3-270m/civility": "civility",
    "gemma3-270m/harm-refusal": "harm",
    "smollm2/study-honesty": "study-honesty",
    "smollm2/privacy": "privacy",
    "smollm2/money-advice": "money-advice",
}
DECLINES = {"study-honesty", "privacy", "money-advice"}
"""Suites of patches that decline one kind of request: each of their files has another part of the text."""
PARTS = ("gate", "pairs", "ranking", "benign")
LEAST = {"gate": 250, "pairs": 400, "ranking": 100, "benign": 250}
LEAST_DECLINED = {"gate": 250, "pairs": 300, "ranking": 95, "benign": 350}
ALIKE = 0.6
"""The share of three-word shingles at which two prompts are near-duplicates."""
FRAME = re.compile(r"^(Question|Q|User|Message|\w+ wrote|\w+): |\n(Answer|A|Assistant|Reply|\w+ answered|\w+):$")


def path_of(patch, part):
    """Of `benign`: where those that ship with ppm are trained on, the file of what is no risk is `examples`."""
    folder = MANIFESTS / patch
    part = "examples" if part == "benign" and SUITES[patch] in DECLINES else part
    return folder / "suites" / f"{SUITES[patch]}.jsonl" if part == "gate" else folder / f"{part}.jsonl"


def read(patch, part):
    path = path_of(patch, part)
    reader = {"gate": read_prompts, "benign": read_benign}.get(part, read_pairs)
    return reader(path.read_bytes(), str(path))


def group_of(row):
    return row.group if isinstance(row, Prompt) else row.extra["group"]


def judge(patch):
    if SUITES[patch] == "civility":
        words = (MANIFESTS / patch / "suites" / "uncivil.txt").read_text(encoding="utf-8").splitlines()
        return make_judge(Judge("lexicon", {"words": [word for word in words if word]}), {}, patch)
    return make_judge(Judge("gendered-words" if SUITES[patch] == "gender" else "refusal"), {}, patch)


def judged(scorer, texts):
    scores = scorer.judged([(Prompt(str(number), ""), (text,)) for number, text in enumerate(texts)])
    return [score for row in scores for score in row]


def shingles(text):
    words = re.findall(r"\w+", FRAME.sub(" ", normalised(text)))
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


@pytest.mark.parametrize("patch", SUITES)
def test_files_have_enough_groups_and_no_group_stands_in_two(patch):
    least = LEAST_DECLINED if SUITES[patch] in DECLINES else LEAST
    groups = {part: [group_of(row) for row in read(patch, part)] for part in ("gate", "pairs", "ranking")}
    for part, found in groups.items():
        assert len(found) == len(set(found)) >= least[part]
    assert sum(map(len, groups.values())) == len(set().union(*groups.values()))
    assert len(read(patch, "benign")) >= least["benign"]


@pytest.mark.parametrize("patch", SUITES)
def test_prompts_are_chats_or_beginnings_as_the_base_takes_them(patch):
    for part in PARTS:
        for row in read(patch, part):
            if patch.startswith("smollm2"):
                assert [role for role, _ in row.prompt] == ["user"]
            else:
                assert isinstance(row.prompt, str)
            text = last_turn(row.prompt)
            assert text == text.strip()
            assert 1 <= len(text.split()) <= 80


@pytest.mark.parametrize("patch", SUITES)
def test_no_two_prompts_of_a_patch_are_alike(patch):
    rows = [(part, row) for part in PARTS for row in read(patch, part)]
    found = [shingles(last_turn(row.prompt)) for _, row in rows]
    where, close = defaultdict(list), []
    for i, own in enumerate(found):
        shared = Counter(j for shingle in own for j in where[shingle])
        for j, count in shared.items():
            # Short ordinary requests may share a frame ("What is ..."); a look-alike may resemble what it looks like.
            twins = "benign" in (rows[i][0], rows[j][0]) or "twin_of" in {**_extra(rows[i][1]), **_extra(rows[j][1])}
            if not (twins and rows[i][0] == rows[j][0]) and count / len(own | found[j]) >= ALIKE:
                close.append((rows[i][1].prompt, rows[j][1].prompt))
        for shingle in own:
            where[shingle].append(i)
    assert close == []


def _extra(row):
    return row.extra


@pytest.mark.parametrize("patch", SUITES)
@pytest.mark.parametrize("part", ["pairs", "ranking"])
def test_the_judge_tells_the_chosen_from_the_rejected(patch, part):
    rows, scorer = read(patch, part), judge(patch)
    risky = [row for row in rows if "twin_of" not in row.extra]
    good, bad = (1.0, 0.0) if SUITES[patch] in {"harm", *DECLINES} else (0.0, 1.0)
    right = (
        judged(scorer, [row.chosen for row in risky]).count(good),
        judged(scorer, [row.rejected for row in risky]).count(bad),
    )
    assert min(right) >= 0.97 * len(risky)  # a judge may err now and then
