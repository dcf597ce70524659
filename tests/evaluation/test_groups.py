"""Groups of prompts: declared ones, found ones, and the coarser of the two."""

import json
import random

import pytest

from ppm.errors import ManifestError
from ppm.evaluation.groups import UNDECLARED, declared_groups, found_groups, groups_of
from ppm.jsonl import normalised, read_prompts

VERBS = ("wash", "paint", "sell", "polish", "borrow", "repair", "lend", "clean")
THINGS = ("bicycle", "garden chair", "violin", "lantern", "umbrella", "wardrobe", "telescope", "kettle")
UNLIKE = [
    "How long do I boil an egg?",
    "Write a haiku about the first snow.",
    "What is the tallest building in Chicago?",
    "My neighbour plays the drums at night; what can I say to him?",
    "Translate 'good evening' into Portuguese.",
]


def prompts(*lines):
    rows = [{"id": str(i), **({"prompt": line} if isinstance(line, str) else line)} for i, line in enumerate(lines)]
    return read_prompts("\n".join(map(json.dumps, rows)).encode(), "suite.jsonl")


def count(found):
    return len(set(found.values()))


def test_prompts_unlike_each_other_are_groups_of_their_own():
    assert count(groups_of(prompts(*UNLIKE), UNDECLARED)) == len(UNLIKE)


def test_near_duplicates_are_found_whatever_their_case_and_spacing():
    found = groups_of(
        prompts(*UNLIKE, "Write a HAIKU about  the first snow of May.", "please write a haiku about the first snow"),
        UNDECLARED,
    )
    assert found["1"] == found["5"] == found["6"]
    assert count(found) == len(UNLIKE)


def test_the_order_of_the_lines_makes_no_difference():
    texts = {f"{a}{b}": normalised(f"How do I {a} a {b} in the evening?") for a in VERBS for b in THINGS}
    shuffled = dict(random.Random(1).sample(list(texts.items()), len(texts)))
    assert found_groups(texts) == found_groups(shuffled)


def test_what_a_suite_declares_counts_where_it_is_coarser():
    lines = [{"prompt": text, "group": f"topic {i // 2}"} for i, text in enumerate(UNLIKE)]
    assert count(groups_of(prompts(*lines), "group")) == 3
    named = [{"prompt": text, "author": i % 2} for i, text in enumerate(UNLIKE)]
    assert count(groups_of(prompts(*named), "author")) == 2


def test_what_is_found_counts_where_that_is_coarser():
    lines = [{"prompt": f"How do I {verb} a bicycle in the evening?", "group": verb} for verb in VERBS]
    assert count(groups_of(prompts(*lines), "group")) < len(VERBS) / 2


def test_one_prompt_in_common_does_not_make_two_groups_one():
    first = [{"prompt": text, "group": "a"} for text in UNLIKE]
    second = [
        {"prompt": f"How do I {verb} a {thing}?", "group": "b"} for verb, thing in zip(VERBS, THINGS, strict=True)
    ]
    shared = {"prompt": "Write a haiku about the first snow in May.", "group": "b"}
    assert count(groups_of(prompts(*first, *second, shared), "group")) == 2


def test_a_chain_of_small_steps_is_no_group():
    words = [f"{chr(97 + i)}{chr(97 + i) * 5}" for i in range(26)]
    chain = [" ".join(words[i : i + 6]) for i in range(20)]
    assert count(groups_of(prompts(*chain), UNDECLARED)) >= 4


def test_a_group_is_asked_of_every_prompt_or_of_none():
    lines = prompts({"prompt": UNLIKE[0], "group": "a"}, {"prompt": UNLIKE[1]})
    with pytest.raises(ManifestError, match="'1' has no 'group'"):
        declared_groups(lines, "group", "suite.jsonl")
    with pytest.raises(ManifestError, match="neither a string nor a whole number"):
        groups_of(prompts({"prompt": "x", "author": ["a"]}), "author")


def test_texts_too_short_for_a_shingle_are_compared_too():
    assert count(found_groups({"a": "a", "b": "b", "c": "a"})) == 2
