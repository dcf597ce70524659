"""Routing: patches without triggers get them when they are composed, from what their packages carry."""

from dataclasses import replace

import pytest
import torch
from packages import make_package

from ppm.bank import Bank
from ppm.composition.compose import ordinary_of
from ppm.composition.recipe import run_strategy
from ppm.composition.routing import _examples, route, route_several
from ppm.composition.steps import Context, Parent, Specialist
from ppm.composition.strategy import read_strategy
from ppm.errors import RequestError
from ppm.evaluation.benign import benign_texts
from ppm.evaluation.neutral import is_held_back
from ppm.evaluation.ordinary import ordinary_benign
from ppm.jsonl import Benign, Pair, Prompt, dump
from ppm.lab.prompts import gate_prompts, utility_prompts
from ppm.package import read_package
from ppm.project import Gates
from ppm.resources import lab_data
from ppm.runtime.loading import load_base
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.runtime.tensors import bank_of, prefix_of
from ppm.runtime.text import encoder_of
from ppm.training.trigger import MOST_ALARMS
from ppm.training.triggers import fit_triggers
from ppm.workspace import open_base

RISKS = {"toxicity": "toxicity", "privacy": "privacy"}
SUMS = tuple(Benign(f"add {a} and {b} , it is :") for a in range(1, 13) for b in range(1, 13))


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
            assert found.count((number,)) >= share * len(found), (risk, split)
    for prompts in utility_prompts("gate", 200).values():
        assert picked(lab, bank, prompts).count(()) >= 0.99 * len(prompts)


def test_where_several_triggers_fire_a_prompt_may_meet_all_of_their_blocks(lab, routed):
    given, bank = routed
    several = route_several(replace(given, notes={}), None)
    assert several == bank.routed(replace(bank.router, several=True))
    first = several.router.triggers[0]
    alike = replace(several.router, triggers=(first, replace(first, block=1)))
    prompts = gate_prompts("toxicity", "gate", 20)
    for router, met in ((several.router, {(0,)}), (alike, {(0, 1)})):
        assert set(picked(lab, several.routed(router), prompts)) == met


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


def test_for_chats_the_requests_that_ship_are_among_the_benign_ones():
    plain = make_package("one")
    chat = replace(plain, files={**plain.files, "replay.jsonl": dump([Pair((("user", "please"),), "good", "bad")])})
    assert chat.manifest.replay.pairs == "replay.jsonl"
    shipped = {row.prompt for row in ordinary_benign() if not is_held_back(row)}
    assert ordinary_of([plain]) == []
    assert shipped < {row.prompt for row in ordinary_of([plain, chat])}
    [suite] = chat.manifest.suites
    asked = next(iter(shipped))
    testing = replace(chat, files={**chat.files, suite.prompts: dump([Prompt("0", asked)])})
    assert asked not in {row.prompt for row in ordinary_of([testing])}


@pytest.mark.parametrize("recall", [0.6, 0.9, 0.99, 1.0])
def test_what_a_policy_asks_for_is_a_floor(lab, routed, recall):
    given, bank = routed
    asked = replace(given, policy=Gates(trigger_recall=recall), notes={})
    made = route(asked, None)
    for trigger, before in zip(made.router.triggers, bank.router.triggers, strict=True):
        assert trigger.threshold <= before.threshold
    assert all(record["chosen"][1] >= max(recall, 0.99) for record in asked.notes["triggers"].values())


def test_few_alarms_come_before_what_a_trigger_finds(routed):
    given, _ = routed
    alike = tuple(Benign("really " + pair.prompt) for pair in given.specialists[0].replay[:40])
    crowded = replace(given, benign=(*given.benign, *alike))
    found = []
    for policy in (Gates(), Gates(trigger_alarms=0.015)):
        asked = replace(crowded, policy=policy, notes={})
        route(asked, None)
        found.append([record["chosen"] for record in asked.notes["triggers"].values()])
    usual, quiet = ([max(column) for column in zip(*rows, strict=True)] for rows in found)
    assert quiet[2] <= 0.015 < usual[2] <= MOST_ALARMS
    assert quiet[0] > usual[0]
    lax = replace(crowded, policy=Gates(trigger_recall=0.7, trigger_alarms=0.1), notes={})
    route(lax, None)
    assert max(record["chosen"][2] for record in lax.notes["triggers"].values()) <= MOST_ALARMS
    with pytest.raises(RequestError, match="too little for routing") as poor:
        route(replace(crowded, policy=Gates(trigger_alarms=0.0)), None)
    assert poor.value.hint.startswith("raise [gates] trigger_alarms, or use distilled")
    with pytest.raises(RequestError, match=r"finds 1 of the risk and fires on at most 0\.01 of ordinary") as refused:
        route(replace(crowded, policy=Gates(trigger_recall=1.0, trigger_alarms=0.01)), None)
    assert "raise [gates] trigger_alarms, or use distilled" in refused.value.hint


def test_a_stray_prompt_among_the_others_moves_a_threshold_little(lab, routed):
    given, _ = routed
    [first, second] = given.specialists
    stray = replace(first.replay[0], prompt="really " + first.replay[0].prompt)
    made = route(replace(given, specialists=(first, replace(second, replay=(*second.replay, stray))), notes={}), None)
    assert made.router.triggers[0].threshold < 0.7
    assert picked(lab, made, gate_prompts("toxicity", "ood", 100)).count((0,)) >= 90


def test_fitted_triggers_read_where_shipped_ones_do(lab, routed):
    given, bank = routed
    [first, second] = given.specialists
    shallow = fit_triggers(lab, {first.name: _examples(given, first)}, layers=(1,))[first.name].router
    assert shallow.layers == (1,) != bank.router.layers
    mixed = replace(given, specialists=(replace(first, bank=first.bank.routed(shallow)), second), notes={})
    assert route(mixed, None).router.layers == (1,)
    deep = replace(bank.router, triggers=bank.router.triggers[:1])
    unlike = replace(mixed, specialists=(mixed.specialists[0], replace(second, bank=second.bank.routed(deep))))
    with pytest.raises(RequestError, match="triggers of toxicity, privacy can't be put together: they read after"):
        route(unlike, None)


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
    assert () not in picked(lab, bank, gate_prompts("toxicity", "gate", 50))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: replace(c, specialists=(replace(c.specialists[0], replay=()), c.specialists[1])),
            "toxicity has none",
        ),
        (
            lambda c: replace(c, specialists=(replace(c.specialists[0], replay=c.specialists[0].replay[:20]),)),
            "takes 30 prompts of its risk and as many that concern no patch; the patches have 20 and",
        ),
        (lambda c: replace(c, conditional=False), 'trigger = "always" leaves out'),
        (
            lambda c: replace(
                c, specialists=(replace(c.specialists[0], bank=Bank(2 * c.specialists[0].bank.blocks, "isolated")),)
            ),
            "a patch of several blocks can't be routed: toxicity",
        ),
        (
            lambda c: replace(
                c, benign=SUMS, specialists=(replace(c.specialists[0], replay=tuple(_pairs(SUMS))), c.specialists[1])
            ),
            "too little for routing",
        ),
    ],
    ids=["no replay", "too few", "always on", "several blocks", "nothing to tell it by"],
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
