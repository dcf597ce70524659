"""Patches with triggers: where the trigger fires the prompt is patched, where it is silent it meets the base itself."""

import random
from dataclasses import replace

import numpy
import pytest
import torch
from runtime.architectures import padded, random_sequences, tiny_model, tiny_tokenizer
from transformers import DynamicCache, TextStreamer

from ppm.bank import Bank, Router, Trigger
from ppm.bank_table import Turn
from ppm.errors import IntegrityError, ModelError
from ppm.evaluation.generation import Completion, generate
from ppm.evaluation.scoring import ScoredText, sum_log_probabilities
from ppm.runtime.model import UNPATCHED, attach, backbone_of
from ppm.runtime.router import (
    MOST_SENTENCES,
    NEAR,
    batches,
    features_of,
    picks,
    probabilities,
    readings_of,
    spans,
)
from ppm.runtime.saved import RECORD, load_patched, save_patched
from ppm.runtime.tensors import bank_of
from ppm.runtime.work import Work
from ppm.suite import Decoding

NAMES = ("llama", "gpt2", "gemma3", "qwen3", "opt", "neox")
TURN = Turn((90, 91), (92, 93))
SETTINGS = {"max_new_tokens": 5, "eos_token_id": None, "pad_token_id": 0}
TOLERANCE = {"atol": 2e-5, "rtol": 1e-4}


def values(tensor):
    return tensor.to(torch.float32).numpy().tobytes()


def trigger(model, *, threshold=0.5, layers=1, seed=3):
    """A trigger that reads in a random direction."""
    width = model.config.get_text_config().hidden_size
    weight = torch.randn(3 * layers * width, generator=torch.Generator().manual_seed(seed))
    return Trigger(threshold, values(weight / 4), values(torch.zeros(1)), patch="kind")


def block(model, tokens=5):
    width = model.get_input_embeddings().embedding_dim
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(tokens))


def router_between(model, sequences, turn=None, layer=1):
    """A router that fires for half of the sequences, and which these are."""
    router = Router((trigger(model),), (layer,), turn)
    with torch.no_grad():
        found = probabilities(backbone_of(attach(model)).inner, router, sequences)[:, 0]
    ordered = found.sort().values
    middle = float(ordered[len(ordered) // 2 - 1 : len(ordered) // 2 + 1].mean())
    return replace(router, triggers=(trigger(model, threshold=middle),)), (found >= middle).tolist()


def patched_of(model, sequences, turn=None, layer=1):
    router, fired = router_between(model, sequences, turn, layer)
    bank = bank_of(block(model)).routed(router)
    assert sorted(set(fired)) == [False, True]
    return attach(model, [bank]), attach(model, [bank.always_on]), bank, fired


SEQUENCES = random_sequences(9, 4, 12, 7, 3, 6)


@pytest.mark.parametrize("name", NAMES)
def test_a_mixed_batch_is_patched_where_the_trigger_fires(name):
    model = tiny_model(name)
    patched, always, _, fired = patched_of(model, SEQUENCES)
    with torch.no_grad():
        wanted = []
        for sequence, fire in zip(SEQUENCES, fired, strict=True):
            wanted.append((always if fire else model)(torch.tensor([sequence])).logits[0])
        for side in ("left", "right"):
            ids, mask, slices = padded(SEQUENCES, side)
            output = patched(input_ids=ids, attention_mask=mask)
            assert output.past_key_values.picked.tolist() == fired
            for index, logits in enumerate(wanted):
                torch.testing.assert_close(output.logits[index, slices[index]], logits, **TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_where_it_is_silent_the_base_answers_bit_for_bit(name):
    model = tiny_model(name)
    patched, _, _, fired = patched_of(model, SEQUENCES)
    silent = [s for s, fire in zip(SEQUENCES, fired, strict=True) if not fire]
    with torch.no_grad():
        for sequence in silent:
            ids = torch.tensor([sequence])
            assert torch.equal(patched(ids).logits, model(ids).logits)
            ids, mask = ids, torch.ones_like(ids)
            sampled = []
            for one in (model, patched):
                torch.manual_seed(5)
                sampled.append(one.generate(ids, attention_mask=mask, do_sample=True, **SETTINGS))
            assert torch.equal(*sampled)
        ids, mask, _ = padded(silent, "left")
        both = [one.generate(ids, attention_mask=mask, output_logits=True, return_dict_in_generate=True, **SETTINGS)
                for one in (model, patched)]  # fmt: skip
        assert all(torch.equal(a, b) for a, b in zip(both[0].logits, both[1].logits, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_generation_keeps_what_was_decided_on_the_prompt(name, how):
    model = tiny_model(name)
    patched, always, _, fired = patched_of(model, SEQUENCES)
    check_generation(model, patched, always, SEQUENCES, fired, **how)


def check_generation(model, patched, always, sequences, fired, **how):
    """All together are answered as each is alone: where the trigger fires by the block that always stands."""
    ids, mask, _ = padded(sequences, "left")
    with torch.no_grad():
        together = patched.generate(ids, attention_mask=mask, do_sample=False, **SETTINGS, **how)
        for index, (sequence, fire) in enumerate(zip(sequences, fired, strict=True)):
            prompt = torch.tensor([sequence])
            alone = (always if fire else model).generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, **SETTINGS, **how
            )
            assert together[index, ids.shape[1] :].tolist() == alone[0, len(sequence) :].tolist()


def test_an_answer_streams(capsys):
    model = tiny_model("llama")
    patched, always, _, fired = patched_of(model, SEQUENCES)
    prompt = torch.tensor([SEQUENCES[fired.index(True)]])
    printed = []
    for one in (patched, always):
        one.generate(
            prompt, attention_mask=torch.ones_like(prompt), streamer=TextStreamer(tiny_tokenizer()), **SETTINGS
        )
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_rows_of_several_kinds_share_a_batch():
    model = tiny_model("llama")
    router, fired = router_between(model, SEQUENCES)
    routed, joined = bank_of(block(model)).routed(router), bank_of(block(model, 3))
    patched = attach(model, [routed, joined, Bank()])
    ids, mask, _ = padded(SEQUENCES, "left")
    with torch.no_grad():
        for rows in ([0] * 6, [1] * 6, [UNPATCHED] * 6, [0, 1, UNPATCHED, 2, 0, 0]):
            with backbone_of(patched).select(rows):
                picked = patched(input_ids=ids, attention_mask=mask).past_key_values.picked.tolist()
            wanted = [fire if row == 0 else row == 1 for row, fire in zip(rows, fired, strict=True)]
            assert picked == wanted


def chat(*turns):
    """The user's turns, each with an answer after it, the last without one."""
    ids = [1, *[40, 41]]
    for turn in turns[:-1]:
        ids += [*TURN.opening, *turn, *TURN.closing, 50, 51]
    return [*ids, *TURN.opening, *turns[-1], *TURN.closing]


CHATS = [chat([10, 11, 12]), chat([13, 14]), chat([15, 16, 17, 18]), chat([19, 20, 21])]


def test_what_a_user_says_is_found_in_the_tokens():
    ids = chat([10, 11], [12])
    first, second = spans(ids, TURN)
    assert (ids[first.start : first.stop], ids[first.last]) == ([10, 11], 93)
    assert (ids[second.start : second.stop], second.last) == ([12], len(ids) - 1)
    open_ended = spans(ids[:-2], TURN)[1]
    assert (open_ended.start, open_ended.stop, open_ended.last) == (second.start, len(ids) - 2, len(ids) - 3)
    forged = spans([*TURN.opening, 10, *TURN.closing, 50, 11, *TURN.closing], TURN)
    assert [(r.start, r.stop, r.last) for r in forged] == [(2, 3, 4), (2, 7, 8)]
    twice = spans([*TURN.opening, 10, *TURN.opening, 11, *TURN.closing], TURN)
    assert [(r.start, r.stop, r.last) for r in twice] == [(2, 6, 7), (5, 6, 7)]
    whole = spans([1, 10, 11], TURN)
    assert [(r.start, r.stop, r.last) for r in whole] == [(1, 3, 2)]
    assert [(r.start, r.stop, r.last) for r in spans([7], None)] == [(0, 1, 0)]


def test_sentences_of_a_turn_are_read_by_themselves_too():
    turn = replace(TURN, ends=(30, 31))

    def said(*tokens):
        ids = chat(tokens)
        [own] = readings_of(ids, turn)
        assert {reading.last for reading in own} == {len(ids) - 1}
        return [tuple(ids[reading.start : reading.stop]) for reading in own]

    both = (10, 11, 12, 30, 13, 14, 15, 31)
    assert said(*both) == [both, both[:4], both[4:]]
    assert said(10, 11, 12, 30) == [(10, 11, 12, 30)], "one sentence is the whole"
    short = (10, 30, 11, 12, 13, 30, 14, 15)
    assert said(*short) == [short], "what has less than four tokens belongs to what is beside it"
    later = (10, 30, 11, 12, 13, 30, 14, 15, 16, 17)
    assert said(*later) == [later, later[:6], later[6:]]
    [first], second = readings_of(chat([10, 11], both), turn)
    assert (first.stop - first.start, len(second)) == (2, 3), "each turn has its own sentences"
    endless = (10, 11, 12, 30) * 2000
    assert 100 < len(said(*endless)) <= MOST_SENTENCES + 1
    assert [len(own) for own in readings_of(chat(both), TURN)] == [1], "unless nothing says where they end"
    assert [len(own) for own in readings_of([1, *both], turn)] == [1], "and what is no chat is read as a whole"
    closed, opened = [*both, *TURN.closing] * 400, [*TURN.opening, *both] * 400
    assert len(spans([*TURN.opening, *closed], turn)) <= 400 + MOST_SENTENCES
    assert len(spans([*opened, *TURN.closing], turn)) <= 400 + MOST_SENTENCES + 1


def test_a_trigger_fires_for_a_sentence_among_others():
    model = tiny_model("llama")
    inner, by_sentences = backbone_of(attach(model)).inner, replace(TURN, ends=(30, 31))
    own = trigger(model)
    weight = torch.frombuffer(bytearray(own.weight), dtype=torch.float32)
    rng, hidden = random.Random(0), 0  # how often a sentence counts more than the whole
    for _ in range(12):
        ids = chat([token for _ in range(3) for token in (*rng.sample(range(10, 30), 4), 30)])
        readings = features_of(inner, (1,), [ids], by_sentences)[0][1]
        assert len(readings) == 4
        whole, *sentences = (readings @ weight).tolist()
        threshold = float(torch.tensor((whole + max(sentences)) / 2).sigmoid())
        router = Router((replace(own, threshold=threshold),), (1,), by_sentences)
        assert picks(inner, [router], [ids]) == [(0,)], "whichever of them is higher"
        assert picks(inner, [replace(router, turn=TURN)], [ids]) == [(0,) if whole > max(sentences) else ()]
        hidden += whole < max(sentences)
    assert hidden > 6


def test_a_turn_is_decided_the_same_with_its_answer_and_in_a_longer_conversation():
    model = tiny_model("llama")
    router, fired = router_between(model, CHATS, TURN)
    inner = backbone_of(attach(model)).inner
    answered = [[*ids, 60, 61, 62] for ids in CHATS]
    assert [blocks == (0,) for blocks in picks(inner, [router] * 4, answered)] == fired
    loud, calm = ([10, 11, 12], [13, 14]) if fired[0] else ([13, 14], [10, 11, 12])
    said = {"alone": chat(loud), "then calm": chat(loud, calm), "calm": chat(calm)}
    first = picks(inner, [router] * 3, list(said.values()))
    if fired[0] != fired[1]:
        assert first == [(0,), (0,), ()]


def test_what_fired_once_in_a_conversation_stays():
    model = tiny_model("qwen3")
    router, fired = router_between(model, CHATS, TURN)
    inner = backbone_of(attach(model)).inner
    turns = [[10, 11, 12], [13, 14], [15, 16, 17, 18], [19, 20, 21]]
    loud = turns[fired.index(True)]
    for calm in (turns[i] for i, fire in enumerate(fired) if not fire):
        assert picks(inner, [router], [chat(loud, calm)]) == [(0,)]


def test_a_plain_text_is_decided_by_its_prompt_when_an_answer_is_scored():
    model = tiny_model("llama")
    patched, always, _, fired = patched_of(model, SEQUENCES)
    answer = (30, 31, 32)
    texts = [ScoredText(tuple(s), answer, 0) for s in SEQUENCES]
    found = sum_log_probabilities(patched, texts)
    bare = sum_log_probabilities(attach(model), [replace(t, row=UNPATCHED) for t in texts])
    on = sum_log_probabilities(always, texts)
    wanted = [a if fire else b for a, b, fire in zip(on, bare, fired, strict=True)]
    assert found == pytest.approx(wanted, abs=1e-4)


def layer_runs(patched, *texts, **options):
    """How often each layer of the base runs for some texts, one after the other."""
    inner = backbone_of(patched).inner
    stack = max((m for m in inner._modules.values() if isinstance(m, torch.nn.ModuleList)), key=len)
    counts = [0] * len(stack)

    def count(index):
        def hook(*_):
            counts[index] += 1

        return hook

    hooks = [layer.register_forward_hook(count(i)) for i, layer in enumerate(stack)]
    with torch.no_grad():
        for text in texts:
            patched(torch.tensor([text]), **options)
    for hook in hooks:
        hook.remove()
    return counts


@pytest.mark.parametrize("name", NAMES)
def test_the_router_reads_in_the_bases_own_pass(name):
    model = tiny_model(name)
    patched, _, _, fired = patched_of(model, SEQUENCES)
    silent, loud = (SEQUENCES[fired.index(kind)] for kind in (False, True))
    patched(torch.tensor([loud]))  # the block's own keys and values are kept from here on
    assert layer_runs(patched, silent) == [1, 1, 1]
    assert layer_runs(patched, loud) == [2, 1, 1]
    assert layer_runs(patched, silent, past_key_values=DynamicCache()) == [1, 1, 1]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_for_besides_logits_is_the_bases_own(name):
    model = tiny_model(name)
    patched, _, _, fired = patched_of(model, SEQUENCES)
    ids = torch.tensor([SEQUENCES[fired.index(False)]])
    with torch.no_grad():
        for _ in range(2):  # the patched model first: what it shows must leave no trace in the base
            same = patched(ids, output_hidden_states=True)
        own = model(ids, output_hidden_states=True)
    assert len(own.hidden_states) == len(same.hidden_states)
    assert all(torch.equal(a, b) for a, b in zip(own.hidden_states, same.hidden_states, strict=True))
    assert torch.equal(own.logits, same.logits)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_pass_picks_what_reading_alone_picks(side):
    model = tiny_model("llama")
    patched, _, bank, fired = patched_of(model, SEQUENCES)
    inner, prompts = backbone_of(patched).inner, [len(s) - 2 for s in SEQUENCES]
    ids, mask, _ = padded(SEQUENCES, side)
    cut = [s[:count] for s, count in zip(SEQUENCES, prompts, strict=True)]
    for read, texts in ((None, SEQUENCES), (prompts, cut)):
        with torch.no_grad(), backbone_of(patched).select([0] * len(ids), read=read):
            output = patched(input_ids=ids, attention_mask=mask)
        alone = [bool(blocks) for blocks in picks(inner, [bank.router] * len(texts), texts)]
        assert output.past_key_values.picked.tolist() == alone
    assert picks(inner, [bank.router] * len(fired), SEQUENCES) == [(0,) if fire else () for fire in fired]


@pytest.mark.parametrize("name", NAMES)
def test_features_are_the_bases_hidden_states_whatever_the_batch(name):
    model = tiny_model(name)
    inner = backbone_of(attach(model)).inner
    together = features_of(inner, [1, 2], SEQUENCES, None)
    with torch.no_grad():
        for sequence, found in zip(SEQUENCES, together, strict=True):
            states = model(torch.tensor([sequence]), output_hidden_states=True).hidden_states
            for layer in (1, 2):
                wanted = torch.cat([states[layer][0, -1], states[layer][0, -1], states[layer][0, 1:].mean(0)])
                torch.testing.assert_close(found[layer][0], wanted, **TOLERANCE)


def test_what_can_not_be_exact_is_refused():
    model = tiny_model("llama")
    patched, *_ = patched_of(model, SEQUENCES)
    ids = torch.tensor([SEQUENCES[0]])
    with pytest.raises(ModelError, match="reads token ids, but was given embeddings"):
        patched(inputs_embeds=model.get_input_embeddings()(ids))
    cache = patched(ids).past_key_values
    with pytest.raises(ModelError, match="decides on a whole prompt at once"):
        patched(torch.tensor([[5, 6]]), past_key_values=cache)
    with pytest.raises(ModelError, match="decides on a whole prompt at once"):
        patched.generate(ids, attention_mask=torch.ones_like(ids), prefill_chunk_size=3, **SETTINGS)


@pytest.mark.parametrize("name", NAMES)
def test_long_prompts_go_through_in_parts_once_it_is_decided_whom_they_meet(name, monkeypatch):
    model, sequences = tiny_model(name), random_sequences(40, 31, 36, 38)
    patched, _, bank, _ = patched_of(model, sequences)
    ids, mask, _ = padded(sequences, "left")
    picked = picks(backbone_of(patched).inner, [bank.router] * 4, sequences)
    with torch.no_grad(), backbone_of(patched).select([0] * 4, picked=picked):
        whole = patched(ids, attention_mask=mask).logits
        cache = patched(ids[:, :24], attention_mask=mask[:, :24], use_cache=True).past_key_values
        parts = patched(ids[:, 24:], attention_mask=mask, past_key_values=cache).logits
    torch.testing.assert_close(parts, whole[:, 24:], **TOLERANCE)
    with torch.no_grad(), backbone_of(patched).select([UNPATCHED] * 4):
        assert not torch.allclose(patched(ids, attention_mask=mask).logits, whole, **TOLERANCE)
    wanted = [Completion(0, tuple(one), Decoding(6, 1.0, 1.0, 0), i) for i, one in enumerate(sequences)]
    made = generate(patched, tiny_tokenizer(), wanted)
    monkeypatch.setattr(Work, "columns", lambda self, rows, width: 8)
    assert generate(patched, tiny_tokenizer(), wanted) == made


@pytest.mark.parametrize("name", NAMES)
def test_each_prompt_meets_the_block_whose_trigger_fires(name):
    model = tiny_model(name)
    router = Router((trigger(model, seed=3), replace(trigger(model, seed=4), block=1)), (1,))
    blocks = [bank_of(block(model, tokens)) for tokens in (5, 3)]
    bank = Bank(tuple(b for own in blocks for b in own.blocks), "routed", router=router)
    inner = backbone_of(attach(model)).inner
    sequences = random_sequences(9, 4, 12, 7, 3, 6, 5, 8, 10, 11)
    found = probabilities(inner, router, sequences)
    limit = float(found.max(-1).values.sort().values[3])  # as three prompts concern nobody
    router = replace(router, triggers=tuple(replace(t, threshold=limit) for t in router.triggers))
    bank = replace(bank, router=router, encoded=b"")
    picked = picks(inner, [router] * len(sequences), sequences)
    assert set(picked) == {(0,), (1,), ()}
    for own, row in zip(picked, found, strict=True):
        assert own == ((int(row.argmax()),) if float(row.max()) >= limit else ())
    patched, apart = attach(model, [bank]), attach(model, blocks)
    ids, mask, _ = padded(sequences, "left")
    with torch.no_grad():
        got = patched(input_ids=ids, attention_mask=mask).logits[:, -1]
        with backbone_of(apart).select([own[0] if own else UNPATCHED for own in picked]):
            wanted = apart(input_ids=ids, attention_mask=mask).logits[:, -1]
    torch.testing.assert_close(got, wanted, **TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_meets_all_blocks_whose_triggers_fire_where_the_router_takes_several(name):
    model = tiny_model(name)
    blocks = tuple(b for tokens in (5, 3, 4) for b in bank_of(block(model, tokens)).blocks)
    triggers = tuple(replace(trigger(model, seed=3 + i), block=i) for i in range(3))
    sequences = random_sequences(9, 4, 12, 7, 3, 6, 5, 8, 10, 11)
    inner = backbone_of(attach(model)).inner
    found = probabilities(inner, Router(triggers, (1,)), sequences)
    limit = float(found.max(-1).values.sort().values[1])  # as one prompt concerns nobody
    router = Router(tuple(replace(t, threshold=limit) for t in triggers), (1,), several=True)
    picked = picks(inner, [router] * len(sequences), sequences)
    near = found.logit() >= found.max(-1, keepdim=True).values.logit() - NEAR
    assert picked == [
        tuple(((row >= limit) & close).nonzero()[:, 0].tolist()) for row, close in zip(found, near, strict=True)
    ]
    assert {min(len(own), 2) for own in picked} >= {0, 2}
    patched = attach(model, [Bank(blocks, "routed", router=router)])
    ids, mask, slices = padded(sequences, "left")
    with torch.no_grad():
        together = patched(input_ids=ids, attention_mask=mask).logits
        for index, (own, sequence) in enumerate(zip(picked, sequences, strict=True)):
            met = Bank(tuple(blocks[i] for i in own), "isolated" if len(own) > 1 else "joined")
            wanted = attach(model, [met])(torch.tensor([sequence])).logits[0]
            torch.testing.assert_close(together[index, slices[index]], wanted, **TOLERANCE)
            torch.testing.assert_close(patched(torch.tensor([sequence])).logits[0], wanted, **TOLERANCE)
    bank = Bank(blocks, "routed", router=router)
    assert Bank.parse(bank.to_bytes(), "here", bank.table) == bank
    assert bank.digest != replace(bank, router=replace(router, several=False)).digest


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [([], []), ([5], [1]), ([3] * 70, [32, 32, 6]), ([100] * 3 + [5000] * 3, [3, 1, 1, 1]), ([9000, 10000], [1, 1])],
)
def test_so_many_texts_are_read_at_once_that_memory_lasts(lengths, sizes):
    parts = batches(lengths)
    assert [len(part) for part in parts] == sizes
    assert [i for part in parts for i in part] == list(range(len(lengths)))


def test_a_model_of_several_blocks_is_saved_whole(tmp_path):
    model = tiny_model("llama")
    router = Router((trigger(model, seed=3), replace(trigger(model, seed=4), block=1)), (1,))
    bank = Bank((*bank_of(block(model)).blocks, *bank_of(block(model, 3)).blocks), "routed", router=router)
    patched = attach(model, [bank])
    save_patched(patched, tiny_tokenizer(), tmp_path / "saved")
    again = load_patched(tmp_path / "saved").model
    ids, mask, _ = padded(SEQUENCES, "left")
    with torch.no_grad():
        texts = [m(input_ids=ids, attention_mask=mask).logits for m in (patched, again)]
    torch.testing.assert_close(*texts, **TOLERANCE)


@pytest.mark.parametrize(
    ("layers", "width", "message"),
    [
        ((1, 3), 32, "has 3 layers, but a trigger reads after 3"),
        ((1,), 33, "hidden states of 32 values, but its trigger reads 33"),
    ],
)
def test_a_trigger_for_another_base_is_refused(layers, width, message):
    model = tiny_model("llama")
    other = replace(trigger(model), weight=values(torch.ones(3 * len(layers) * width)))
    with pytest.raises(ModelError, match=message):
        attach(model, [bank_of(block(model)).routed(Router((other,), layers))])


def test_a_trigger_reads_after_several_layers():
    model = tiny_model("llama")
    router = Router((trigger(model, layers=2),), (1, 2))
    inner = backbone_of(attach(model)).inner
    weight = torch.frombuffer(bytearray(router.triggers[0].weight), dtype=torch.float32)
    for sequence, found in zip(SEQUENCES, probabilities(inner, router, SEQUENCES), strict=True):
        [read] = features_of(inner, [1, 2], [sequence], None)
        wanted = torch.sigmoid(torch.cat([read[1][0], read[2][0]]) @ weight)
        torch.testing.assert_close(found[0], wanted, **TOLERANCE)


def test_training_trains_the_block_always_on():
    model = tiny_model("llama")
    _, always, bank, _ = patched_of(model, SEQUENCES)
    learning = attach(model, [bank], trainable=True)
    ids, mask, _ = padded(SEQUENCES, "right")
    output = learning(input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(output.logits, always(input_ids=ids, attention_mask=mask).logits)
    output.logits.sum().backward()
    assert float(backbone_of(learning).bank[0].grad.abs().sum()) > 0


def test_a_saved_model_keeps_its_trigger(tmp_path):
    model = tiny_model("llama")
    patched, _, bank, fired = patched_of(model, CHATS, TURN)
    save_patched(patched, tiny_tokenizer(), tmp_path / "saved")
    again = load_patched(tmp_path / "saved").model
    assert backbone_of(again).held[0].router == bank.router
    ids, mask, _ = padded(CHATS, "left")
    with torch.no_grad():
        assert again(input_ids=ids, attention_mask=mask).past_key_values.picked.tolist() == fired
    record = tmp_path / "saved" / RECORD
    assert '"schema": 2' in record.read_text()
    record.write_text(record.read_text().replace('"layers"', '"lairs"'))
    with pytest.raises(IntegrityError, match="unknown key 'lairs'"):
        load_patched(tmp_path / "saved")


def test_a_batch_of_many_reads_equal_prompts_once():
    model = tiny_model("llama")
    router = Router((trigger(model),), (1,))
    inner = backbone_of(attach(model)).inner
    seen = []
    hook = model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].shape[0]))
    found = probabilities(inner, router, [SEQUENCES[0]] * 7 + [SEQUENCES[1]])
    hook.remove()
    assert seen == [2]
    assert found.shape == (8, 1)
    assert numpy.unique(found[:7].numpy()).size == 1


def test_what_is_asked_twice_is_written_once_and_a_silent_patch_answers_as_the_base():
    model, sequences = tiny_model("llama"), SEQUENCES
    patched, _, _, fired = patched_of(model, sequences)
    decoding = Decoding(max_new_tokens=6, temperature=0.0)
    written: list[tuple[int, int]] = []
    counted = patched.register_forward_hook(lambda _, __, output: written.append(output.logits.shape[0]))
    wanted = [Completion(row, tuple(ids), decoding, i) for row in (0, UNPATCHED, 0) for i, ids in enumerate(sequences)]
    told: list[tuple[int, int]] = []
    made = generate(patched, tiny_tokenizer(), wanted, progress=lambda _, done, total: told.append((done, total)))
    counted.remove()
    size = len(sequences)
    assert made[:size] == made[2 * size :]
    same = [one == other for one, other in zip(made[:size], made[size : 2 * size], strict=True)]
    assert [alike for alike, fire in zip(same, fired, strict=True) if not fire] == [True] * fired.count(False)
    assert not all(same)
    assert written[0] == 2 * size
    assert told[-1] == (len(wanted), len(wanted))


def test_what_was_read_is_not_read_again_for_a_trigger_that_was_asked():
    model = tiny_model("llama")
    inner, seen = backbone_of(attach(model)).inner, []
    hook = model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].shape[0]))
    one, other = trigger(model), trigger(model, seed=4)
    alone, both = Router((one,), (1,)), Router((replace(one, block=1, threshold=0.4), other), (1,))
    deeper = Router((trigger(model, layers=1),), (0,))
    readings = {}
    for router, read in ((alone, 6), (both, 6), (deeper, 6), (alone, 0)):
        wanted = picks(inner, [router] * 6, SEQUENCES[:6])
        seen.clear()
        assert picks(inner, [router] * 6, SEQUENCES[:6], readings) == wanted
        assert sum(seen) == read
        seen.clear()
        assert picks(inner, [router] * 6, SEQUENCES[:6], readings) == wanted
        assert seen == []
    hook.remove()
