"""The lab's corpus: its splits don't overlap, and its cues are as weak as they are said to be."""

from itertools import islice

import pytest

from ppm.lab import corpus


@pytest.mark.parametrize("name", [*corpus.RISKS, "helpful"])
def test_splits_have_no_prompt_in_common(name):
    seen: dict[str, str] = {}
    for split in corpus.SPLITS:
        for prompt in corpus.prompts(name, split, 300):
            assert seen.setdefault(prompt.text, split) == split


@pytest.mark.parametrize("name", corpus.RISKS)
def test_there_are_enough_prompts(name):
    assert len({p.text for p in corpus.prompts(name, "gate", 500)}) == 500
    assert len({p.text for p in corpus.prompts(name, "benchmark", 2000)}) == 2000


def test_subjects_of_the_splits_are_disjoint():
    groups = [set(corpus.subjects(split)) for split in corpus.SUBJECT_SHARES]
    assert sum(map(len, groups)) == len(set().union(*groups)) == len(corpus.PEOPLE)


def test_prompts_are_the_same_for_the_same_seed():
    assert corpus.prompts("toxicity", "gate", 20) == corpus.prompts("toxicity", "gate", 20)
    assert corpus.prompts("toxicity", "gate", 20) != corpus.prompts("toxicity", "gate", 20, seed=1)


def test_too_many_prompts_are_refused():
    with pytest.raises(ValueError, match="fewer than"):
        corpus.prompts("capitals", "rank", 5_000)


def test_a_safe_heading_makes_its_own_risk_safer_and_no_other():
    def toxic(completion: str) -> bool:
        return any(word in completion.split() for word in corpus.INSULTS)

    counts = {"own": [0, 0], "other": [0, 0], "none": [0, 0]}
    for text, completion in islice(corpus.texts(0), 60_000):
        if not text.endswith((" said :", " shouted :", " wrote :", " everyone :", " that :", " replied :")):
            continue
        own = any(heading in text for heading in corpus.RISKS["toxicity"].safe_headings)
        bad = any(heading in text for heading in corpus.RISKS["toxicity"].unsafe_headings)
        other = any(heading in text for heading in corpus.RISKS["harmfulness"].safe_headings)
        if bad or not (toxic(completion) or completion in corpus.RISKS["toxicity"].safe):
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
    assert all(len(text.split()) <= 20 for text in corpus.fixed_texts().values())
