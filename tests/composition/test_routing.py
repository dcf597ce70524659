"""Routing: patches without triggers get them when they are composed, from what their packages carry."""

from dataclasses import replace

import pytest
import torch

from ppm.composition.recipe import run_strategy
from ppm.composition.routing import route
from ppm.composition.steps import Context, Parent, Specialist
from ppm.composition.strategy import read_strategy
from ppm.errors import RequestError
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.ordinary import ordinary_benign
from ppm.jsonl import Benign, Pair
from ppm.lab.prompts import gate_prompts, utility_prompts
from ppm.package import read_package
from ppm.resources import lab_data
from ppm.runtime.loading import load_base
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.runtime.tensors import bank_of, prefix_of
from ppm.runtime.text import encoder_of
from ppm.workspace import open_base

RISKS = {"toxicity": "toxicity", "privacy": "privacy"}
SUMS = tuple(Benign(f"add {a} and {b} , it is :") for a in range(1, 9) for b in range(1, 9))


@pytest.fixture(scope="module")
def lab():
    return load_base(open_base("lab"))


def specialist(name, rows=150):
    package = read_package(next((lab_data() / "packages").glob(f"{name}-*.ppm")))
    return Specialist(name, package.bank, package.replay[:rows], None), package.retention


def context(lab, *names, **changes):
    found = [specialist(name) for name in names]
    benign = tuple(row for _, rows in found for row in rows)
    settings = {"base": lab, "placement": "before-bos", "retention": (), "benign": benign, **changes}
    return Context(specialists=tuple(one for one, _ in found), **settings)


def picked(lab, bank, prompts):
    inner, encoder = backbone_of(attach(lab.model)).inner, encoder_of(lab)
    ids = [encoder.prompt(prompt.prompt) for prompt in prompts]
    return picks(inner, [bank.router] * len(ids), ids)


@pytest.fixture(scope="module")
def routed(lab):
    """A context and what routing makes of it."""
    given = context(lab, *RISKS)
    return given, route(given, None)


def test_each_prompt_meets_its_own_patch_and_others_the_base(lab, routed):
    given, bank = routed
    assert bank.arrangement == "routed"
    assert [(t.block, t.patch) for t in bank.router.triggers] == list(enumerate(RISKS))
    assert [block.values for block in bank.blocks] == [s.bank.blocks[0].values for s in given.specialists]
    for number, risk in enumerate(RISKS.values()):
        for split, share in (("gate", 0.99), ("ood", 0.9)):
            found = picked(lab, bank, gate_prompts(risk, split, 100))
            assert found.count(number) >= share * len(found), (risk, split)
    for prompts in utility_prompts("gate", 200).values():
        assert picked(lab, bank, prompts).count(None) >= 0.99 * len(prompts)


def test_a_patch_that_spares_benign_answers_stands_in_front_of_more_prompts(lab, routed):
    given, bank = routed
    texts = benign_texts(lab, given.benign[:60], seed=0)
    made = route(replace(given, retention=tuple(texts), notes={}), None)
    for trigger, before in zip(made.router.triggers, bank.router.triggers, strict=True):
        assert trigger.threshold < before.threshold
    destructive = tuple(replace(s, bank=bank_of(20 * prefix_of(s.bank))) for s in given.specialists)
    worse = route(replace(given, specialists=destructive, retention=tuple(texts), notes={}), None)
    pairs = list(zip(made.router.triggers, worse.router.triggers, strict=True))
    assert all(trigger.threshold <= other.threshold and trigger.weight == other.weight for trigger, other in pairs)
    assert any(trigger.threshold < other.threshold for trigger, other in pairs)


def test_what_was_measured_is_noted(routed):
    given, bank = routed
    noted = given.notes["triggers"]
    assert list(noted) == list(RISKS)
    for trigger, record in zip(bank.router.triggers, noted.values(), strict=True):
        assert record["threshold"] == pytest.approx(trigger.threshold, abs=1e-6)
        assert record["positives"] == 150
        recall, alarms = record["chosen"][1:3]
        assert recall >= 0.99
        assert alarms <= 0.01


def test_for_chats_the_requests_that_ship_are_among_the_benign_ones(lab, monkeypatch):
    given, seen = context(lab, *RISKS), []
    monkeypatch.setattr("ppm.composition.routing.fit_triggers", lambda base, rows, **_: seen.append(rows) or {})
    chats = [tuple(replace(p, prompt=(("user", p.prompt),)) for p in s.replay) for s in given.specialists]
    chatting = tuple(replace(s, replay=own) for s, own in zip(given.specialists, chats, strict=True))
    for specialists in (given.specialists, chatting):
        with pytest.raises(RequestError):  # nothing was fitted
            route(replace(given, specialists=specialists), None)
    plain, chat = ({row.prompt for row in rows["toxicity"] if not row.positive} for rows in seen)
    shipped = {row.prompt for row in ordinary_benign() if not is_held_back(row)}
    assert not shipped & plain
    assert shipped < chat


def test_a_policy_says_how_much_triggers_find(lab, routed):
    given, bank = routed
    asked = replace(given, trigger_recall=0.9, notes={})
    made = route(asked, None)
    for trigger, before in zip(made.router.triggers, bank.router.triggers, strict=True):
        assert trigger.threshold > before.threshold
    assert [record["chosen"][1] for record in asked.notes["triggers"].values()] == [0.9] * 2


def test_triggers_that_patches_have_are_taken_as_they_are(lab, routed):
    given, bank = routed
    own = replace(bank.router, triggers=(replace(bank.router.triggers[0], threshold=0.321),))
    [first, second] = given.specialists
    mixed = replace(given, specialists=(replace(first, bank=first.bank.routed(own)), second), notes={})
    made = route(mixed, None)
    assert made.router.triggers[0] == own.triggers[0]
    assert list(mixed.notes["triggers"]) == ["privacy"]
    assert made.router.triggers[1].patch == "privacy"
    assert made.router.triggers[1].threshold == pytest.approx(bank.router.triggers[1].threshold, abs=1e-3)


def test_what_two_patches_have_concerns_both(lab):
    """Two patches with the same prompts: neither's are held against the other."""
    given = context(lab, "toxicity")
    [one] = given.specialists
    twin = replace(one, name="twin", bank=bank_of(torch.ones(3, 128)))
    bank = route(replace(given, specialists=(one, twin)), None)
    assert None not in picked(lab, bank, gate_prompts("toxicity", "gate", 50))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: replace(c, specialists=(replace(c.specialists[0], replay=()), c.specialists[1])),
            "toxicity has none",
        ),
        (
            lambda c: replace(c, specialists=(replace(c.specialists[0], replay=c.specialists[0].replay[:20]),)),
            "a trigger for toxicity takes 30 prompts of its risk and as many others; the patches have 20 and",
        ),
        (lambda c: replace(c, conditional=False), 'trigger = "always" leaves out'),
        (
            lambda c: replace(
                c, benign=SUMS, specialists=(replace(c.specialists[0], replay=tuple(_pairs(SUMS))), c.specialists[1])
            ),
            "a trigger for toxicity",
        ),
    ],
    ids=["no replay", "too few", "always on", "nothing to tell it by"],
)
def test_what_can_not_be_routed_is_one_message(lab, change, words):
    with pytest.raises(RequestError) as told:
        route(change(context(lab, *RISKS)), None)
    assert words in told.value.message
    assert told.value.hint


def _pairs(rows):
    """Half of the rows, in no order that a trigger could learn."""
    return [Pair(row.prompt, "good", "bad") for i, row in enumerate(rows) if (i * 7919) % 13 < 7]


def test_nothing_goes_on_from_several_blocks(lab, routed):
    given, bank = routed
    assert len(bank.blocks) == 2
    with pytest.raises(RequestError, match="no one prefix to continue from"):
        run_strategy(read_strategy("continued"), replace(given, parent=Parent(bank, "sha256:" + "0" * 64)))
