"""Blocks for answers alone: the prompt is read as by the base, once, and what follows the last turn sees the block."""

import warnings
from dataclasses import replace

import pytest
import torch
from runtime.architectures import padded, random_sequences, tiny_model, tiny_tokenizer
from runtime.test_router import (
    CHATS,
    SETTINGS,
    TOLERANCE,
    TURN,
    block,
    chat,
    check_generation,
    layer_runs,
    router_between,
    trigger,
)
from training.test_answers import base as chatting
from training.test_answers import suite
from transformers import AutoModelForCausalLM, GPTJConfig, StaticCache

import ppm.evaluation.generation
from ppm.bank import Bank, Router
from ppm.bank_table import BankTable
from ppm.composition.routing import _together
from ppm.composition.steps import Specialist
from ppm.document import to_table
from ppm.errors import IntegrityError, ModelError
from ppm.evaluation.generation import Completion, generate
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.scoring import ScoredText, sum_log_probabilities
from ppm.runtime.answers import answers_alone
from ppm.runtime.export.base import check_joined
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.router import picks, probabilities, unseeing
from ppm.runtime.saved import load_patched, save_patched
from ppm.runtime.tensors import bank_of
from ppm.suite import Decoding
from ppm.training.passes import log_probabilities_of, reader_of
from ppm.training.retention import retention_of

RELATIVE = ("llama", "gemma3", "qwen3", "neox")
NEITHER = ("gpt2", "opt")
HEADER = len(TURN.closing)
MANY = [chat([10 + i, 25 + 2 * i, *range(60, 60 + i % 3)]) for i in range(12)]


def masked(model, prefix, ids, blind):
    """The logits (T, V) of a text, of which the first `blind` tokens don't see the prefix's embeddings before it."""
    embeds = torch.cat([prefix, model.get_input_embeddings()(torch.tensor(ids))])[None]
    columns = torch.arange(embeds.shape[1])
    mine, width = columns[:, None], len(prefix)
    hidden = (columns <= mine) & (columns < width) & (mine >= width) & (mine < width + blind)
    sees = (columns <= mine) & ~hidden
    window = getattr(model.config, "sliding_window", None)
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
    assert window is None or len(ids) + width <= window
    with torch.no_grad():
        return model(inputs_embeds=embeds, attention_mask=mask, position_ids=columns[None]).logits[0, width:]


def patched_of(model, sequences):
    """A model whose block answers alone see behind a trigger, one where it always stands, its bank, where it fires."""
    router, fired = router_between(model, sequences, TURN)
    bank = bank_of(block(model)).routed(replace(router, answers_only=(0,)))
    assert sorted(set(fired)) == [False, True]
    return attach(model, [bank]), attach(model, [bank.of_blocks((0,))]), bank, fired


def windowless(name):
    """A tiny model; one with windows that are wider than these texts, for which `masked` has no masks."""
    model = tiny_model(name)
    if getattr(model.config, "sliding_window", None):
        model.config.sliding_window = 64
    return model


@pytest.mark.parametrize("name", RELATIVE)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mixed_batch_is_read_by_the_base_and_answered_with_the_block(name, side):
    model = windowless(name)
    patched, always, _, fired = patched_of(model, CHATS)
    ids, mask, slices = padded(CHATS, side)
    with torch.no_grad():
        found = patched(input_ids=ids, attention_mask=mask)
        assert found.past_key_values.picked.tolist() == fired
        known = always(input_ids=ids, attention_mask=mask).logits
        for index, (text, fire) in enumerate(zip(CHATS, fired, strict=True)):
            own, bare = found.logits[index, slices[index]], model(torch.tensor([text])).logits[0]
            wanted = masked(model, block(model), text, len(text) - HEADER)
            torch.testing.assert_close(known[index, slices[index]], wanted, **TOLERANCE)
            torch.testing.assert_close(own, wanted if fire else bare, **TOLERANCE)
            torch.testing.assert_close(own[:-HEADER], bare[:-HEADER], **TOLERANCE)
            assert not fire or (own - bare)[-HEADER:].abs().max() > 0.01


@pytest.mark.parametrize("name", RELATIVE)
def test_where_it_is_silent_the_base_answers_bit_for_bit(name):
    model = tiny_model(name)
    patched, _, _, fired = patched_of(model, CHATS)
    with torch.no_grad():
        for text in (t for t, fire in zip(CHATS, fired, strict=True) if not fire):
            assert torch.equal(patched(torch.tensor([text])).logits, model(torch.tensor([text])).logits)


def test_a_prompt_is_read_once():
    model = tiny_model("llama")
    patched, _, bank, fired = patched_of(model, CHATS)
    loud = CHATS[fired.index(True)]
    with torch.no_grad():
        patched(torch.tensor([loud]))  # the block's own keys and values are kept from here on
    read = []
    hook = (
        backbone_of(patched).inner.layers[0].register_forward_hook(lambda _, args, out: read.append(args[0].shape[1]))
    )
    with torch.no_grad():
        patched(torch.tensor([loud]))
    hook.remove()
    assert read == [len(loud), HEADER]
    early = attach(model, [bank.routed(replace(bank.router, answers_only=()))])
    with torch.no_grad():
        early(torch.tensor([loud]))
    assert layer_runs(early, loud) == [2, 1, 1]
    assert layer_runs(patched, loud) == [2, 2, 2]


@pytest.mark.parametrize("name", RELATIVE)
@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_goes_on_with_the_block(name, how):
    model = tiny_model(name)
    patched, always, _, fired = patched_of(model, CHATS)
    check_generation(model, patched, always, CHATS, fired, **how)


def test_a_static_cache_goes_on_as_a_growing_one():
    model = tiny_model("qwen3")
    patched, _, _, fired = patched_of(model, CHATS)
    text = torch.tensor([CHATS[fired.index(True)]])
    cache = StaticCache(config=model.config, max_cache_len=32)
    with torch.no_grad():
        grown = patched.generate(text, do_sample=False, **SETTINGS)
        fixed = patched.generate(text, do_sample=False, past_key_values=cache, **SETTINGS)
    assert torch.equal(grown, fixed)


@pytest.mark.parametrize("at_once", [None, 2, 3])
def test_a_prompt_that_is_run_in_parts_sees_the_block_at_its_end(at_once, monkeypatch):
    model = tiny_model("llama")
    patched, always, _, fired = patched_of(model, CHATS)
    greedy = Decoding(max_new_tokens=5, temperature=0.0)
    wanted = [Completion(0, tuple(text), greedy, 1) for text in CHATS]
    alone = generate(always, tiny_tokenizer(), wanted)
    bare = generate(attach(model), tiny_tokenizer(), wanted)
    if at_once is not None:
        whole = ppm.evaluation.generation._batches
        monkeypatch.setattr(
            ppm.evaluation.generation, "_batches", lambda *args: (replace(b, columns=at_once) for b in whole(*args))
        )
    found = generate(patched, tiny_tokenizer(), wanted)
    assert found == [a if fire else b for a, b, fire in zip(alone, bare, fired, strict=True)]
    assert alone != bare


def test_answers_are_scored_as_they_are_written():
    model = tiny_model("llama")
    patched, always, _, fired = patched_of(model, CHATS)
    answer = (30, 31, 32)
    texts = [ScoredText(tuple(text), answer, 0) for text in CHATS]
    found = sum_log_probabilities(patched, texts)
    bare = sum_log_probabilities(attach(model), [replace(t, row=UNPATCHED) for t in texts])
    said = []
    for text in CHATS:
        logits = masked(model, block(model), [*text, *answer], len(text) - HEADER).log_softmax(-1)
        said.append(sum(float(logits[len(text) - 1 + i, token]) for i, token in enumerate(answer)))
    assert sum_log_probabilities(always, texts) == pytest.approx(said, abs=1e-4)
    assert found == pytest.approx([a if f else b for a, b, f in zip(said, bare, fired, strict=True)], abs=1e-4)


def of_both_kinds(model):
    """A bank whose second block alone is for answers, and which block each of some chats meets: all of the cases."""
    triggers = tuple(replace(trigger(model, seed=seed), block=i) for i, seed in enumerate((3, 4)))
    blocks = (*bank_of(block(model)).blocks, *bank_of(block(model, 3)).blocks)
    inner = backbone_of(attach(model)).inner
    found = probabilities(inner, Router(triggers, (1,), TURN), MANY)
    middle = found.quantile(0.6, dim=0).tolist()
    triggers = tuple(replace(one, threshold=at) for one, at in zip(triggers, middle, strict=True))
    bank = Bank(blocks).routed(Router(triggers, (1,), TURN, answers_only=(1,)))
    picked = picks(inner, [bank.router] * len(MANY), MANY)
    assert set(picked) == {(), (0,), (1,)}
    return bank, picked


@pytest.mark.parametrize("side", ["left", "right"])
def test_blocks_of_both_kinds_share_a_bank_and_a_batch(side):
    model = tiny_model("llama")
    bank, picked = of_both_kinds(model)
    patched = attach(model, [bank, *(bank.of_blocks((i,)) for i in (0, 1))])
    with torch.no_grad():
        everything = range(len(MANY))
        for chosen in (everything, [i for i in everything if picked[i] != (0,)], [i for i in everything if picked[i]]):
            ids, mask, slices = padded([MANY[i] for i in chosen], side)
            found = patched(input_ids=ids, attention_mask=mask).logits
            for place, i in enumerate(chosen):
                row = picked[i][0] + 1 if picked[i] else UNPATCHED
                with backbone_of(patched).select([row]):
                    known = patched(torch.tensor([MANY[i]])).logits[0]
                torch.testing.assert_close(found[place, slices[place]], known, **TOLERANCE)
    assert bank.of_blocks((0,)).answers_to is None
    assert bank.of_blocks((1,)).answers_to == TURN
    assert bank.of_blocks((0, 1)).answers_to is None, "together they are seen as one that all of the text sees"


def test_several_blocks_for_answers_are_met_together():
    model = tiny_model("llama")
    bank, _ = of_both_kinds(model)
    low = tuple(replace(one, threshold=0.01) for one in bank.router.triggers)
    router = Router(low, (1,), TURN, several=True, answers_only=(0, 1))
    both = bank.routed(router)
    patched, known = attach(model, [both]), attach(model, [both.where_picked])
    assert both.where_picked.arrangement == "isolated"
    assert both.where_picked.answers_to == TURN
    meets = [
        i for i, blocks in enumerate(picks(backbone_of(patched).inner, [router] * len(MANY), MANY)) if blocks == (0, 1)
    ]
    assert meets
    with torch.no_grad():
        for i in meets:
            text = torch.tensor([MANY[i]])
            torch.testing.assert_close(patched(text).logits, known(text).logits, **TOLERANCE)
            torch.testing.assert_close(patched(text).logits[:, :-HEADER], model(text).logits[:, :-HEADER], **TOLERANCE)


def test_what_a_composition_answers_is_what_its_blocks_do(tmp_path):
    own = chatting()
    bank, _ = of_both_kinds(own.model)
    alone = [Configuration(str(i), bank.of_blocks((i,))) for i in (0, 1)]
    routed, suites = Configuration("routed", bank), [suite("w50", "w51", "w52")]
    together = evaluate(own, [Configuration("base"), *alone, routed], suites, placement="before-bos")
    by_itself = evaluate(own, [routed], suites, placement="before-bos")
    [digest] = {digest for _, digest in together}
    assert together["routed", digest].completions == by_itself["routed", digest].completions


def test_a_cache_goes_on_token_by_token():
    model = tiny_model("llama")
    _, always, _, _ = patched_of(model, CHATS)
    first, rest = torch.tensor([CHATS[0][:4]]), torch.tensor([CHATS[0][4:]])
    with torch.no_grad():
        cache = always(first, use_cache=True).past_key_values
        with pytest.raises(ModelError, match="decides on a whole prompt at once"):
            always(rest, past_key_values=cache)


def test_a_text_of_one_token_sees_the_block_from_its_start():
    model = tiny_model("llama")
    _, always, bank, _ = patched_of(model, CHATS)
    text = ScoredText((1,), (30, 31, 32), 0)
    [said] = sum_log_probabilities(always, [text])
    assert [said] == pytest.approx(sum_log_probabilities(attach(model, [bank.always_on]), [text]), abs=1e-4)
    assert [said] != pytest.approx(sum_log_probabilities(attach(model), [replace(text, row=UNPATCHED)]), abs=1e-4)


def test_windows_slide_over_a_block_before_the_text():
    model = tiny_model("gemma3")  # a window of eight tokens, and a block of five
    bank = replace(bank_of(block(model)), answers_to=TURN)
    with torch.no_grad(), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        attach(model, [bank])(torch.tensor([[1, 10, 11]]))
        assert not heard
        with pytest.warns(UserWarning, match="sequences of more than 8 tokens"):
            attach(model, [bank])(torch.tensor([[1, 10, 11, 12]]))


def test_the_last_turn_counts_and_a_text_without_one_sees_it_at_its_end():
    ids = chat([10, 11], [12, 13])
    assert unseeing(ids, TURN) == len(ids) - HEADER
    assert unseeing([*ids, 50, 51, 52], TURN) == len(ids) - HEADER
    assert unseeing(ids[: -HEADER - 1], TURN) == ids.index(92)
    assert unseeing([1, 10, 11], TURN) == 2
    assert unseeing([7], TURN) == unseeing([], TURN) == 0


@pytest.mark.parametrize("name", NEITHER)
def test_positions_that_are_not_relative_are_refused(name):
    model = tiny_model(name)
    assert not answers_alone(model, "before-bos")
    router, _ = router_between(model, CHATS, TURN)
    with pytest.raises(ModelError, match="answers alone see is not exact"):
        attach(model, [bank_of(block(model)).routed(replace(router, answers_only=(0,)))])


def test_so_are_rotary_positions_that_are_looked_up():
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 64}
    model = AutoModelForCausalLM.from_config(GPTJConfig(vocab_size=99, bos_token_id=1, eos_token_id=2, **shape)).eval()
    attach(model, [block(model)])
    assert not answers_alone(model, "before-bos")


@pytest.mark.parametrize("name", RELATIVE)
def test_so_is_a_prefix_after_the_first_token(name):
    model = tiny_model(name)
    assert answers_alone(model, "before-bos")
    assert not answers_alone(model, "after-bos")
    router, _ = router_between(model, CHATS, TURN)
    with pytest.raises(ModelError, match="answers alone see is not exact"):
        attach(model, [bank_of(block(model)).routed(replace(router, answers_only=(0,)))], placement="after-bos")


def test_embeddings_and_exports_are_refused():
    model = tiny_model("llama")
    _, always, bank, _ = patched_of(model, CHATS)
    with pytest.raises(ModelError, match="was given embeddings"), torch.no_grad():
        always(inputs_embeds=model.get_input_embeddings()(torch.tensor([CHATS[0]])))
    isolated = Bank(2 * bank.blocks, "isolated")
    for given, why in (
        (bank.of_blocks((0,)), "answers alone see what"),
        (bank, "stands behind triggers, but PEFT takes a plain row"),
        (isolated, "stand side by side"),
    ):
        with pytest.raises(ModelError, match=why):
            check_joined(given, "PEFT")


def test_training_is_in_front_of_whole_texts():
    model = tiny_model("llama")
    _, _, bank, _ = patched_of(model, CHATS)
    trained = attach(model, [bank], trainable=True)
    always = attach(model, [bank.always_on])
    with torch.no_grad():
        assert torch.equal(trained(torch.tensor([CHATS[0]])).logits, always(torch.tensor([CHATS[0]])).logits)


@pytest.mark.parametrize("answer", [(30, 31), (30, *TURN.closing, 31)])
def test_what_is_trained_is_what_is_run(answer):
    model = tiny_model("llama")
    _, _, bank, _ = patched_of(model, CHATS)
    learner = attach(model, [bank.of_blocks((0,))], trainable=True)
    reader, texts = reader_of(learner), [ScoredText(tuple(text), answer) for text in CHATS]
    tokens = torch.tensor([token for text in texts for token in text.completion])
    said = log_probabilities_of(reader, reader.hidden(texts), tokens)
    wanted = []
    for text in CHATS:
        logits = masked(model, block(model), [*text, *answer], len(text) - HEADER).log_softmax(-1)
        wanted += [float(logits[len(text) - 1 + i, token]) for i, token in enumerate(answer)]
    assert said.tolist() == pytest.approx(wanted, abs=1e-4)
    assert sum_log_probabilities(
        attach(model, [bank.of_blocks((0,))]), [replace(text, row=0) for text in texts]
    ) == pytest.approx([float(part.sum()) for part in said.detach().split(len(answer))], abs=1e-4)
    said.sum().backward()
    assert backbone_of(learner).bank[0].grad.abs().max() > 0


def test_benign_texts_are_moved_from_the_answer_on():
    model = tiny_model("llama")
    _, _, bank, _ = patched_of(model, CHATS)
    texts = [ScoredText(tuple(text), (30, 31)) for text in CHATS]
    early, late = (retention_of(model, one, texts, "before-bos") for one in (bank.always_on, bank.of_blocks((0,))))
    wanted, count = 0.0, 0
    for text in texts:
        whole = [*text.prompt, *text.completion]
        own = masked(model, block(model), whole, len(text.prompt) - HEADER).log_softmax(-1)
        with torch.no_grad():
            base = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        for i in range(len(text.prompt) - 1, len(whole) - 1):
            wanted += float((base[i].exp() * (base[i] - own[i])).sum())
            count += 1
    assert late == pytest.approx(wanted / count, rel=1e-3)
    assert late != pytest.approx(early, rel=1e-3)


def test_it_is_kept_in_files(tmp_path):
    model = tiny_model("llama")
    _, _, bank, fired = patched_of(model, CHATS)
    for one in (bank, bank.of_blocks((0,))):
        assert Bank.parse(one.to_bytes(), "bank", one.table) == one
        assert one.digest != replace(one, answers_to=None, router=None, arrangement="joined").digest
    assert to_table(bank.table)["answers_only"] == [0]
    save_patched(attach(model, [bank]), tiny_tokenizer(), tmp_path)
    again = load_patched(tmp_path).model
    text = torch.tensor([CHATS[fired.index(True)]])
    with torch.no_grad():
        torch.testing.assert_close(again(text).logits, attach(model, [bank])(text).logits)


def test_tables_that_make_no_sense_are_refused():
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="answers_only needs the turn"):
        BankTable("routed", (1,), (0.5,), answers_only=(0,))
    with pytest.raises(ValueError, match="rising"):
        BankTable("routed", (1,), (0.5, 0.5), turn=TURN, answers_only=(1, 0))
    with pytest.raises(ValueError, match="a turn and answers_only, or neither"):
        BankTable("joined", turn=TURN)
    with pytest.raises(ValueError, match="needs the turn"):
        Router((trigger(model),), (1,), answers_only=(0,))
    with pytest.raises(ValueError, match="the router says"):
        replace(bank_of(block(model)).routed(Router((trigger(model),), (1,), TURN)), answers_to=TURN)
    joined = bank_of(block(model))
    with pytest.raises(IntegrityError, match="answers_only names some blocks"):
        Bank.parse(joined.to_bytes(), "bank", BankTable("joined", turn=TURN, answers_only=(1,)))
    with pytest.raises(ValueError, match="names a block that the bank lacks"):
        bank_of(block(model)).routed(Router((trigger(model),), (1,), TURN, answers_only=(1,)))


def test_a_composition_keeps_what_each_patch_is_for():
    model = tiny_model("llama")
    banks = [bank_of(block(model)).routed(Router((trigger(model, seed=s),), (1,), TURN)) for s in (3, 4)]
    banks[1] = banks[1].routed(replace(banks[1].router, answers_only=(0,)))
    specialists = [Specialist(str(i), bank, (), torch.zeros(0)) for i, bank in enumerate(banks)]
    assert _together(specialists, range(2)).answers_only == (1,)
    assert _together(specialists[::-1], range(2)).answers_only == (0,)
    assert _together(specialists[:1], range(1)).answers_only == ()


def test_random_texts_of_any_length_are_exact():
    model = tiny_model("llama")
    texts = [chat(*([row[:4], row[4:]] if len(row) > 5 else [row])) for row in random_sequences(5, 3, 9, 6, 8)]
    patched, _, _, fired = patched_of(model, texts)
    for side in ("left", "right"):
        ids, mask, slices = padded(texts, side)
        with torch.no_grad():
            found = patched(input_ids=ids, attention_mask=mask).logits
        for index, (text, fire) in enumerate(zip(texts, fired, strict=True)):
            wanted = masked(model, block(model), text, len(text) - HEADER if fire else len(text) + 1)
            torch.testing.assert_close(found[index, slices[index]], wanted, **TOLERANCE)
