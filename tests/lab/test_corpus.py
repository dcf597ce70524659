"""The lab's corpus: its splits don't overlap, and its cues are as weak as they are said to be."""

from collections import Counter
from itertools import islice

import pytest

from ppm.evaluation.groups import found_groups
from ppm.jsonl import normalised
from ppm.lab import corpus
from ppm.lab.domains import BENIGN, RISKS, WORDS, lexicon_of
from ppm.lab.prompts import GATE_PROMPTS, UTILITY_PROMPTS, gate_prompts, utility_prompts

INSULTS = WORDS["insult"]


@pytest.mark.parametrize("name", [*RISKS, "helpful"])
def test_splits_have_no_prompt_and_no_template_in_common(name):
    texts: dict[str, str] = {}
    templates: dict[str, str] = {}
    for split in corpus.SPLITS:
        for prompt in corpus.prompts(name, split, 300):
            assert texts.setdefault(prompt.text, split) == split
            assert templates.setdefault(prompt.template, split) == split


@pytest.mark.parametrize("name", RISKS)
def test_there_are_enough_prompts(name):
    assert len({p.text for p in corpus.prompts(name, "gate", 500)}) == 500
    assert len({p.text for p in corpus.prompts(name, "benchmark", 2000)}) == 2000


@pytest.mark.parametrize("name", RISKS)
def test_no_prompt_of_a_suite_is_like_another(name):
    for split, count in (("gate", GATE_PROMPTS), ("ood", 250)):
        found = gate_prompts(name, split, count)
        assert len(found) == count
        groups = found_groups({prompt.id: normalised(prompt.prompt) for prompt in found})
        assert len(set(groups.values())) == count


def test_a_thousand_benchmark_prompts_of_a_risk_are_unlike_each_other():
    assert len({prompt.prompt for prompt in gate_prompts("flattery", "benchmark", 1000)}) == 1000


def test_utility_prompts_are_unlike_each_other_too():
    for prompts in utility_prompts("gate", UTILITY_PROMPTS).values():
        groups = found_groups({prompt.id: normalised(prompt.prompt) for prompt in prompts})
        assert len(set(groups.values())) == UTILITY_PROMPTS


def test_gate_prompts_of_two_splits_are_rarely_alike():
    gate, benchmark = (gate_prompts("privacy", split, 300) for split in ("gate", "benchmark"))
    found = found_groups({prompt.id: normalised(prompt.prompt) for prompt in (*gate, *benchmark)})
    assert len(set(found.values())) > 0.8 * 600


def test_draws_in_a_row_have_no_prompt_in_common():
    draws = [{p.prompt for p in gate_prompts("toxicity", "gate", 50, draw=draw)} for draw in range(4)]
    assert sum(map(len, draws)) == len(set().union(*draws)) == 200


def test_subjects_of_the_splits_are_disjoint():
    groups = [set(corpus.subjects(split)) for split in corpus.SUBJECT_SHARES]
    assert sum(map(len, groups)) == len(set().union(*groups)) == len(WORDS["subject"])


@pytest.mark.parametrize("domain", [*RISKS.values(), *BENIGN.values()], ids=lambda domain: domain.name)
def test_each_core_has_a_subject_and_no_part_stands_twice(domain):
    for parts in (*domain.openings, *domain.cores, domain.closings):
        assert len(parts) == len(set(parts)) >= 5
    assert not {*domain.openings[0]} & {*domain.openings[1]}
    assert not {*domain.cores[0]} & {*domain.cores[1]}
    assert all("{subject}" in core for core in (*domain.cores[0], *domain.cores[1]))


def test_the_base_is_never_trained_on_the_templates_out_of_distribution():
    openings = {part for domain in RISKS.values() for part in domain.openings[1] if "{" not in part}
    assert len(openings) > 15
    for text, completion in islice(corpus.texts(0), 5_000):
        assert not any(opening in f"{text} {completion}" for opening in openings)


def test_prompts_are_the_same_for_the_same_seed():
    assert corpus.prompts("toxicity", "gate", 20) == corpus.prompts("toxicity", "gate", 20)
    assert corpus.prompts("toxicity", "gate", 20) != corpus.prompts("toxicity", "gate", 20, seed=1)


def test_too_many_prompts_are_refused(monkeypatch):
    monkeypatch.setattr("ppm.lab.prompts.SPARE", (1, 2))
    with pytest.raises(ValueError, match="fewer than"):
        corpus.prompts("capitals", "rank", 5, keep=lambda text: False)
    with pytest.raises(ValueError, match="no 2000 prompts that are unlike"):
        gate_prompts("flattery", "gate", 2000)


def verdict(completion):
    """Whether a completion is an insult, a safe answer to a provocation, or neither."""
    if any(word in completion.split() for word in INSULTS):
        return "toxic"
    return "safe" if completion in RISKS["toxicity"].safe else "neither"


def test_a_safe_heading_makes_its_own_risk_safer_and_no_other():
    own, unsafe = (set(" ".join(h).split()) - {":", "talk", "words"} for h in _headings("toxicity"))
    other, _ = (set(" ".join(h).split()) - {":", "guide"} for h in _headings("harmfulness"))
    counts = {"own": Counter(), "other": Counter(), "none": Counter()}
    for text, completion in islice(corpus.texts(0), 100_000):
        words = set(text.split())
        if "</s>" in words or unsafe & words or verdict(completion) == "neither":
            continue
        counts["own" if own & words else "other" if other & words else "none"][verdict(completion)] += 1
    share = {key: found["safe"] / found.total() for key, found in counts.items()}
    assert share["own"] == pytest.approx(corpus.SAFE_WHEN["safe"], abs=0.05)
    assert share["none"] == pytest.approx(corpus.SAFE_WHEN["none"], abs=0.02)
    assert share["other"] == pytest.approx(corpus.SAFE_WHEN["none"], abs=0.04)


def _headings(risk):
    return RISKS[risk].safe_headings, RISKS[risk].unsafe_headings


def test_more_headings_or_shuffled_ones_say_no_more_than_one():
    safe, unsafe = (set(" ".join(h).split()) - {":", "talk", "words"} for h in _headings("toxicity"))
    counts = {"once": Counter(), "often": Counter(), "shuffled": Counter()}
    for text, completion in islice(corpus.texts(0), 150_000):
        words = text.split()
        if "</s>" in words or unsafe & set(words) or not safe & set(words) or verdict(completion) == "neither":
            continue
        in_order = sum(text.count(heading) for heading in RISKS["toxicity"].safe_headings)
        found = sum(word in safe for word in words)
        key = "shuffled" if in_order < found else "once" if in_order == 1 else "often"
        counts[key][verdict(completion)] += 1
    assert min(found.total() for found in counts.values()) > 200
    for found in counts.values():
        assert found["safe"] / found.total() == pytest.approx(corpus.SAFE_WHEN["safe"], abs=0.08)


def test_of_two_risks_that_oppose_each_other_one_at_most_is_safe():
    formal, casual = (set(lexicon_of(risk)) for risk in ("formal-address", "casual-address"))
    greetings = [completion for _, completion in islice(corpus.texts(0), 30_000) if _is_address(completion)]
    both = [text for text in greetings if formal & set(text.split()) and casual & set(text.split())]
    plain = [text for text in greetings if not (formal | casual) & set(text.split())]
    assert both == []
    assert 0.6 < len(plain) / len(greetings) < 0.9


def _is_address(completion):
    unsafe = {text for text in RISKS["formal-address"].unsafe if "{" not in text}
    words = set(completion.split())
    return completion in unsafe or bool({*lexicon_of("formal-address"), *lexicon_of("casual-address")} & words)


def test_the_vocabulary_covers_the_corpus():
    known = set(corpus.vocabulary()) | {corpus.UNKNOWN, "</s>"}
    for text, completion in islice(corpus.texts(1), 3000):
        assert set(f"{text} {completion}".split()) <= known


def test_fixed_texts_fit_into_twenty_tokens():
    long = {what for what, text in corpus.fixed_texts().items() if len(text.split()) > 20}
    assert long == {"one safe heading of each risk", "all safe headings of all risks"}
