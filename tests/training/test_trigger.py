"""Triggers are fitted on a patch's own prompts, held back by group, and ship only where they measure well."""

import random
from dataclasses import replace

import pytest
import torch
from packages import make_bank, make_package, make_routed, make_trigger
from runtime.architectures import tiny_model, tiny_tokenizer

from ppm.bank_table import Turn
from ppm.composition.operating import bank_under
from ppm.composition.routing import behind_triggers, route
from ppm.composition.steps import Context, Specialist
from ppm.errors import RequestError
from ppm.evaluation.neutral import neutral_text
from ppm.evaluation.ordinary import plain_text
from ppm.jsonl import Benign, Pair
from ppm.project import Gates
from ppm.resources import lab_manifests
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import probabilities
from ppm.runtime.text import encoder_of
from ppm.runtime.turns import turn_of
from ppm.training.material import FOLDS, LEAST_COMPOUNDS, gather
from ppm.training.source import read_source
from ppm.training.trigger import examples, examples_of, fit_trigger, folds_of, layers_of
from ppm.training.triggers import fit_triggers

TEMPLATE = (
    "{% for m in messages %}{{ 'w90 w91 ' if m.role == 'user' else 'w94 ' }}{{ m.content }}{{ ' w92 ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'w94 ' }}{% endif %}"
)


def base(template=None):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    return LoadedBase(tiny_model("llama"), tokenizer)


def prompts(first, count, seed):
    """Different prompts that begin with one word."""
    rng = random.Random(seed)
    found = dict.fromkeys(f"{first} w{rng.randrange(20, 60)} w{rng.randrange(20, 60)}" for _ in range(2 * count))
    return list(found)[:count]


def pairs(rows, **extra):
    return [Pair(row, "good", "bad", extra=extra) for row in rows]


def data(extra=()):
    return examples([*pairs(prompts("hello", 60, 0)), *extra], [Benign(row) for row in prompts("thank", 60, 1)])


def test_a_trigger_tells_the_risks_prompts_from_benign_ones():
    own = base()
    fitted = fit_trigger(own, data(), patch="kind")
    assert fitted.ships
    assert fitted.at.recall > 0.95
    assert fitted.at.false_alarms < 0.05
    [trigger] = fitted.router.triggers
    assert (fitted.positives, fitted.negatives, trigger.patch) == (60, 60, "kind")
    assert "fires on" in fitted.words()
    inner, encoder = backbone_of(attach(own.model)).inner, encoder_of(own)
    for first, fires in (("hello", True), ("thank", False)):
        found = probabilities(inner, fitted.router, [encoder.prompt(p) for p in prompts(first, 30, 7)])
        share = float((found >= trigger.threshold).float().mean())
        assert (share > 0.9) is fires
        assert (share < 0.1) is not fires


def test_the_same_prompts_give_the_same_trigger():
    assert fit_trigger(base(), data()).router == fit_trigger(base(), data()).router


def test_where_prompts_can_not_be_told_apart_no_trigger_ships():
    rows = prompts("hello", 120, 0)
    fitted = fit_trigger(base(), examples(pairs(rows[:60]), [Benign(row) for row in rows[60:]]))
    assert not fitted.ships


def test_a_curve_falls_from_everything_to_little():
    record = fit_trigger(base(), data()).record
    curve = record["curve"]
    assert record["shares"] == ["threshold", "recall", "false_alarms"]
    assert [point[1] for point in curve] == sorted((point[1] for point in curve), reverse=True)
    assert [point[2] for point in curve] == sorted((point[2] for point in curve), reverse=True)
    assert curve[0][1] == 1.0
    assert len(curve) <= 15


def test_look_alikes_are_negative_and_keep_their_group():
    marked = [
        Pair("hello you", "bad", "no", extra={"twin_of": "a", "group": "a-twin"}),
        Pair("hello fool", "no", "bad", extra={"id": "a-1", "group": "a"}),
    ]
    found = {
        e.prompt: e for e in examples([*marked, *pairs(["hello me"])], [Benign("thank you", extra={"group": "t"})])
    }
    assert {prompt: (e.positive, e.twin) for prompt, e in found.items()} == {
        "hello you": (False, True), "hello fool": (True, True), "hello me": (True, False), "thank you": (False, False)
    }  # fmt: skip
    assert found["hello you"].group == found["hello fool"].group == "a"
    twins = pairs(prompts("hello thank", 50, 3), twin_of="x")
    assert fit_trigger(base(), data(twins)).at.look_alikes is not None


def test_a_prompt_of_both_kinds_is_of_neither():
    found = examples(pairs(["hello you", "Hello  YOU", "hello me"]), [Benign("hello you"), Benign("thank you")])
    assert {e.prompt for e in found} == {"hello me", "thank you"}


def test_a_trigger_for_a_base_that_goes_on_with_texts_is_silent_on_plain_sentences():
    source = read_source(lab_manifests().parent / "gemma3-270m" / "gender-bias")
    without, found = (examples_of(source, chats=False, plain=plain) for plain in (False, True))
    added = {example.prompt for example in found} - {example.prompt for example in without}
    assert len(added) > 100
    assert added <= {row.prompt for row in plain_text()}
    assert not any(example.positive for example in found if example.prompt in added)
    assert not added & {*neutral_text(), *(prompt.prompt for prompt in source.tested())}


def test_examples_say_whether_the_patch_concerns_them():
    marked = [Benign("hello me", extra={"concerns": True}), Benign("thank you", extra={"concerns": False})]
    found = {e.prompt: e.positive for e in examples(pairs(["hello fool"]), marked)}
    assert found == {"hello fool": True, "hello me": True, "thank you": False}


@pytest.mark.parametrize(("depth", "layers"), [(30, (12, 15, 18, 22)), (18, (7, 9, 10, 13)), (4, (1, 2, 3)), (2, (1,))])
def test_two_fifths_to_three_quarters_of_the_layers_are_read(depth, layers):
    assert layers_of(depth) == layers


def test_where_a_template_puts_the_user_is_told_from_rendered_chats():
    tokenizer = base(TEMPLATE).tokenizer
    turn = turn_of(tokenizer)
    assert (tokenizer.decode(turn.opening), tokenizer.decode(turn.closing)) == ("w90 w91", "w92 w94")
    assert turn_of(tokenizer_with("{{ raise_exception('no') }}")) is None
    assert turn_of(base().tokenizer) is None
    only_one = "{% if messages | length > 1 %}{{ raise_exception('one') }}{% endif %}w70 {{ messages[0].content }} w80"
    turn = turn_of(tokenizer_with(only_one))
    assert tokenizer.decode(turn.closing) == "w80"


def tokenizer_with(template):
    return base(template).tokenizer


def test_chats_are_read_where_their_user_speaks():
    own = base(TEMPLATE)
    as_chats = [type(e)((("user", str(e.prompt)),), e.positive, e.group, e.twin) for e in data()]
    assert fit_trigger(own, as_chats).ships


def sentences(first, count, seed):
    """Different requests of one sentence that begin with one word."""
    return [f"{row} w{30 + i % 20} ." for i, row in enumerate(prompts(first, count, seed))]


def base_with_sentences():
    own = base(TEMPLATE)
    own.tokenizer.add_tokens(["."])
    own.model.resize_token_embeddings(len(own.tokenizer), mean_resizing=False)
    assert turn_of(own.tokenizer).ends == (len(own.tokenizer) - 1,)
    return own


def as_chats(rows):
    return [(("user", row),) for row in rows]


def test_a_risk_that_stands_among_other_requests_is_found():
    own = base_with_sentences()
    risky, harmless = sentences("hello", 90, 0), sentences("thank", 200, 1)
    rows = examples(pairs(as_chats(risky)), [Benign(row) for row in as_chats(harmless)])
    fitted = fit_trigger(own, rows)
    assert fitted.ships
    assert fitted.router.turn.ends
    recall, alarms = fitted.record["among_others"]
    assert recall > 0.9 > 0.1 > alarms
    assert "among other requests, on" in fitted.words()
    inner, encoder = backbone_of(attach(own.model)).inner, encoder_of(own)
    new_risky, new_harmless = sentences("hello", 30, 7), sentences("thank", 120, 8)

    def share(rows):
        found = probabilities(inner, fitted.router, [encoder.prompt(row) for row in as_chats(rows)])
        return float((found >= fitted.at.threshold).float().mean())

    hidden = [" ".join((*new_harmless[3 * i : 3 * i + 2], risky)) for i, risky in enumerate(new_risky)]
    assert share(hidden) > 0.8
    assert share([" ".join(new_harmless[3 * i : 3 * i + 3]) for i in range(30)]) < 0.2


def test_examples_of_one_group_prove_nothing():
    folds = {int(fold): f"group {i}" for i, fold in enumerate(folds_of([f"group {i}" for i in range(40)]))}
    for groups in ([folds[0]] * 2, [folds[0], folds[1]], [folds[0], folds[1], folds[2]]):
        first, *others = groups
        benign = [
            Benign(row, extra={"group": others[i % len(others)]}) for i, row in enumerate(prompts("thank", 60, 1))
        ]
        fitted = fit_trigger(base(), examples(pairs(prompts("hello", 60, 0), group=first), benign))
        assert not fitted.ships


def test_triggers_that_are_fitted_together_read_sentences_too():
    own = base_with_sentences()
    said = {name: as_chats(sentences(name, 80, i)) for i, name in enumerate(("hello", "please", "thank"))}
    risks = ("hello", "please")
    rows = {
        name: examples(pairs(said[name]), [Benign(row) for other in said if other != name for row in said[other]])
        for name in risks
    }
    found = fit_triggers(own, rows)
    assert {fitted.router.turn for fitted in found.values()} == {turn_of(own.tokenizer)}
    for fitted in found.values():
        assert fitted.ships
        recall, alarms = fitted.record["among_others"]
        assert recall > 0.6 > 0.2 > alarms
    wholes = turn_of(own.tokenizer).whole
    beside_old = fit_triggers(own, rows, turn=wholes)
    assert {fitted.router.turn for fitted in beside_old.values()} == {wholes}
    assert all("among_others" not in fitted.record for fitted in beside_old.values())


def test_where_nothing_can_be_put_together_prompts_are_read_as_wholes():
    own = base_with_sentences()
    few = examples(pairs(as_chats(sentences("hello", 60, 0))), [Benign(row) for row in prompts("thank", 60, 1)])
    fitted = fit_trigger(own, few)
    assert fitted.router.turn.ends == ()
    assert "among_others" not in fitted.record


def test_parts_of_a_compound_stand_for_their_examples():
    own = base_with_sentences()
    risky, harmless = sentences("hello", 60, 0), sentences("thank", 60, 1)
    twice = [" ".join(harmless[i : i + 2]) for i in range(0, 20, 2)]
    texts = as_chats([*risky, *harmless[20:], *twice])
    concerned = torch.tensor([text[0][1].startswith("hello") for text in texts])
    folds = torch.arange(len(texts)) % FOLDS
    material = gather(own, texts, concerned, folds, (1,))
    assert min(int(material.risky.sum()), int((~material.risky).sum())) >= LEAST_COMPOUNDS
    for compound, readings in zip(material.compounds, material.compound_readings, strict=True):
        [(_, said)] = compound.prompt
        assert len(readings) == 1 + len(compound.parts)
        assert {int(folds[part]) for part in compound.parts} == {compound.fold}
        assert sum(bool(concerned[part]) for part in compound.parts) <= 1
        order = [said.index(texts[part][0][1]) for part in compound.parts]
        assert order == sorted(order), "in the order in which they are said"
    fitted_on = []

    def fit(features, of):
        fitted_on.append((len(features), of))
        return torch.zeros(features.shape[1]), torch.zeros(1)

    material.fitted(fit)
    material.held_out(fit)
    (everything, of), *without = fitted_on
    sentences_of_twice = 2 * len(twice)
    assert everything == len(of) == len(texts) + sentences_of_twice + sum(len(c.parts) for c in material.compounds)
    assert [fold in folds[of] for fold, (_, of) in enumerate(without)] == [False] * FOLDS


def specialist(name, bank):
    return Specialist(name, bank, (), None)


def test_a_composition_fires_where_any_of_its_patches_would():
    one, other = specialist("one", make_routed(threshold=0.2)), specialist("other", make_routed(threshold=0.8))
    both = behind_triggers([one, other], make_bank())
    assert [(t.threshold, t.block, t.patch) for t in both.router.triggers] == [(0.2, 0, "one"), (0.8, 0, "other")]
    assert behind_triggers([one, specialist("plain", make_bank())], make_bank()).router is None
    assert behind_triggers([specialist("plain", make_bank())], make_bank()) == make_bank()
    by_sentences = specialist("new", make_routed(Turn((1,), (2,), (3,)), threshold=0.8))
    by_wholes = specialist("old", make_routed(Turn((1,), (2,)), threshold=0.2))
    assert behind_triggers([by_sentences, by_sentences], make_bank()).router.turn == Turn((1,), (2,), (3,))
    for mixed in ([by_sentences, by_wholes], [by_wholes, by_sentences]):
        assert behind_triggers(mixed, make_bank()).router.turn == Turn((1,), (2,)), "all read wholes"
    for unlike in (make_routed(Turn((1,), (2,))), make_routed(layer=2)):
        assert behind_triggers([one, specialist("unlike", unlike)], make_bank()).router is None


def test_routing_keeps_each_block_behind_its_own_trigger():
    one, other = specialist("one", make_routed(threshold=0.2)), specialist("other", make_routed(threshold=0.8))
    routed = route(Context(base(), "before-bos", (one, other), ()), None)
    assert [(t.threshold, t.block, t.patch) for t in routed.router.triggers] == [(0.2, 0, "one"), (0.8, 1, "other")]
    assert behind_triggers([one, other], routed) == routed
    for unlike, message in ((make_bank(), "unlike has none"), (make_routed(layer=2), "can't be put together")):
        with pytest.raises(RequestError, match=message):
            route(Context(base(), "before-bos", (one, specialist("unlike", unlike)), ()), None)


def with_curve(*points):
    return with_record({"curve": [list(point) for point in points]})


def with_record(record):
    package = make_package(provenance={"trigger": record})
    bank = make_routed(threshold=0.7)
    return replace(package, bank=bank, manifest=package.manifest.with_bank(bank.table))


def test_a_deployer_says_where_triggers_work():
    package = with_curve((0.1, 1.0, 0.3), (0.4, 0.98, 0.1), (0.6, 0.95, 0.0))
    assert bank_under(package, Gates()) == package.bank
    assert bank_under(package, Gates(trigger="always")) == make_bank()
    for recall, threshold in ((0.95, 0.6), (0.97, 0.4), (1.0, 0.1)):
        assert bank_under(package, Gates(trigger_recall=recall)).router.triggers[0].threshold == threshold
    assert bank_under(make_package(), Gates(trigger_recall=0.9)) == make_bank()
    with pytest.raises(RequestError, match="at which threshold its trigger finds 1 of the risk"):
        bank_under(with_curve((0.4, 0.98)), Gates(trigger_recall=1.0))
    loud = with_curve((0.7, 0.97, 0.2), (0.4, 0.98, 0.3), (0.8, 0.95, 0.1), (0.9, 0.8, 0.0))
    for alarms, threshold in ((0.5, 0.7), (0.2, 0.7), (0.15, 0.8), (0.1, 0.8), (0.05, 0.9)):  # never below its own
        assert bank_under(loud, Gates(trigger_alarms=alarms)).router.triggers[0].threshold == threshold
    both = Gates(trigger_recall=0.96, trigger_alarms=0.3)
    assert bank_under(package, both).router.triggers[0].threshold == 0.4
    named = {"shares": ["recall", "threshold", "false_alarms"], "curve": [[0.9, 0.8, 0.0], [0.8, 0.9, None, 0.0]]}
    assert bank_under(with_record(named), Gates(trigger_alarms=0.0)).router.triggers[0].threshold == 0.8
    several = replace(package, bank=make_bank().routed(replace(make_routed().router, triggers=2 * (make_trigger(),))))
    with pytest.raises(RequestError, match="has several triggers"):
        bank_under(several, Gates(trigger_alarms=0.1))
    with pytest.raises(RequestError, match=r"finds 0\.99 of the risk and fires on at most 0\.1 of ordinary") as refused:
        bank_under(package, Gates(trigger_recall=0.99, trigger_alarms=0.1))
    assert refused.value.hint.startswith("lower [gates] trigger_recall, raise [gates] trigger_alarms, or set trigger")
    with pytest.raises(RequestError, match="fires on at most 0 of ordinary prompts"):
        bank_under(with_curve((0.4, 0.98)), Gates(trigger_alarms=0.0))
    for odd in ((), ("x", "y"), (2.0, 1.0)):
        with pytest.raises(RequestError, match="does not say"):
            bank_under(with_curve(odd), Gates(trigger_recall=0.9))
    with pytest.raises(ValueError, match="trigger_recall must be above 0"):
        Gates(trigger_recall=0.0)
    with pytest.raises(ValueError, match="trigger_alarms must be 0 or more and below 1"):
        Gates(trigger_alarms=1.0)
    with pytest.raises(ValueError, match="leaves triggers out, so trigger_alarms says nothing"):
        Gates(trigger="always", trigger_alarms=0.1)


def test_fitting_leaves_the_base_as_it_is():
    own = base()
    before = {name: tensor.clone() for name, tensor in own.model.state_dict().items()}
    fit_trigger(own, data())
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.model.state_dict().items())
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in own.model.parameters())


def test_a_trigger_that_fires_on_too_much_does_not_ship():
    fitted = fit_trigger(base(), data())
    assert fitted.ships
    assert not replace(fitted, at=replace(fitted.at, false_alarms=0.05)).ships
    assert not replace(fitted, at=replace(fitted.at, recall=0.6)).ships
