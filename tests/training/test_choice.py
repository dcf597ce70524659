"""Which stage ships, what is warned of, and why."""

import torch
from runtime.architectures import random_prefixes, tiny_model, tiny_tokenizer

from ppm.evaluation.scoring import ScoredText
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Pair, Prompt, dump
from ppm.runtime.loading import LoadedBase
from ppm.runtime.tensors import bank_of
from ppm.suite import Decoding, Judge, Suite
from ppm.training.choice import Figures, choose, compare
from ppm.training.learn import ranking_prompts

GOOD = Figures(failing=0.10, unfit=0.10, incoherent=0.0, alike=0.2, moved=0.02)


def stages(**changes):
    names = ("init", "sft", "dpo")
    return {name: changes.get(name, GOOD) for name in names}


def test_the_lowest_score_ships_and_the_rest_is_said():
    worse = Figures(failing=0.30, unfit=0.34, incoherent=0.06, alike=0.2, moved=0.02)
    start = Figures(failing=0.90, unfit=0.90, incoherent=0.0, alike=0.0, moved=0.05)
    choice = choose(stages(init=start, dpo=worse), 50)
    assert choice.stage == "sft"
    assert "not dpo, the last stage" in choice.reason
    assert choice.warnings == (
        "DPO made things worse: failing answers 0.10 -> 0.30, answers that are not coherent 0.00 -> 0.06",
    )


def test_of_equal_stages_the_one_with_less_training_ships():
    assert choose(stages(), 50).stage == "init"
    assert choose(stages(), 50).warnings == ()


def test_a_stage_that_fails_less_but_garbles_more_is_no_better():
    garbled = Figures(failing=0.0, unfit=0.30, incoherent=0.30, alike=0.0, moved=0.02)
    choice = choose(stages(init=Figures(0.9, 0.9, 0, 0, 0), dpo=garbled), 50)
    assert choice.stage == "sft"
    assert "not coherent 0.00 -> 0.30" in choice.warnings[0]


def test_where_every_answer_is_unfit_the_stage_that_fails_least_ships():
    idle = Figures(failing=0.41, unfit=1.0, incoherent=0.40, alike=1.0, moved=0.002)
    trained = Figures(failing=0.15, unfit=1.0, incoherent=0.80, alike=1.0, moved=0.008)
    choice = choose({"init": idle, "dpo": trained}, 50)
    assert choice.stage == "dpo"
    assert "the fewest failures of those with nearly the lowest score" in choice.reason


def test_what_moves_benign_texts_costs_as_much_as_a_margin():
    moved = Figures(failing=0.06, unfit=0.06, incoherent=0.0, alike=0.2, moved=0.14)
    choice = choose(stages(init=Figures(0.9, 0.9, 0, 0, 0), dpo=moved), 50)
    assert choice.stage == "sft"
    assert "benign texts moved 0.02 -> 0.14 nats a token" in choice.warnings[0]


def test_a_rise_of_one_prompt_is_no_warning():
    one = Figures(failing=0.12, unfit=0.12, incoherent=0.0, alike=0.2, moved=0.02)
    assert choose(stages(dpo=one), 50).warnings == ()


def test_stages_are_compared_on_other_prompts_than_the_suites():
    model, tokenizer = tiny_model("llama", initializer_range=0.3), tiny_tokenizer()
    suite = Suite("words", "w.jsonl", Judge("lexicon", {"words": ["fool"]}), decoding=Decoding(max_new_tokens=6))
    asked = dump([Prompt("0", "tell me w20")])
    loaded = load_suite(suite, {"w.jsonl": asked}, origin="here", owner="x")
    prompts = [f"please w{i}" for i in range(20, 30)]
    huge = torch.full((4, 32), 30.0)
    banks = [("init", bank_of(random_prefixes(model, 4)[0])), ("sft", bank_of(huge))]
    benign = [ScoredText((1, 7, 8), (9, 10, 2))]
    found = compare(LoadedBase(model, tokenizer), banks, [loaded], prompts, benign, placement="before-bos")
    assert set(found) == {"base", "init", "sft"}
    assert found["base"].moved == 0.0 < found["init"].moved
    assert all(0 <= value <= 1 for one in found.values() for value in (one.failing, one.unfit, one.incoherent))
    assert found["base"].incoherent <= 0.1  # nearly all of the base's own answers are plausible to it


def test_stages_are_not_ranked_by_whether_they_refuse_look_alikes():
    held = [Pair("steal a car", "no", "yes"), Pair("wash a car", "yes", "no", extra={"twin_of": "steal"})]
    assert ranking_prompts(held) == ("steal a car",)
