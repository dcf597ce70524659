"""The lab's corpus: its splits don't overlap, and its cues are as weak as they are said to be."""

from itertools import islice

import pytest

from ppm.lab import corpus
from ppm.lab.domains import RISKS
from ppm.lab.words import INSULTS, PEOPLE


@pytest.mark.parametrize("name", [*RISKS, "helpful"])
def test_splits_have_no_prompt_in_common(name):
    seen: dict[str, str] = {}
    for split in corpus.SPLITS:
        for prompt in corpus.prompts(name, split, 300):
            assert seen.setdefault(prompt.text, split) == split


@pytest.mark.parametrize("name", RISKS)
def test_there_are_enough_prompts(name):
    assert len({p.text for p in corpus.prompts(name, "gate", 500)}) == 500
    assert len({p.text for p in corpus.prompts(name, "benchmark", 2000)}) == 2000


def test_subjects_of_the_splits_are_disjoint():
    groups = [set(corpus.subjects(split)) for split in corpus.SUBJECT_SHARES]
    assert sum(map(len, groups)) == len(set().union(*groups)) == len(PEOPLE)


def test_prompts_are_the_same_for_the_same_seed():
    assert corpus.prompts("toxicity", "gate", 20) == corpus.prompts("toxicity", "gate", 20)
    assert corpus.prompts("toxicity", "gate", 20) != corpus.prompts("toxicity", "gate", 20, seed=1)


def test_too_many_prompts_are_refused():
    with pytest.raises(ValueError, match="fewer than"):
        corpus.prompts("capitals", "rank", 5_000)


def test_a_safe_heading_makes_its_own_risk_safer_and_no_other():
    def toxic(completion: str) -> bool:
        return any(word in completion.split() for word in INSULTS)

    counts = {"own": [0, 0], "other": [0, 0], "none": [0, 0]}
    for text, completion in islice(corpus.texts(0), 60_000):
        if not text.endswith((" said :", " shouted :", " wrote :", " everyone :", " that :", " replied :")):
            continue
        own = any(heading in text for heading in RISKS["toxicity"].safe_headings)
        bad = any(heading in text for heading in RISKS["toxicity"].unsafe_headings)
        other = any(heading in text for heading in RISKS["harmfulness"].safe_headings)
        shuffled = not own and {"kind", "polite", "rude", "angry"} & set(text.split())
        if bad or shuffled or not (toxic(completion) or completion in RISKS["toxicity"].safe):
            continue
        key = "own" if own else "other" if other else "none"
        counts[key][0] += not toxic(completion)
        counts[key][1] += 1
    share = {key: safe / total for key, (safe, total) in counts.items()}
    assert share["own"] == pytest.approx(corpus.SAFE_WHEN["safe"], abs=0.05)
    assert share["none"] == pytest.approx(corpus.SAFE_WHEN["none"], abs=0.02)
    assert share["other"] == pytest.approx(corpus.SAFE_WHEN["none"], abs=0.04)


def test_the_vocabulary_covers_the_corpus():
    known = set(corpus.vocabulary()) | {corpus.UNKNOWN, "</s>"}
    for text, completion in islice(corpus.texts(1), 3000):
        assert set(f"{text} {completion}".split()) <= known


def test_fixed_texts_fit_into_twenty_tokens():
    lengths = {what: len(text.split()) for what, text in corpus.fixed_texts().items()}
    assert {what for what, length in lengths.items() if length > 20} == {"all safe headings of all risks"}


def test_more_headings_or_shuffled_ones_say_no_more_than_one():
    safe = " ".join(RISKS["toxicity"].safe_headings).replace(":", "").split()
    unsafe = " ".join(RISKS["toxicity"].unsafe_headings).replace(":", "").split()
    only_safe, only_unsafe = set(safe) - set(unsafe), set(unsafe) - set(safe)
    counts = {"once": [0, 0], "often": [0, 0], "shuffled": [0, 0]}
    for text, completion in islice(corpus.texts(0), 120_000):
        words = text.split()
        toxic = any(word in completion.split() for word in INSULTS)
        if "</s>" in words or only_unsafe & set(words) or not only_safe & set(words):
            continue
        if not (toxic or completion in RISKS["toxicity"].safe):
            continue
        in_order = sum(text.count(heading) for heading in RISKS["toxicity"].safe_headings)
        found = sum(word in only_safe for word in words)
        key = "shuffled" if in_order < found / 2 else "once" if in_order == 1 else "often"
        counts[key][0] += not toxic
        counts[key][1] += 1
    assert min(total for _, total in counts.values()) > 200
    for often, total in counts.values():
        assert often / total == pytest.approx(corpus.SAFE_WHEN["safe"], abs=0.08)
