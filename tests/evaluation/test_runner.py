"""Running suites on configurations: what the outcomes are, and that they are kept by content."""

import importlib
import json
import math
import os
import stat
from dataclasses import replace

import pytest
import torch
from runtime.architectures import prepended, random_prefixes, tiny_model, tiny_tokenizer
from runtime.test_router import block, trigger

from ppm.bank import EMPTY, Bank, Router
from ppm.errors import ModelError
from ppm.evaluation.results import Configuration, ResultStore
from ppm.evaluation.runner import _alone, evaluate
from ppm.evaluation.suites import load_suite
from ppm.jsonl import Prompt, dump
from ppm.runtime.loading import LoadedBase
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks, probabilities
from ppm.runtime.tensors import bank_of, prefix_of
from ppm.runtime.text import encoder_of
from ppm.suite import Decoding, Judge, Suite

TOKENIZER = tiny_tokenizer()
PROMPTS = [
    Prompt(str(i), text) for i, text in enumerate(("hello", "please tell me w40 w41", "w50 w60 w70", "thank you"))
]
WORDS = [f"w{index}" for index in range(12, 40)]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", initializer_range=0.3)


@pytest.fixture(scope="module")
def configurations(model):
    first, second = random_prefixes(model, 5, 3)
    patched = [("toxicity==1.0.0", first), ("composition", second)]
    return [Configuration("base"), *(Configuration(name, bank_of(prefix)) for name, prefix in patched)]


def load(prompts=PROMPTS, **settings):
    settings = {"judge": Judge("lexicon", {"words": WORDS}), "decoding": Decoding(4), **settings}
    suite = Suite("main", "main.jsonl", **settings)
    return load_suite(suite, {"main.jsonl": dump(prompts)}, origin="a test", owner="toxicity")


def run(model, configurations, suites, **settings):
    return evaluate(LoadedBase(model, TOKENIZER), configurations, suites, placement="before-bos", **settings)


def files_of(store):
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


def test_a_value_is_the_share_of_samples_that_the_judge_calls_a_failure(model, configurations):
    suite = load(samples=5)
    outcomes = run(model, configurations, [suite])
    assert {name for name, _ in outcomes} == {c.name for c in configurations}
    for outcome in outcomes.values():
        assert len(outcome.values) == len(PROMPTS)
        for value, texts in zip(outcome.values, outcome.completions, strict=True):
            assert len(set(texts)) > 1
            assert value == sum(bool(set(text.split()) & set(WORDS)) for text in texts) / 5
        assert 0 < outcome.mean < 1
    assert len({outcome.completions for outcome in outcomes.values()}) == 3


def test_for_the_goal_higher_not_showing_it_is_the_failure(model, configurations):
    lower, higher = load(samples=3), load(samples=3, goal="higher", decoding=Decoding(4))
    outcomes = run(model, configurations[:1], [lower, higher])
    texts = outcomes["base", higher.digest].completions
    shares = [sum(bool(set(text.split()) & set(WORDS)) for text in samples) / 3 for samples in texts]
    assert outcomes["base", higher.digest].values == pytest.approx([1 - share for share in shares])


def test_a_configuration_alone_has_the_outcome_it_has_among_others(model, configurations):
    suites = [load(), load(samples=3, decoding=Decoding(7, 0.8, 0.9))]
    together = run(model, configurations, suites)
    for configuration in configurations:
        for suite in suites:
            alone = run(model, [configuration], [suite], batch_size=1)
            assert alone[configuration.name, suite.digest] == together[configuration.name, suite.digest]


def test_a_second_run_makes_no_call_of_the_model(model, configurations, tmp_path):
    store = ResultStore(tmp_path, "sha256:weights")
    suites = [load(samples=2), load(judge=Judge("perplexity"), metric="perplexity", against="base")]
    first = run(model, configurations, suites, store=store)
    written = {path: path.stat().st_mtime_ns for path in files_of(store)}
    assert len(written) == 6
    # Without a model nothing can be computed.
    assert run(None, configurations, suites, store=store) == first
    assert {path: path.stat().st_mtime_ns for path in files_of(store)} == written


def test_the_name_of_a_configuration_is_not_part_of_what_is_kept(model, configurations, tmp_path):
    store, suite = ResultStore(tmp_path, "sha256:weights"), load()
    first = run(model, configurations, [suite], store=store)
    renamed = [Configuration("deployed", configurations[2].bank)]
    assert run(None, renamed, [suite], store=store)["deployed", suite.digest] == first["composition", suite.digest]


def test_only_what_changed_runs_again(model, configurations, tmp_path):
    store, suite = ResultStore(tmp_path, "sha256:weights"), load()
    run(model, configurations, [suite], store=store)
    before = files_of(store)
    changed = [*configurations[:2], Configuration("composition", bank_of(prefix_of(configurations[2].bank) + 0.1))]
    run(model, changed, [suite], store=store)
    assert len(files_of(store)) == len(before) + 1
    run(model, configurations[:1], [load(decoding=Decoding(5))], store=store)
    assert len(files_of(store)) == len(before) + 2
    run(model, configurations[:1], [suite], store=ResultStore(tmp_path, "sha256:other weights"))
    assert len(files_of(store)) == len(before) + 3


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"values": 1, "completions": []}',
        b'{"values": [0.5], "completions": [["x"]]}',
    ],
)
def test_a_damaged_result_is_computed_again(model, configurations, tmp_path, damage):
    store, suite = ResultStore(tmp_path, "sha256:weights"), load()
    first = run(model, configurations[:1], [suite], store=store)
    [path] = files_of(store)
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert run(model, configurations[:1], [suite], store=store) == first
    assert json.loads(path.read_bytes()) == json.loads(whole)


def test_without_a_store_nothing_is_kept(model, configurations, ppm_home):
    suite = load()
    assert run(model, configurations, [suite]) == run(model, configurations, [suite])
    assert not list(ppm_home.rglob("*"))


def loss_by_transformers(model, context, target, prefix):
    """The mean loss in nats of the target's tokens, by the model's own loss."""
    embeds = prepended(model, [*context, *target], prefix)
    ignored = embeds.shape[1] - len(target)
    with torch.no_grad():
        return float(model(inputs_embeds=embeds, labels=torch.tensor([[-100] * ignored + list(target)])).loss)


def test_perplexity_is_that_of_transformers(model, configurations):
    prompts = [
        Prompt("text", "hello w40 w41 thank you"),
        Prompt("short", "fool"),
        Prompt("answer", "please tell me", expected="w50 w60"),
    ]
    suite = load(prompts, judge=Judge("perplexity"), metric="perplexity", against="base")
    outcomes = run(model, configurations, [suite])
    splits = [
        ([1], TOKENIZER("hello w40 w41 thank you").input_ids[1:]),
        ([1], TOKENIZER("fool").input_ids[1:]),
        (TOKENIZER("please tell me").input_ids, TOKENIZER("w50 w60", add_special_tokens=False).input_ids),
    ]
    for configuration in configurations:
        outcome = outcomes[configuration.name, suite.digest]
        prefix = prefix_of(configuration.bank) if configuration.bank else None
        losses = [loss_by_transformers(model, *split, prefix) for split in splits]
        assert outcome.values == pytest.approx(losses, rel=1e-4)
        assert math.exp(outcome.mean) == pytest.approx(math.exp(sum(losses) / 3), rel=1e-4)
        assert outcome.completions == ()


def test_progress_ends_with_everything_done(model, configurations):
    seen = []
    run(model, configurations, [load()], batch_size=5, progress=lambda label, done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    done = [one for one, _ in seen]
    assert done == sorted(set(done))
    assert {5, 10} <= set(done)


def test_an_interrupted_run_keeps_the_suites_that_were_done(model, configurations, tmp_path):
    store = ResultStore(tmp_path, "weights")
    suites = [load(), load(PROMPTS[:2])]

    def interrupt(label, done, total):
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, configurations, suites, store=store, progress=interrupt)
    assert len(files_of(store)) == len(configurations)
    seen = []
    run(model, configurations, suites, store=store, progress=lambda label, done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_answers_to_sealed_suites_are_for_their_user_alone(model, configurations, tmp_path):
    open_, umask = load(), os.umask(0o022)
    sealed = replace(open_, suite=replace(open_.suite, sealed=True))
    try:
        modes = []
        # The answers are the same, so the third run makes none, and hides those of the first.
        for name, suite in (("one", open_), ("other", sealed), ("one", sealed)):
            store = ResultStore(tmp_path / name, "weights")
            run(model, configurations, [suite], store=store)
            modes.append({stat.S_IMODE(path.stat().st_mode) for path in files_of(store)})
    finally:
        os.umask(umask)
    assert modes == [{0o644}, {0o600}, {0o600}]


def test_a_look_at_some_prompts_saves_the_next_look_their_answers(model, configurations, tmp_path):
    store, suite = ResultStore(tmp_path, "weights"), load()
    head = suite.head(0.5)
    first = run(model, configurations, [head], store=store)
    seen = []
    whole = run(
        model, configurations, [suite], store=store, progress=lambda label, done, total: seen.append((done, total))
    )
    rest = len(suite.prompts) - len(head.prompts)
    assert seen[-1] == (rest * len(configurations),) * 2
    assert whole == run(model, configurations, [suite])
    by_id = dict(zip([p.id for p in suite.prompts], whole["base", suite.digest].values, strict=True))
    assert first["base", suite.digest].values == tuple(by_id[p.id] for p in head.prompts)
    assert run(None, configurations, [head], store=store) == first


def next_words(model, bank, prompt):
    """The probabilities of the next token, for a prompt without padding."""
    patched = attach(model, [prefix_of(bank)] if bank else [])
    with torch.no_grad():
        logits = patched(input_ids=torch.tensor([TOKENIZER(prompt).input_ids])).logits[0, -1]
    return torch.softmax(logits.double(), dim=-1)


def token(word):
    return TOKENIZER(word, add_special_tokens=False).input_ids[0]


def test_gender_logits_lean_by_the_probabilities_of_the_next_word(model, configurations):
    male, female = ["w20", "w21"], ["w30", "unknown"]
    suite = load(judge=Judge("gender-logits", {"male": male, "female": female}), metric="mean")
    outcomes = run(model, configurations[1:], [suite])
    for configuration in configurations[1:]:
        for prompt, found in zip(PROMPTS, outcomes[configuration.name, suite.digest].values, strict=True):
            p = next_words(model, configuration.bank, prompt.prompt)
            p_m, p_f = p[token("w20")] + p[token("w21")], p[token("w30")]
            assert found == pytest.approx(float(abs(p_m - p_f) / (p_m + p_f)), abs=1e-5)


def test_multiple_choice_takes_the_likeliest_choice(model, configurations):
    choices = ["w20", "w30", "w40", "w50"]
    [wanted] = {max(choices, key=lambda c: next_words(model, configurations[1].bank, "hello")[token(c)])}
    prompts = [Prompt(choice, "hello", expected=choice) for choice in choices]
    suite = load(prompts, judge=Judge("multiple-choice", {"choices": choices}), goal="higher")
    outcome = run(model, configurations[1:2], [suite])[configurations[1].name, suite.digest]
    assert [p.id for p, value in zip(prompts, outcome.values, strict=True) if value == 0] == [wanted]


def test_words_that_are_no_tokens_are_refused(model, configurations):
    suite = load(judge=Judge("gender-logits", {"male": ["w20"], "female": ["queen"]}), metric="mean")
    with pytest.raises(ModelError, match="several tokens"):
        run(model, configurations, [suite])


def test_the_worst_of_several_completions_counts_by_its_metric(model, configurations):
    rate, worst = (load(samples=5, metric=metric) for metric in ("rate", "probability"))
    outcomes = run(model, configurations[:1], [rate, worst])
    for texts, value in zip(
        outcomes["base", worst.digest].completions, outcomes["base", worst.digest].values, strict=True
    ):
        assert value == float(any(set(text.split()) & set(WORDS) for text in texts))
    assert outcomes["base", worst.digest].mean > outcomes["base", rate.digest].mean


FULL = " ".join(["w40"] * 126)
"""With the beginning of a sequence one token less than the tiny models' context holds."""


def words_beyond():
    """The tiny models' tokenizer with a word that they have no embedding for."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["beyond"])
    return tokenizer


KINDS = {
    "completions": {},
    "next-token": {"judge": Judge("gender-logits", {"male": ["w20"], "female": ["w30"]}), "metric": "mean"},
    "perplexity": {"judge": Judge("perplexity"), "metric": "perplexity", "against": "base"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_prompt_without_room_beside_the_prefix_is_refused_by_its_name(architecture, kind):
    """Whose suite it is makes no difference: those of packages, of the base and of the deployer all run here."""
    model = tiny_model(architecture)
    suite = load([*PROMPTS, Prompt("long", FULL)], **KINDS[kind])
    long = Configuration("patched", bank_of(random_prefixes(model, 5)[0]))
    with pytest.raises(ModelError, match="the base model's context has room for 128") as refused:
        run(model, [Configuration("base"), long], [suite])
    assert refused.value.context == "the suite 'main', prompt 'long'"


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_text_that_fills_the_context_is_measured(architecture):
    model = tiny_model(architecture)
    for kind, text in (("perplexity", f"{FULL} w41"), ("next-token", FULL)):
        suite = load([Prompt("full", text)], **KINDS[kind])
        assert 0 <= run(model, [Configuration("base")], [suite])["base", suite.digest].mean < math.inf
    with pytest.raises(ModelError, match="takes 129 tokens"):
        run(model, [Configuration("base")], [load([Prompt("over", f"{FULL} w41")], **KINDS["next-token"])])


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_without_an_embedding_is_refused_by_the_prompts_name(model, kind):
    suite = load([*PROMPTS, Prompt("strange", "tell me beyond")], **KINDS[kind])
    with pytest.raises(ModelError, match="embeddings for 99 tokens only") as refused:
        evaluate(LoadedBase(model, words_beyond()), [Configuration("base")], [suite], placement="before-bos")
    assert refused.value.context == "the suite 'main', prompt 'strange'"


def test_an_expected_text_is_one_that_the_model_can_read_and_has_room_for(model):
    base = LoadedBase(model, words_beyond())
    for expected, said in (("beyond", "embeddings for 99 tokens only"), (FULL, "context has room for 128")):
        suite = load([Prompt("answer", "tell me", expected=expected)], **KINDS["perplexity"])
        with pytest.raises(ModelError, match=said) as refused:
            evaluate(base, [Configuration("base")], [suite], placement="before-bos")
        assert "prompt 'answer'" in refused.value.context


def test_a_judges_words_are_ones_that_the_model_has_embeddings_for(model):
    base = LoadedBase(model, words_beyond())
    judge = Judge("gender-logits", {"male": ["w20"], "female": ["beyond"]})
    with pytest.raises(ModelError, match="embeddings for 99 tokens only, and none for beyond"):
        evaluate(base, [Configuration("base")], [load(judge=judge, metric="mean")], placement="before-bos")
    mixed = Judge("gender-logits", {"male": ["w20"], "female": ["beyond", "w30"]})
    suites = [load(judge=mixed, metric="mean"), load(**KINDS["next-token"])]
    found = evaluate(base, [Configuration("base")], suites, placement="before-bos")
    assert found["base", suites[0].digest].values == found["base", suites[1].digest].values


@pytest.mark.parametrize(("kind", "kept"), [("completions", False), ("next-token", False), ("perplexity", True)])
def test_a_rate_above_one_is_no_result_and_a_loss_may_be(model, tmp_path, kind, kept):
    suite, store, base = load(**KINDS[kind]), ResultStore(tmp_path, "weights"), Configuration("base")
    first = run(model, [base], [suite], store=store)["base", suite.digest]
    key = store.key(base, "before-bos", suite)
    store.put(key, {id_: (value + 2.0, texts) for id_, (value, texts) in store.get(key).items()})
    again = run(model, [base], [suite], store=store)["base", suite.digest]
    assert again.values == (tuple(value + 2.0 for value in first.values) if kept else first.values)


def test_banks_that_meet_a_prompt_otherwise_have_results_of_their_own(configurations, tmp_path):
    store, suite = ResultStore(tmp_path, "weights"), load()
    bank = Bank(configurations[1].bank.blocks * 2)
    other = replace(bank, arrangement="isolated")
    assert (bank.to_bytes() == other.to_bytes(), bank == other) == (True, False)
    keys = {store.key(Configuration("patched", b), "before-bos", suite) for b in (bank, other)}
    assert len(keys) == 2


@pytest.fixture(scope="module")
def behind_triggers(model):
    """The base, two patches whose triggers fire for half of the prompts, not the same ones, and both together."""
    ids = [encoder_of(LoadedBase(model, TOKENIZER)).prompt(prompt.prompt) for prompt in SEVERAL]

    def routed(seed, tokens):
        router = Router((trigger(model, seed=seed),), (1,))
        found = probabilities(backbone_of(attach(model)).inner, router, ids)[:, 0]
        own = replace(router.triggers[0], threshold=float(found.median()), patch=str(seed))
        return bank_of(block(model, tokens)).routed(replace(router, triggers=(own,))), int(
            (found >= found.median()).sum()
        )

    (one, fired), (other, too) = routed(3, 5), routed(4, 3)
    triggers = (*one.router.triggers, replace(other.router.triggers[0], block=1))
    both = Bank((*one.blocks, *other.blocks)).routed(replace(one.router, triggers=triggers))
    named = {"base": EMPTY, "one==1": one, "other==1": other, "composition": both}
    return [Configuration(name, bank) for name, bank in named.items()], fired + too


SEVERAL = [Prompt(str(i), f"please tell me w{40 + i} w{50 + 2 * i}") for i in range(9)]
TEXTS = {"judge": Judge("perplexity"), "metric": "perplexity", "against": "base"}


def counted_answers(monkeypatch):
    """How many answers each call from now on is for."""
    asked = []
    for module, name in (("generation", "generate"), ("scoring", "sum_log_probabilities")):
        made = getattr(importlib.import_module(f"ppm.evaluation.{module}"), name)

        def counted(*arguments, made=made, **options):
            asked.append(len(arguments[-1]))
            return made(*arguments, **options)

        monkeypatch.setattr(f"ppm.evaluation.{module}.{name}", counted)
    return asked


def assert_same(outcomes, wanted):
    """Losses are those of other batches, and so the same up to rounding."""
    for key, outcome in outcomes.items():
        assert outcome.values == pytest.approx(wanted[key].values, rel=1e-5)
        assert outcome.completions == wanted[key].completions


@pytest.mark.parametrize("settings", [{}, {"samples": 3}, TEXTS], ids=["one", "three samples", "texts"])
def test_what_meets_no_block_or_the_one_of_a_patch_is_answered_once(
    model, behind_triggers, settings, tmp_path, monkeypatch
):
    configurations, fired = behind_triggers
    suite = load(SEVERAL, **settings)
    wanted = {}
    for configuration in configurations:
        wanted |= run(model, [configuration], [suite])
    asked = counted_answers(monkeypatch)
    store, samples = ResultStore(tmp_path, "weights"), settings.get("samples", 1)
    assert_same(run(model, configurations[:3], [suite], store=store), wanted)
    assert sum(asked) == (len(SEVERAL) + fired) * samples
    asked.clear()
    assert_same(run(model, configurations[3:], [suite], store=store), wanted)
    assert asked == []
    assert_same(run(model, configurations, [suite]), wanted)  # without a store, too
    assert sum(asked) == (len(SEVERAL) + fired) * samples


def test_what_a_patch_answers_always_on_is_not_answered_again_behind_a_trigger(model, behind_triggers, monkeypatch):
    configurations, _ = behind_triggers
    base, one, other, both = configurations
    always = [base, *(replace(c, bank=c.bank.always_on) for c in (one, other))]
    suite = load(SEVERAL)
    wanted = run(model, [both], [suite]) | run(model, always, [suite])
    asked = counted_answers(monkeypatch)
    assert_same(run(model, [*always, both], [suite]), wanted)
    assert sum(asked) == 3 * len(SEVERAL)


def test_where_a_prompt_may_meet_several_blocks_one_alone_is_known_as_its_patch(behind_triggers):
    _, one, _, both = behind_triggers[0]
    several = both.bank.routed(replace(both.bank.router, several=True))
    for bank in (both.bank, several):
        assert one.bank in _alone(bank, (0,))


def test_what_meets_several_blocks_is_answered_as_by_an_isolated_bank_and_once(model, behind_triggers, monkeypatch):
    configurations, _ = behind_triggers
    base, one, other, both = configurations
    low = tuple(replace(t, threshold=1e-9) for t in both.bank.router.triggers)
    together = Configuration("composition", both.bank.routed(replace(both.bank.router, triggers=low, several=True)))
    apart = Configuration("isolated", both.bank.of_blocks((0, 1)))
    always = [base, *(replace(c, bank=c.bank.always_on) for c in (one, other))]
    suite = load(SEVERAL)
    wanted = run(model, [together], [suite])
    ids = [encoder_of(LoadedBase(model, TOKENIZER)).prompt(prompt.prompt) for prompt in SEVERAL]
    router = together.bank.router
    picked = picks(backbone_of(attach(model)).inner, [router] * len(ids), ids)
    assert (0, 1) in picked
    wanted |= run(model, [*always, apart], [suite])
    answered = {c.bank: wanted[c.name, suite.digest] for c in (*always, apart)}
    for i, blocks in enumerate(picked):
        met = answered[both.bank.of_blocks(blocks)]
        assert wanted["composition", suite.digest].completions[i] == met.completions[i]
    asked = counted_answers(monkeypatch)
    assert_same(run(model, [*always, apart, together], [suite]), wanted)
    assert sum(asked) == 4 * len(SEVERAL)
