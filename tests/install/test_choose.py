"""Which candidate is chosen: what is set aside, what comes to nothing, and what is gated all the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from packages import make_bank, make_routed

from ppm.audit.gate import alpha_of_attempt
from ppm.audit.run import Deployed, Subject, suites_of
from ppm.bank import Bank, Router, Trigger
from ppm.bank_table import Turn
from ppm.base import identify
from ppm.composition.compose import make_context, package_composition
from ppm.composition.registry import STEPS
from ppm.composition.steps import Context, Parent, Specialist
from ppm.composition.strategy import read_strategy
from ppm.environment.attempts import Ledger
from ppm.errors import ManifestError, ModelError, RequestError, TrainingError
from ppm.evaluation.results import Outcome
from ppm.evaluation.suites import load_suite
from ppm.install import choose as choosing
from ppm.install.choose import _can_be_made, choose
from ppm.install.ranking import Ranking, _poorer, candidate_of, rank
from ppm.jsonl import Pair, Prompt, dump
from ppm.manifest import Component, CompositionRecord
from ppm.package import Package
from ppm.progress import Events
from ppm.project import Gates
from ppm.runtime.loading import LazyModel
from ppm.runtime.tensors import bank_of
from ppm.suite import Judge, Suite
from ppm.training.build import build
from ppm.verdict import Waiver


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The base, and two trained patches that ask the same of it: their mean is one of them."""
    folder = tmp_path_factory.mktemp("world")
    base = tiny.train_base(folder / "base", "llama")
    tiny.write_sums(base, margin=0.6)
    kind = build(tiny.write_patch(folder / "kind", base, name="kind"))
    renamed = replace(kind.manifest, patch=replace(kind.manifest.patch, name="gentle"))
    return identify(base, name="tiny"), (kind, Package(renamed, kind.bank, kind.files))


@pytest.fixture
def steps(monkeypatch):
    """Steps that break a patch, that fail, and that make what the base has no room for."""

    def noise(context, bank):
        torch.manual_seed(0)
        return bank_of(torch.randn_like(context.prefix(context.specialists[0].bank)))

    def nothing(context, bank):
        raise TrainingError("the loss is no number")

    def huge(context, bank):
        return bank_of(context.prefix(context.specialists[0].bank).repeat(20, 1))

    for function in (noise, nothing, huge):
        monkeypatch.setitem(STEPS, function.__name__, function)


def recipe(folder: Path, *candidates: str, prefer: str = "") -> str:
    """An automatic strategy whose candidates are single steps, named without their folder."""
    for name in candidates:
        (folder / f"{name}.toml").write_text(f'schema = 1\nname = "{name}"\n[[steps]]\nuse = "{name}"\n')
    path = folder / "mine.toml"
    names = ", ".join(f'"{name}.toml"' for name in candidates)
    rest = f'prefer = "{prefer}"\n' if prefer else ""
    path.write_text(f'schema = 1\nname = "mine"\ncandidates = [{names}]\n{rest}')
    return str(path)


def run(world, folder, *candidates, packages=None, policy=None, prefer="", told=None):
    """(choice, what was told) of an automatic choice."""
    base, both = world
    told = [] if told is None else told
    subject = Subject(base, LazyModel(base), packages or both, "before-bos", policy=policy or Gates())
    choice = choose(
        read_strategy(recipe(folder, *candidates, prefer=prefer)),
        subject,
        seed=0,
        waivers=(),
        ledger=Ledger(folder / "ledger.jsonl"),
        events=Events(tell=told.append),
    )
    return choice, told


def test_nothing_goes_on_from_a_deployment_of_several_blocks():
    one = bank_of(torch.ones(2, 8))
    two = Bank(2 * one.blocks, "isolated")
    recipe = read_strategy("continued")
    for parent, possible in ((None, False), (one, True), (two, False)):
        given = None if parent is None else Parent(parent, "sha256:" + "0" * 64)
        context = Context(base=None, placement="before-bos", specialists=(), retention=(), parent=given)
        assert _can_be_made(recipe, context) is possible
        assert _can_be_made(read_strategy("distilled"), context)


@pytest.mark.parametrize(
    ("shipped", "conditional", "tried"),
    [((True, True), True, False), ((True, False), True, True), ((True, True), False, True)],
)
def test_triggers_that_all_patches_ship_are_not_left_out(shipped, conditional, tried):
    banks = [make_routed() if own else make_bank() for own in shipped]
    specialists = tuple(Specialist(f"{i}", bank, (), None) for i, bank in enumerate(banks))
    context = Context(None, "before-bos", specialists, (), conditional=conditional)
    assert _can_be_made(read_strategy("isolated"), context) is tried
    assert _can_be_made(read_strategy("distilled"), context)


def test_what_would_leave_out_triggers_is_named(world, steps, tmp_path):
    width = 3 * world[1][0].bank.hidden_size
    silent = Router((Trigger(0.5, bytes(4 * width), torch.tensor([-9.0]).numpy().tobytes()),), (1,))
    behind = [p.bank.routed(silent) for p in world[1]]
    packages = [
        replace(p, bank=b, manifest=p.manifest.with_bank(b.table)) for p, b in zip(world[1], behind, strict=True)
    ]
    choice, told = run(world, tmp_path, "isolate", "average", packages=tuple(packages))
    assert any("isolate.toml is not tried: it would leave out the triggers" in line for line in told)
    assert {Path(attempt.strategy).stem for attempt in choice.audit.attempts} == {"average"}
    _, told = run(world, tmp_path, "isolate", "average")
    assert not any("is not tried" in line for line in told)


@pytest.mark.parametrize("always", [False, True])
def test_what_a_policy_keeps_always_on_is_not_routed(world, steps, tmp_path, always):
    policy = Gates(trigger="always" if always else None, looks=())
    choice, told = run(world, tmp_path, "route", "noise", policy=policy)
    assert any(line.endswith("/route.toml") for line in told) is not always
    assert [a.strategy.endswith("route.toml") for a in choice.audit.attempts].count(True) == (0 if always else 1)


def test_what_breaks_a_patch_is_set_aside_and_spends_nothing(world, steps, tmp_path):
    choice, told = run(world, tmp_path, "noise", "average", "concatenate")
    aside, passed = choice.audit.attempts
    assert (aside.verdict, aside.alpha) == ("set aside", None)
    assert "its specialist" in aside.detail
    assert (passed.verdict, passed.alpha, passed.number) == ("pass", 0.03, 1)
    assert choice.composition.manifest.composition.strategy == "average"
    assert choice.report.audit == choice.audit
    assert any("set aside before the gate" in line for line in told)
    assert choice.audit.notes[-1].startswith(
        "mine took average, the first candidate that the gate let through; on the "
    )
    assert choice.audit.notes[-1].endswith(
        f"It has {choice.composition.bank.virtual_tokens} virtual tokens, and is one prefix. Later candidates were not "
        "tried: concatenate."
    )


def test_a_candidate_that_comes_to_nothing_does_not_stop_the_others(world, steps, tmp_path):
    choice, told = run(world, tmp_path, "nothing", "huge", "average")
    assert [a.verdict for a in choice.audit.attempts] == ["error", "error", "pass"]
    assert "the loss is no number" in choice.audit.attempts[0].detail
    assert "nothing.toml could not be composed: the loss is no number" in " ".join(told)


def test_what_is_preferred_is_gated_first_whatever_the_order(world, steps, tmp_path):
    """All that can be made are compared, one that breaks a patch among them."""
    choice, told = run(world, tmp_path, "concatenate", "nothing", "noise", "average", prefer="tokens")
    found = choice.audit.candidates
    assert [c.strategy for c in found] == ["average", "noise", "concatenate"]
    assert found[2].tokens == 2 * found[1].tokens == 2 * found[0].tokens
    assert all((c.passes, c.one_prefix) == (1.0, True) for c in found)
    assert found[1].loss > 0.5 > found[0].loss
    assert [a.verdict for a in choice.audit.attempts] == ["error", "pass"]
    assert choice.composition.manifest.composition.strategy == "average"
    assert "Candidates, by tokens: average, noise, concatenate" in told
    assert "mine took average, the best by tokens that the gate let through" in choice.audit.notes[-1]
    assert "not tried" not in choice.audit.notes[-1]


def test_where_nothing_can_be_made_there_is_no_order(world, steps, tmp_path):
    told = []
    with pytest.raises(TrainingError, match="no candidate could be composed"):
        run(world, tmp_path, "nothing", prefer="latency", told=told)
    assert not any(line.startswith("Candidates") for line in told)


def test_a_preferred_candidate_that_can_t_be_tested_leaves_the_next(world, steps, tmp_path, monkeypatch):
    decide = choosing._Gate.decide

    def refuse(gate, composition, attempts):
        if composition.manifest.composition.strategy == "average":
            raise ModelError("has no room for it")
        return decide(gate, composition, attempts)

    monkeypatch.setattr(choosing._Gate, "decide", refuse)
    choice, told = run(world, tmp_path, "concatenate", "average", prefer="tokens")
    assert choice.composition.manifest.composition.strategy == "concatenate"
    assert [c.strategy for c in choice.audit.candidates] == ["average", "concatenate"]
    assert any("average.toml can't be tested: has no room for it" in line for line in told)


def test_without_a_preference_nothing_is_compared(world, steps, tmp_path):
    assert run(world, tmp_path, "average", "concatenate")[0].audit.candidates == ()


def test_a_preferred_candidate_that_is_set_aside_leaves_the_next(world, steps, tmp_path):
    choice, _ = run(world, tmp_path, "concatenate", "noise", prefer="tokens")
    assert [a.verdict for a in choice.audit.attempts] == ["set aside", "inconclusive"]
    assert choice.composition.manifest.composition.strategy == "concatenate"
    alone = tmp_path / "alone"
    alone.mkdir()
    broken, _ = run(world, alone, "noise", prefer="tokens")
    assert (broken.audit.verdict, [c.strategy for c in broken.audit.candidates]) == ("fail", ["noise"])


@pytest.mark.parametrize(
    ("answers", "several", "passes", "tokens"),
    [((), False, 1.5, 4), ((0,), False, 1.5, 4), ((0, 1), False, 1 + 3 / 256, 4), ((0, 1), True, 1 + 3 / 256, 7)],
)
def test_a_routed_candidate_counts_what_a_prompt_meets_and_how_often_it_is_run(world, answers, several, passes, tokens):
    base, packages = world
    made, subject, _, _ = ranked(base, packages)
    width = made.bank.hidden_size
    triggers = tuple(Trigger(0.5, bytes(4 * 3 * width), bytes(4), block) for block in (0, 1))
    blocks = tuple(bank_of(torch.ones(size, width)).blocks[0] for size in (4, 3))
    bank = Bank(blocks).routed(Router(triggers, (1,), Turn((5,), (6, 7, 8)), several, answers))
    ranking = Ranking(0.0, {"kind/kind": (0.2, 0.1), "gentle/kind": (0.1, 0.3)}, 0.0)
    found = candidate_of(read_strategy("routed"), replace(made, bank=bank), ranking, subject)
    assert (found.passes, found.tokens, found.one_prefix, found.cost) == (passes, tokens, False, "seconds")
    assert found.loss == pytest.approx(0.1)


def outcome(texts):
    return Outcome((0.0,) * len(texts), tuple((text,) for text in texts))


@pytest.mark.parametrize(
    ("own", "alone", "score", "words"),
    [
        ([f"yes {i}" for i in range(20)], [f"yes {i}" for i in range(25)], 1.0, "20 different answers, against 25 for"),
        (["Yes!", "yes"] * 10 + [*"abcd"], [f"yes {i}" for i in range(24)], 3.96, "kind has 5 different answers"),
        (["yes"] * 24, [f"yes {i % 19}" for i in range(24)], 0.0, ""),
        (["well"] * 20 + [""] * 10, ["well"] * 30, 2.0, "10 of kind's answers are not well-formed, against 0 of"),
        (["well"] * 16 + [""] * 4, ["well"] * 20, 0.8, "4 of kind's answers"),
        ([f"yes {i}" for i in range(30)], ["yes"] * 30, 0.0, ""),
        ([], [], 0.0, ""),
    ],
)
def test_answers_that_are_alike_or_broken_speak_against_a_candidate(own, alone, score, words):
    found = max((0.0, ""), *_poorer("kind", outcome(own), outcome(alone)))
    assert found[0] == pytest.approx(score, abs=0.01)
    assert words in found[1]


def test_a_candidate_that_says_always_the_same_is_worse_than_patches_that_do_not(world):
    base, packages = world
    _, subject, context, suites = ranked(base, packages)
    sums = tuple(Pair(f"sum {word} :", word, "bad") for word in tiny.WORDS)  # to which each answer is another one
    asked = replace(context, specialists=tuple(replace(one, replay=sums) for one in context.specialists))
    record = CompositionRecord(
        "mine", "sha256:" + "0" * 64, tuple(Component(p.manifest.name, "1.0.0", p.sha256) for p in packages), 0
    )
    torch.manual_seed(0)
    noise = bank_of(torch.randn(40, context.specialists[0].bank.hidden_size))
    found = rank(package_composition(packages, noise, record, {}), subject, asked, suites)
    assert found.poorer[0] >= 1
    assert "different answers, against" in found.poorer[1]
    assert found.score >= found.poorer[0]


def test_suites_without_completions_are_ranked_by_their_figures_alone(world):
    base, packages = world
    composition, subject, context, suites = ranked(base, packages)
    judge = Judge("gender-logits", {"male": ["good"], "female": ["bad"]})
    asked = Suite("balance", "p.jsonl", judge, metric="mean")
    prompts = dump([Prompt("0", "say a b :")])
    balance = load_suite(asked, {"p.jsonl": prompts}, origin="x", owner=packages[0].manifest.name)
    found = rank(composition, subject, context, [*suites, balance])
    assert "balance" in found.rates
    assert found.poorer[0] < 1


def test_one_prefix_for_answers_alone_is_none_that_exports_take(world):
    base, packages = world
    made, subject, _, _ = ranked(base, packages)
    for turn in (None, Turn((5,), (6, 7, 8))):
        bank = Bank(made.bank.blocks, answers_to=turn)
        found = candidate_of(read_strategy("concat"), replace(made, bank=bank), Ranking(0.0, {}, 0.0), subject)
        assert (found.passes, found.one_prefix, found.loss) == (1.0, turn is None, None)


def test_when_none_is_promising_the_nearest_is_tested_and_nothing_passes(world, steps, tmp_path):
    choice, told = run(world, tmp_path, "noise")
    assert choice.audit.verdict == "fail"
    assert [a.verdict for a in choice.audit.attempts] == ["set aside", "fail"]
    assert any("No candidate looks promising" in line for line in told)


def test_of_those_that_fail_the_nearest_is_shown_and_each_spends_less(world, steps, tmp_path, monkeypatch):
    """Both are worse than the specialists, by far and by farther; without prompts to rank by, both reach the gate."""

    def halfway(context, bank):
        torch.manual_seed(0)
        specialist = context.prefix(context.specialists[0].bank)
        return bank_of(0.5 * specialist + 0.5 * torch.randn_like(specialist))

    monkeypatch.setitem(STEPS, "halfway", halfway)
    blind = tuple(Package(replace(p.manifest, replay=None, retention=None), p.bank, p.files) for p in world[1])
    for order in (("noise", "halfway"), ("halfway", "noise")):
        folder = tmp_path / order[0]
        folder.mkdir()
        choice, told = run(world, folder, *order, packages=blind)
        assert choice.composition.manifest.composition.strategy == "halfway"
        first, second = choice.audit.attempts
        assert [first.alpha, second.alpha] == [alpha_of_attempt(0.05, number) for number in (1, 2)]
        assert {first.verdict, second.verdict} == {"fail"}
        assert all("non-inferiority +" in attempt.detail for attempt in (first, second))
        assert any(f"{order[0]}.toml did not pass: {first.detail}" in line for line in told)


def test_when_nothing_can_be_composed_that_is_said(world, steps, tmp_path):
    with pytest.raises(TrainingError, match="no candidate could be composed"):
        run(world, tmp_path, "nothing")


def test_a_narrow_policy_narrows_what_is_promising(world, tmp_path):
    base, packages = world
    wide, narrow = (rank(*ranked(base, packages, policy=Gates(max_margin=margin))).score for margin in (None, 0.001))
    assert narrow > wide


def test_only_suites_of_a_patch_s_own_risk_are_run_on_its_replay_prompts(world):
    base, (kind, gentle) = world
    extra = Suite("sums", kind.manifest.suites[0].prompts, Judge("refusal"), against="base")
    both = replace(kind.manifest, suites=(*kind.manifest.suites, extra))
    ranking = rank(*ranked(base, (Package(both, kind.bank, kind.files), gentle)))
    assert set(ranking.rates) == {"kind/kind", "gentle/kind"}


def ranked(base, packages, policy=None):
    """The arguments of `rank` for the mean of two packages, spoiled a little."""
    lazy = LazyModel(base)
    subject = Subject(base, lazy, packages, "before-bos", policy=policy or Gates())
    context = make_context(packages, lazy.loaded, seed=0)
    bank = bank_of(context.prefix(context.specialists[0].bank) + 0.3)
    record = CompositionRecord(
        "mine", "sha256:" + "0" * 64, tuple(Component(p.manifest.name, "1.0.0", p.sha256) for p in packages), 0
    )
    return package_composition(packages, bank, record, {}), subject, context, suites_of(subject)


def test_a_waiver_is_for_one_patch_s_suite(world, steps, tmp_path):
    """Both patches have the same suite under different labels."""
    base, packages = world
    subject = Subject(base, LazyModel(base), packages, "before-bos")
    choice = choose(
        read_strategy(recipe(tmp_path, "noise")),
        subject,
        seed=0,
        waivers=[Waiver("kind/kind", "known", "Ada")],
        ledger=Ledger(tmp_path / "ledger.jsonl"),
        events=Events(),
    )
    assert [suite.label for suite in choice.report.suites] == list(choice.audit.suites)
    for name in choice.audit.configurations:
        for suite in choice.report.suites:
            assert len(choice.report.outcomes[name, suite.digest].values) == len(suite.prompts)
    waived = {c.suite for c in choice.audit.comparisons if c.waived}
    assert waived == {"kind/kind"}
    assert choice.audit.verdict == "fail"
    with pytest.raises(RequestError, match="no suite 'kind'"):
        choose(
            read_strategy("merged"),
            subject,
            seed=0,
            waivers=[Waiver("kind", "known", "Ada")],
            ledger=Ledger(tmp_path / "ledger.jsonl"),
            events=Events(),
        )


def test_a_base_without_room_is_a_model_error(world, steps, tmp_path):
    base, packages = world
    (tmp_path / "huge.toml").write_text('schema = 1\nname = "huge"\n[[steps]]\nuse = "huge"\n')
    with pytest.raises(ModelError, match="context has room for 64"):
        choose(
            read_strategy(str(tmp_path / "huge.toml")),
            Subject(base, LazyModel(base), packages, "before-bos"),
            seed=0,
            waivers=(),
            ledger=Ledger(tmp_path / "ledger.jsonl"),
            events=Events(),
        )


def test_a_suite_s_text_without_room_is_told_before_anything_is_composed(world, steps, tmp_path):
    """The step would fail with another error."""
    base, (kind, gentle) = world
    suite = kind.manifest.suites[0]
    prompts = [*kind.prompts(suite), Prompt("long", "tell W1 " * 40)]
    longer = Package(kind.manifest, kind.bank, {**kind.files, suite.prompts: dump(prompts)})
    with pytest.raises(ModelError, match="prompt 'long': takes"):
        run((base, (longer, gentle)), tmp_path, "nothing")


def test_when_all_that_fails_is_waived_the_choice_is_waived_and_no_pass(world, steps, tmp_path):
    base, packages = world
    subject = Subject(base, LazyModel(base), packages, "before-bos")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    waivers = [Waiver(suite, "known", "Ada") for suite in ("kind/kind", "gentle/kind", "sums")]
    choice = choose(
        read_strategy(recipe(tmp_path, "noise")), subject, seed=0, waivers=waivers, ledger=ledger, events=Events()
    )
    assert (choice.audit.verdict, choice.audit.may_deploy) == ("waived", True)
    assert choice.audit.attempts[-1].verdict == "waived"
    assert [attempt.verdict for attempt in ledger.attempts] == ["waived"]


def repeated(package, *, version="1.0.0"):
    """The patch with a suite whose prompts differ by case and white space alone, three at a time."""
    suite = package.manifest.suites[0]
    prompts = [Prompt(str(i), f"{' ' * (i % 3)}tell W1  W{i // 3} :") for i in range(60)]
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, version=version))
    return Package(manifest, package.bank, {**package.files, suite.prompts: dump(prompts)})


def test_a_suite_that_asks_the_same_twice_is_refused(world):
    base, (kind, _) = world
    with pytest.raises(
        ManifestError, match="the suite 'kind' has the same prompt twice: '0' and '1' are both"
    ) as caught:
        suites_of(Subject(base, LazyModel(base), (repeated(kind),), "before-bos"))
    assert "remove the 40 repeated prompts" in caught.value.hint


def test_the_mended_version_of_a_suite_that_asked_the_same_twice_can_take_its_place(world):
    """The old suite is run for what it asks, each prompt once."""
    base, (kind, _) = world
    old = repeated(kind, version="0.9.0")
    subject = Subject(base, LazyModel(base), (kind,), "before-bos", Deployed(old.bank, (old,)))
    counts = {suite.label: len(suite.prompts) for suite in suites_of(subject)}
    assert counts == {"kind==1.0.0/kind": 240, "kind==0.9.0/kind": 20, "sums": 40}


def test_suites_are_ordered_by_the_patches_as_they_were_asked_for(world):
    base, (kind, gentle) = world
    old = repeated(gentle, version="0.9.0")
    subject = Subject(base, LazyModel(base), (gentle, kind), "before-bos", Deployed(old.bank, (old,)))
    owners = [suite.owner for suite in suites_of(subject)]
    assert owners == ["gentle", "gentle", "kind", None]
