"""What an audit says of triggers: rows of figures, in its JSON and on its page, and what became of them."""

import json
from dataclasses import replace

import pytest
from packages import make_bank, make_package, make_routed, make_trigger
from test_audit_model import AUDIT, FAILED
from test_page import render

from ppm.audit.model import Audit, TriggerRow
from ppm.audit.triggers import alarm_hint, one_way, trigger_notes, trigger_rows
from ppm.bank import Bank, Router
from ppm.errors import IntegrityError
from ppm.evaluation.results import Configuration, ResultStore
from ppm.evaluation.suites import load_suite
from ppm.evaluation.triggers import Triggered, trigger_scores
from ppm.jsonl import Prompt, dump
from ppm.project import Gates
from ppm.suite import Judge, Suite

ROW = TriggerRow("toxicity==1.0.0", "toxicity", "recall", 0.9, 0.8, 0.95, 100, 0.4, {"0.1": 1.0, "0.9": 0.25})


def suite(name, against, owner):
    prompts = [Prompt(str(i), f"{name} {i}") for i in range(10)]
    files = {"p.jsonl": dump(prompts), "suites/w.txt": b"bad\n"}
    judged = Suite(name, "p.jsonl", Judge("lexicon", {"words": "suites/w.txt"}), against=against)
    return load_suite(judged, files, origin="x", owner=owner)


SUITES = [suite("own", "specialist", "toxicity"), suite("other", "specialist", "bias"), suite("plain", "base", None)]
ALPHAS = {one.label: 0.05 for one in SUITES}


def test_rows_tell_recall_from_false_alarms():
    configuration = Configuration("toxicity==1.0.0", make_routed(threshold=0.45))
    scores = {
        (configuration.name, one.digest): tuple(
            Triggered(value / 10, (0,) if value >= 5 else ()) for value in range(low, low + 10)
        )
        for one, low in zip(SUITES, (1, 0, 0), strict=True)
    }
    rows = trigger_rows([Configuration("base"), configuration], SUITES, scores, ALPHAS)
    assert [(row.suite, row.kind, row.share) for row in rows] == [
        ("own", "recall", 0.6), ("other", "another risk", 0.5), ("plain", "false alarms", 0.5),
    ]  # fmt: skip
    assert rows[0].low < 0.6 < rows[0].high
    assert (rows[0].threshold, rows[0].curve["0.01"], rows[0].curve["0.9"]) == (0.45, 1.0, 0.2)


def test_several_triggers_have_no_curve_together():
    bank = make_bank().routed(Router((make_trigger(), make_trigger(threshold=0.9)), (1,)))
    configuration = Configuration("composition", bank)
    scores = {("composition", one.digest): (Triggered(1.0, (0,)),) * 7 + (Triggered(0.0, ()),) * 3 for one in SUITES}
    rows = trigger_rows([configuration], SUITES, scores, ALPHAS)
    assert [(row.share, row.threshold, row.curve) for row in rows] == [(0.7, None, {})] * 3


def both(several=False):
    """A composition that has a block for toxicity and one for bias."""
    triggers = tuple(replace(make_trigger(), patch=name, block=i) for i, name in enumerate(("toxicity", "bias")))
    return Configuration("composition", Bank(make_bank().blocks * 2).routed(Router(triggers, (1,), several=several)))


def meets(*blocks):
    return tuple(Triggered(float(bool(met)), met) for met in blocks)


def test_a_prompt_that_meets_anothers_block_alone_is_not_found():
    own, other, plain = (one.digest for one in SUITES)
    scores = {
        ("composition", own): meets(*[(0,)] * 5, *[(1,)] * 2, *[(0, 1)] * 2, ()),
        ("composition", other): meets(*[(1,)] * 10),
        ("composition", plain): meets(*[()] * 9, (1,)),
    }
    rows = trigger_rows([both()], SUITES, scores, ALPHAS)
    assert [(row.suite, row.kind, row.share) for row in rows] == [
        ("own", "recall", 0.7), ("own", "wrong patch", 0.2), ("other", "recall", 1.0), ("other", "wrong patch", 0.0),
        ("plain", "false alarms", 0.1),
    ]  # fmt: skip
    assert rows[1].low < 0.2 < rows[1].high


def test_a_router_that_sends_everything_to_one_block_is_named():
    all_to_bias = {("composition", one.digest): meets(*[(1,)] * 9, ()) for one in SUITES}
    [said] = one_way([Configuration("base"), both()], SUITES, all_to_bias)
    assert said.endswith("doesn't tell prompts apart: of each suite it sends at least 0.90 to the block of bias")
    assert one_way([both()], SUITES[1:2], all_to_bias) == ()  # all of which are bias's own
    plain = {**all_to_bias, ("composition", SUITES[2].digest): meets(*[(1,)] * 8, (), ())}
    assert one_way([both()], SUITES, plain) == ()


def test_scores_that_are_kept_need_no_model(tmp_path):
    configuration = Configuration("toxicity==1.0.0", make_routed())
    store = ResultStore(tmp_path, "weights")

    def absent():
        raise AssertionError("the model was loaded")

    with pytest.raises(AssertionError):
        trigger_scores(absent, [configuration], SUITES[:1], store)
    from ppm.evaluation.triggers import _key

    store.put(_key(configuration.bank, SUITES[0], store), {str(i): (i / 10, ("0",)) for i in range(10)})
    found = trigger_scores(absent, [Configuration("base"), configuration], SUITES[:1], store)
    assert found == {(configuration.name, SUITES[0].digest): tuple(Triggered(i / 10, (0,)) for i in range(10))}


def test_rows_come_back_from_the_json_and_are_checked():
    audit = replace(AUDIT, triggers=(ROW,))
    assert Audit.parse(audit.to_json(), "x") == audit
    assert "triggers" not in json.loads(AUDIT.to_json())
    for key, value in (("share", 1.5), ("kind", "luck"), ("prompts", -1)):
        table = json.loads(audit.to_json())
        table["triggers"][0][key] = value
        with pytest.raises(IntegrityError, match="is not an audit"):
            Audit.from_table(table, "x")


def test_the_page_shows_them():
    page = render(triggers=(ROW,))
    assert "<h2>Triggers</h2>" in page
    assert "0.900<br><small>0.800 to 0.950" in page
    assert "<small>0.250</small>" in page
    assert "<h2>Triggers</h2>" not in render()


def test_the_page_says_who_answers_what_a_patch_misses():
    recall = replace(ROW, configuration="composition", share=0.7, low=0.6, high=0.8, threshold=None, curve={})
    wrong = replace(recall, kind="wrong patch", share=0.2, low=0.1, high=0.3)
    page = render(triggers=(recall, wrong))
    assert "Of the prompts of toxicity, the bare model answers 0.100: no trigger fires there." in page
    assert "Other patches alone answer 0.200." in page
    assert "<td>wrong patch</td>" in page
    none = render(triggers=(recall, replace(wrong, share=0.0, low=0.0)))
    assert "the bare model answers 0.300" in none
    assert "wrong patch</td>" not in none
    assert "Other patches" not in none


def test_what_became_of_triggers_is_said():
    def package(name, bank):
        made = make_package(name)
        return replace(made, bank=bank, manifest=made.manifest.with_bank(bank.table))

    one, two, plain = package("one", make_routed()), package("two", make_routed(threshold=0.9)), make_package("plain")
    together = make_bank().routed(Router((make_trigger(),), (1,)))
    assert trigger_notes([one], one.bank, Gates()) == trigger_notes([plain, plain], make_bank(), Gates()) == ()
    apart = Bank(
        2 * make_bank().blocks, "routed", router=Router((make_trigger(), replace(make_trigger(), block=1)), (1,))
    )
    assert trigger_notes([one, two], apart, Gates()) == (
        "each prompt meets the block of the patch whose trigger fires, or the bare base",
    )
    several = apart.routed(replace(apart.router, several=True))
    [note] = trigger_notes([one, two], several, Gates())
    assert note == "each prompt meets the blocks of all patches whose triggers fire as clearly, or the bare base"
    [note] = trigger_notes([one, two], Bank(apart.blocks, "isolated"), Gates())
    assert "isolated blocks stand in front of every prompt" in note
    [note] = trigger_notes([one, plain], apart, Gates())
    assert note.endswith("or the bare base (triggers fitted for this composition: plain)")
    assert trigger_notes([one, two], together, Gates()) == (
        "the composition stands in front of a prompt where a trigger of one, two fires",
    )
    assert trigger_notes([one, plain], make_bank(), Gates()) == (
        "the composition is always on, without the triggers of one, because plain has none",
    )
    few = Gates(trigger_recall=0.9, trigger_alarms=0.01)
    assert trigger_notes([one, two], together, few)[1:] == (
        "as [gates] asks, each trigger finds 0.9 of the risk and fires on at most 0.01 of ordinary prompts: of those "
        "that it was ranked on, not of the suites'",
    )
    assert trigger_notes([plain], make_bank(), Gates(trigger_alarms=0.01)) == (
        "[gates] asks that each trigger fires on at most 0.01 of ordinary prompts, but the composition has none: it is "
        "always on",
    )
    deeper = package("deeper", make_routed(layer=2))
    assert "theirs can't be put together" in trigger_notes([one, deeper], make_bank(), Gates())[0]
    [note] = trigger_notes([one, two], make_bank(), Gates())
    assert note.endswith("without the triggers of one, two, because the strategy leaves them out")
    for some in ([one], [one, deeper], [one, plain]):
        [note] = trigger_notes(some, make_bank(), Gates(trigger="always"))
        assert note.endswith('because [gates] trigger = "always" leaves them out')


@pytest.mark.parametrize(
    ("row", "alarms", "hinted"),
    [
        ({}, None, True),
        ({}, 0.02, True),
        ({}, 0.01, False),
        ({"suite": "plain"}, None, False),
        ({"kind": "recall"}, None, False),
        ({"share": 0.0, "low": 0.0}, None, False),
        ({"configuration": "toxicity==1.0.0"}, None, False),
    ],
)
def test_false_alarms_on_what_failed_have_a_way_out(row, alarms, hinted):
    alarm = replace(ROW, **{"configuration": "composition", "kind": "false alarms", "suite": "facts", **row})
    audit = replace(AUDIT, comparisons=(replace(FAILED, suite="facts", rule="utility"),), triggers=(alarm,))
    assert ("`trigger_alarms = 0.01` under [gates]" in alarm_hint(audit, Gates(trigger_alarms=alarms))) is hinted
