"""How often the gate passes what it must not: a composition that is worse by just the margin.

`exact_error` enumerates every outcome (b, c) of the paired score interval, and `exact_error_of_shares` those of scores
that have two values; the rest simulates whole audits with
planned looks, several completions a prompt, several attempts, vendors who mend what they are shown, losses on few
texts, prompts of few templates, judges that err, and many upgrades in a row. `exact_power` is for how many groups it
takes.

    python benchmarks/error_rates.py                           # prints the tables of docs/gate.md
    python benchmarks/error_rates.py --figure docs/drift.svg   # draws its figure (takes `--group figures`)
"""

import argparse
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy
from scipy.special import gammaln
from scipy.stats import binom, norm

from ppm.audit.gate import alpha_of_attempt
from ppm.evaluation.correction import Confusion, corrected_difference
from ppm.evaluation.exact import exact_alpha, worst_error
from ppm.evaluation.measures.registry import figures_of
from ppm.evaluation.statistics import group_means, mean_interval, paired_interval

NUISANCE = numpy.concatenate([numpy.linspace(0, 0.02, 21), numpy.linspace(0.025, 0.475, 19)])
"""Rates at which only the specialist fails; the composition alone fails at this rate plus the margin."""


def passes(b: numpy.ndarray, c: numpy.ndarray, n: int, margin: float, alpha: float) -> numpy.ndarray:
    """Whether the upper bound of the paired score interval is below the margin, for arrays of counts.

    The bound is below the margin just when the score statistic at the margin is below -z (Tango 1998, eq. 12).
    """
    b, c = b.astype(float), c.astype(float)
    first = -b - c + (2 * n - b + c) * margin
    root = numpy.sqrt(numpy.maximum(first**2 + 8 * n * c * margin * (1 - margin), 0))
    q = (root - first) / (4 * n)
    variance = n * (2 * q + margin * (1 - margin))
    return numpy.asarray((b - c - n * margin) / numpy.sqrt(variance) < -norm.isf(alpha))


SHARES, SIZES = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5), (1.0, 0.7, 0.5, 0.3, 0.2, 0.1)


def exact_error_of_shares(n: int, margin: float, alpha: float) -> float:
    """The largest chance of a wrong pass where a prompt or group counts as a share, as means of scores and samples do.

    Over distributions of two values: on a share of the units the composition is worse by one size, and on all others by
    as much, or better, as makes the whole worse by the margin.
    """
    worst = 0.0
    for size, share in itertools.product(SIZES, SHARES):
        rest = (margin - share * size) / (1 - share)
        if not -1 <= rest <= 1:
            continue
        counts = numpy.arange(n + 1)
        chances = binom.pmf(counts, n, share)
        found = 0.0
        for count in counts[chances > 1e-6]:
            differences = [size] * int(count) + [rest] * int(n - count)
            if paired_interval(differences, [0.0] * n, alpha, margin=margin).high < margin:
                found += float(chances[count])
        worst = max(worst, found)
    return worst


def between_rates(n: int, margin: float, alpha: float) -> float:
    """The largest chance of a wrong pass as gated, over far more rates than alpha is shrunk on."""
    return worst_error(n, margin, exact_alpha(n, margin, alpha), numpy.linspace(0, 0.5, 1500))


def exact_error(n: int, margin: float, alpha: float) -> float:
    """The largest chance, over the nuisance rate, that a composition worse by the margin passes on n prompts."""
    b, c = (grid.ravel() for grid in numpy.meshgrid(numpy.arange(n + 1), numpy.arange(n + 1), indexing="ij"))
    possible = b + c <= n
    b, c = b[possible], c[possible]
    passing = passes(b, c, n, margin, alpha)
    b, c = b[passing], c[passing]
    ways = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    worst = 0.0
    for rate in NUISANCE:
        both = numpy.array([rate + margin, rate, 1 - 2 * rate - margin])
        if (both < 0).any():
            continue
        terms = [
            numpy.where(count > 0, count * math.log(p) if p > 0 else -numpy.inf, 0.0)
            for count, p in zip((b, c, n - b - c), both, strict=True)
        ]
        worst = max(worst, float(numpy.exp(ways + sum(terms)).sum()))
    return worst


def _outcomes(rng: numpy.random.Generator, prompts: int, margin: float, rate: float) -> numpy.ndarray:
    """Per prompt the composition's failure less the specialist's, for a composition that is worse by the margin."""
    return rng.choice([1, -1, 0], size=prompts, p=[rate + margin, rate, 1 - 2 * rate - margin])


def _decide(differences: numpy.ndarray, margin: float, alpha: float) -> bool:
    counts, n = ((differences == 1).sum(), (differences == -1).sum()), len(differences)
    return bool(passes(*counts, n, margin, exact_alpha(n, margin, alpha)))


def simulated_error(audit: Callable[[numpy.random.Generator], bool], audits: int, seed: int = 0) -> float:
    """The share of audits that pass."""
    rng = numpy.random.default_rng(seed)
    return sum(audit(rng) for _ in range(audits)) / audits


def with_looks(
    n: int, margin: float, alpha: float, looks: tuple[float, ...], rate: float = 0.02
) -> Callable[..., bool]:
    """An audit that may end early: each look spends an equal part of alpha."""

    def audit(rng: numpy.random.Generator) -> bool:
        differences = _outcomes(rng, n, margin, rate)
        shares = (*looks, 1.0)
        return any(_decide(differences[: math.ceil(s * n)], margin, alpha / len(shares)) for s in shares)

    return audit


def with_attempts(n: int, margin: float, alpha: float, attempts: int, rate: float = 0.02) -> Callable[..., bool]:
    """An install that gates one candidate after the other, all of them worse by the margin, until one passes."""

    def audit(rng: numpy.random.Generator) -> bool:
        return any(
            _decide(_outcomes(rng, n, margin, rate), margin, alpha_of_attempt(alpha, k)) for k in range(1, attempts + 1)
        )

    return audit


def with_rebuilds(
    n: int, margin: float, alpha: float, rebuilds: int, *, counted: bool, rate: float = 0.02
) -> Callable[..., bool]:
    """A patch that is built anew under other names until a build passes, all of them worse by the margin.

    By what each build is it is the first attempt; `counted` by its prompts, it is one more.
    """

    def audit(rng: numpy.random.Generator) -> bool:
        return any(
            _decide(_outcomes(rng, n, margin, rate), margin, alpha_of_attempt(alpha, k if counted else 1))
            for k in range(1, rebuilds + 1)
        )

    return audit


def with_adaptive(
    n: int, margin: float, alpha: float, attempts: int, *, sealed: bool, mended: float = 0.5, rate: float = 0.02
) -> Callable[..., bool]:
    """A vendor who tries again, with a patch that stays worse by the margin on all prompts but those of the suite.

    Of what is shown to fail, each next build mends this share, prompt by prompt: by training on paraphrases, say. Of a
    `sealed` suite only rates are shown, so that a build is another one and no more.
    """

    def audit(rng: numpy.random.Generator) -> bool:
        differences = _outcomes(rng, n, margin, rate)
        for k in range(1, attempts + 1):
            if _decide(differences, margin, alpha_of_attempt(alpha, k)):
                return True
            if sealed:
                differences = _outcomes(rng, n, margin, rate)
            else:
                differences = numpy.where((differences == 1) & (rng.random(n) < mended), 0, differences)
        return False

    return audit


def with_skewed_loss(
    n: int, margin: float, alpha: float, share: float, *, by_mean: bool = False, noise: float = 0.02
) -> Callable[..., bool]:
    """Perplexity on n texts, of which this share become dearer, by a nat a token.

    `by_mean`: with the mean held against the margin, and the whole of a mean loss as large as that on these texts.
    """
    measure = figures_of("perplexity")

    def audit(rng: numpy.random.Generator) -> bool:
        struck = rng.random(n) < share
        before = rng.normal(3, 1, n)
        after = before + numpy.where(struck, margin / share if by_mean else 1.0, 0.0) + rng.normal(0, noise, n)
        if by_mean:
            return mean_interval(after - before, alpha).high < margin
        return measure.difference(*measure.paired(after.tolist(), before.tolist()), alpha, margin).high < margin

    return audit


def with_clusters(n: int, samples: int, margin: float, alpha: float, spread: float) -> Callable[..., bool]:
    """An audit with several completions a prompt; prompts differ in their rates, with this concentration."""

    def audit(rng: numpy.random.Generator) -> bool:
        specialist = rng.beta(0.05 * spread, 0.95 * spread, size=n)
        composition = rng.beta((0.05 + margin) * spread, (0.95 - margin) * spread, size=n)
        first, second = rng.binomial(samples, composition) / samples, rng.binomial(samples, specialist) / samples
        return paired_interval(first.tolist(), second.tolist(), alpha, margin=margin).high < margin

    return audit


def with_few_prompts(n: int, samples: int, margin: float, alpha: float, chance: float) -> Callable[..., bool]:
    """An audit with several completions a prompt; few prompts, which fail with this chance, make the difference."""

    def audit(rng: numpy.random.Generator) -> bool:
        weak = rng.random(n) < margin / chance
        first = rng.binomial(samples, numpy.where(weak, chance, 0.0)) / samples
        return paired_interval(first.tolist(), [0.0] * n, alpha, margin=margin).high < margin

    return audit


def with_errors(
    n: int, margin: float, alpha: float, youden: float, *, labels: int = 250, measured: bool = True, rate: float = 0.05
) -> Callable[..., bool]:
    """An audit by a judge that misses failures and calls others failures, J in all, as often the one as the other.

    How it errs is `measured` on so many labelled failures and as many others, anew for each audit, or not known.
    """
    right = (1 + youden) / 2

    def audit(rng: numpy.random.Generator) -> bool:
        specialist = rng.random(n) < rate
        composition = specialist | (rng.random(n) < margin / (1 - rate))
        seen = [numpy.where(rng.random(n) < right, side, ~side).astype(float) for side in (composition, specialist)]
        if not measured:
            return paired_interval(seen[0].tolist(), seen[1].tolist(), alpha, margin=margin).high < margin
        found, left = (int(rng.binomial(labels, right)) for _ in range(2))
        errors = Confusion(found, labels - found, left, labels - left)
        return corrected_difference(seen[0].tolist(), seen[1].tolist(), errors, alpha, margin=margin).high < margin

    return audit


Values = tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]
"""Per prompt: the composition's failure, the specialist's, and the number of its group."""


def of_templates(
    rng: numpy.random.Generator, groups: int, prompts: int, margin: float, *, spread: float = 1.0
) -> Values:
    """Prompts of templates whose rates differ, with this concentration; the composition is worse by the margin."""
    group = numpy.arange(prompts) % groups
    specialist = rng.beta(0.05 * spread, 0.95 * spread, size=groups)
    composition = rng.beta((0.05 + margin) * spread, (0.95 - margin) * spread, size=groups)
    first, second = (rng.random(prompts) < rates[group] for rates in (composition, specialist))
    return first.astype(float), second.astype(float), group


def of_breaking(
    rng: numpy.random.Generator, groups: int, prompts: int, margin: float, *, noise: float = 0.05
) -> Values:
    """Whole groups that break, `margin` of them; of all others both fail at the same rate, each on its own."""
    group = numpy.arange(prompts) % groups
    broken = (rng.random(groups) < margin)[group]
    second = rng.random(prompts) < noise
    return (broken | (rng.random(prompts) < noise)).astype(float), (second & ~broken).astype(float), group


def with_groups(
    values: Callable[..., Values], groups: int, prompts: int, margin: float, alpha: float, grouped: bool, loss: float
) -> Callable[[numpy.random.Generator], bool]:
    """An audit of prompts of groups, counted in groups or one by one; the composition is worse by `loss`."""

    def audit(rng: numpy.random.Generator) -> bool:
        first, second, group = values(rng, groups, prompts, loss)
        if grouped:
            names = list(map(str, group))
            first, second = (numpy.array(group_means(side.tolist(), names)) for side in (first, second))
        return paired_interval(first.tolist(), second.tolist(), alpha, margin=margin).high < margin

    return audit


def exact_power(n: int, margin: float, discordance: float, alpha: float) -> float:
    """The chance to pass on n groups where nothing is lost and each side alone fails on half of the discordance."""
    most = min(n, math.ceil(n * discordance / 2 + 8 * math.sqrt(n * discordance / 2) + 8))
    b, c = (grid.ravel() for grid in numpy.meshgrid(numpy.arange(most), numpy.arange(most), indexing="ij"))
    passing = passes(b, c, n, margin, alpha) & (b + c <= n)
    b, c = b[passing], c[passing]
    ways = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    logs = (b + c) * math.log(discordance / 2) + (n - b - c) * math.log(1 - discordance)
    return float(numpy.exp(ways + logs).sum())


def groups_needed(margin: float, discordance: float, alpha: float, youden: float = 1.0, *, shrunk: bool = True) -> int:
    """The fewest groups, to the next 10, for a power of 0.9; `shrunk` as the gate shrinks alpha.

    With a judge of this J, known for certain, the margin is J times as wide and alpha a fifth smaller.
    """
    if youden < 1:
        margin, alpha = margin * youden, 0.8 * alpha
    found = (n for n in range(50, 20_000, 10) if _power_of(n, margin, discordance, alpha, shrunk=shrunk) >= 0.9)
    return next(found)


def _power_of(n: int, margin: float, discordance: float, alpha: float, *, shrunk: bool) -> float:
    if exact_power(n, margin, discordance, alpha) < 0.9:  # a smaller alpha has no more
        return 0.0
    return exact_power(n, margin, discordance, exact_alpha(n, margin, alpha) if shrunk else alpha)


def print_power(alpha: float = 0.05) -> None:
    """Groups needed by margin, discordance, attempt and J, as before attempts had their present shares and now."""
    print("\nGroups for a power of 0.9, nothing lost: attempts 1, 2, 4 before (alpha / 2^k) and now; J 0.9, 0.8")
    for margin in (0.03, 0.05):
        for discordance in (0.01, 0.03, 0.05, 0.1):
            before = [groups_needed(margin, discordance, alpha / 2**k, shrunk=False) for k in (1, 2, 4)]
            shares = [alpha_of_attempt(alpha, k) for k in (1, 2, 4)]
            now = [groups_needed(margin, discordance, share) for share in shares]
            judged = [groups_needed(margin, discordance, shares[0], youden) for youden in (0.9, 0.8)]
            print(f"{margin:>6} {discordance:>6} | {before} | {now} | {judged}", flush=True)
    powers = [exact_power(500, m, 0.03, a) for m in (0.03, 0.05) for a in (0.025, exact_alpha(500, m, 0.03))]
    print("500 groups, discordance 0.03, first attempt, margins 0.03 and 0.05, before and now: ", end="")
    print(", ".join(f"{power:.3f}" for power in powers))


TEMPLATES = (4, 8, 20, 50, 75, 120, 200, 500)


def print_groups(audits: int, alpha: float = 0.025, margin: float = 0.05) -> None:
    """Wrong passes and power by the number of groups, counted one by one and in groups."""
    print(f"\nSimulated, {audits:,} audits each, alpha {alpha}, margin {margin}, prompts of few templates")
    print("groups prompts | one by one, in groups | whole groups break: one by one, in groups | power in groups")
    for groups in TEMPLATES:
        prompts = 500 if groups < 200 else 1000
        cells = [
            simulated_error(with_groups(kind, groups, prompts, margin, alpha, grouped, margin), audits)
            for kind in (of_templates, of_breaking)
            for grouped in (False, True)
        ]
        power = simulated_error(with_groups(_unharmed, groups, prompts, margin, alpha, True, 0.0), audits)
        print(f"{groups:>6} {prompts:>7} | " + ", ".join(f"{cell:.3f}" for cell in cells) + f" | {power:.2f}")


YOUDEN = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6)


def print_judges(audits: int, alpha: float = 0.03, margin: float = 0.05) -> None:
    """Wrong passes, and power, of judges that err, as observed and corrected."""
    print(
        f"\nSimulated, {audits:,} audits each, alpha {alpha}, margin {margin}, judges that err, 250 labels of each kind"
    )
    print("     J | wrong passes on 500 prompts: as observed, corrected | power on 500, 1,000 and 2,000 prompts")
    for youden in YOUDEN:
        wrong = [
            simulated_error(with_errors(500, margin, alpha, youden, measured=measured), audits)
            for measured in (False, True)
        ]
        power = [simulated_error(_kept(n, margin, alpha, youden), audits) for n in (500, 1000, 2000)]
        shown = ", ".join(f"{chance:.2f}" for chance in power)
        print(f"{youden:>6} | {wrong[0]:.3f}, {wrong[1]:.3f} | {shown}")


def _kept(n: int, margin: float, alpha: float, youden: float) -> Callable[..., bool]:
    """The same audit where nothing is worse: what is passed is the margin that the figures are held to."""
    right = (1 + youden) / 2

    def audit(rng: numpy.random.Generator) -> bool:
        truth = [rng.random(n) < 0.05] * 2
        seen = [numpy.where(rng.random(n) < right, side, ~side).astype(float).tolist() for side in truth]
        found, left = (int(rng.binomial(250, right)) for _ in range(2))
        return (
            corrected_difference(*seen, Confusion(found, 250 - found, left, 250 - left), alpha, margin=margin).high
            < margin
        )

    return audit


def _unharmed(rng: numpy.random.Generator, groups: int, prompts: int, loss: float) -> Values:
    """No difference: each of the two fails alone on 2.5 % of the prompts."""
    return of_breaking(rng, groups, prompts, loss, noise=0.0257)


UPGRADES = 50
LOSSES = (0.01, 0.02, 0.03)


def drift(
    rng: numpy.random.Generator, loss: float, *, anchored: bool, n: int = 500, margin: float = 0.05, alpha: float = 0.03
) -> numpy.ndarray:
    """What is lost after each of many upgrades that all lose a little: (UPGRADES + 1,), as a true failure rate.

    Each version is worse than the deployed one by `loss`, and is tested on fresh prompts, so that it has the alpha of a
    first attempt. It is compared with what is deployed, and if `anchored` with the first deployment as well.
    """
    lost = numpy.zeros(UPGRADES + 1)
    for number in range(1, UPGRADES + 1):
        now = lost[number - 1]
        hard = rng.random(n)  # the same prompts are hard for all versions, but for a little luck

        def fails(rate: float, hard: numpy.ndarray = hard) -> numpy.ndarray:
            return (hard < 0.05 + rate) ^ (rng.random(n) < 0.01)

        candidate = fails(now + loss).astype(int)
        held_to = [now, 0.0] if anchored else [now]
        passed = all(_decide(candidate - fails(rate).astype(int), margin, alpha) for rate in held_to)
        lost[number] = now + loss if passed else now
    return lost


def drifts(loss: float, *, anchored: bool, runs: int, seed: int = 0) -> numpy.ndarray:
    """`drift` of many environments: (runs, UPGRADES + 1)."""
    rng = numpy.random.default_rng(seed)
    return numpy.stack([drift(rng, loss, anchored=anchored) for _ in range(runs)])


def print_upgrades(runs: int, margin: float = 0.05) -> None:
    """What 50 upgrades lose against the first deployment, with and without an anchor."""
    print(f"\nSimulated, {runs:,} environments, {UPGRADES} upgrades that each lose a little, 500 fresh prompts each")
    print("  loss | held to what is deployed: lost, more than the margin | to the anchor as well: lost, more")
    for loss in LOSSES:
        ends = [drifts(loss, anchored=anchored, runs=runs)[:, -1] for anchored in (False, True)]
        cells = [f"{end.mean():.3f}, {(end > margin + 1e-9).mean():.3f}" for end in ends]
        print(f"{loss:>6} | {cells[0]} | {cells[1]}")


def draw_upgrades(output: Path, runs: int = 300) -> None:
    """The same as a figure: the mean loss after each upgrade, with 90 % of the environments."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ppm"  # the same figures give the same file
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for anchored, colour, name in ((False, "C3", "what is deployed"), (True, "C0", "the anchor as well")):
        for loss, style in zip(LOSSES, (":", "--", "-"), strict=True):
            found = drifts(loss, anchored=anchored, runs=runs)
            upgrades = range(UPGRADES + 1)
            axes.plot(upgrades, found.mean(0), style, color=colour, label=f"held to {name}, {loss:g} an upgrade")
            axes.fill_between(upgrades, *numpy.quantile(found, (0.05, 0.95), axis=0), color=colour, alpha=0.1)
    axes.axhline(0.05, color="black", linewidth=0.8)
    axes.annotate("margin", (UPGRADES, 0.05), ha="right", va="bottom")
    axes.set(
        xlabel="upgrades that were offered", ylabel="failure rate above the first deployment's", xlim=(0, UPGRADES)
    )
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(output, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="draw the figure of the upgrades into this file, and nothing else")
    options = parser.parse_args()
    if options.figure is not None:
        draw_upgrades(options.figure)
        return
    print("Exact: the largest chance of a wrong pass over all nuisance rates, by the interval as it is and as gated")
    print(f"{'prompts':>9} {'margin':>8} {'alpha':>8} {'as it is':>9} {'gated':>9}")
    for n in (200, 300, 500, 1000):
        for margin in (0.03, 0.05):
            for alpha in (0.05, 0.03, 0.00775):
                chances = [exact_error(n, margin, a) for a in (alpha, exact_alpha(n, margin, alpha))]
                print(f"{n:>9} {margin:>8} {alpha:>8} {chances[0]:>9.4f} {chances[1]:>9.4f}")
    sizes = list(itertools.product((150, 250, 379, 500, 800, 1500), (0.03, 0.05, 0.1), (0.03, 0.00775, 0.00345)))
    found = {case: between_rates(*case) / case[-1] for case in sizes}
    worst = max(found, key=found.__getitem__)
    beyond = sum(share > 1.001 for share in found.values())
    print(f"\nBetween the rates that are searched, as shares of alpha: {beyond} of {len(found)} cases above 1.001")
    print(f"the worst {found[worst]:.4f}: {worst[0]} prompts, margin {worst[1]}, alpha {worst[2]}")
    print("\nExact: the largest chance of a wrong pass where units count as shares, over distributions of two values")
    for n in (115, 200, 500):
        for margin in (0.03, 0.05):
            chances = [exact_error_of_shares(n, margin, alpha) for alpha in (0.03, 0.00775)]
            print(f"{n:>9} {margin:>8} {chances[0]:>9.4f} of 0.03 {chances[1]:>9.4f} of 0.00775")
    audits = 10_000
    print(f"\nSimulated, {audits:,} audits each, alpha 0.05, 500 prompts, margin 0.05")
    cases = {
        "looks at 40 % and 70 %": with_looks(500, 0.05, 0.05, (0.4, 0.7)),
        "one look at 50 %": with_looks(500, 0.05, 0.05, (0.5,)),
        "three attempts": with_attempts(500, 0.05, 0.05, 3),
        "ten attempts": with_attempts(500, 0.05, 0.05, 10),
        "24 builds, each as the first": with_rebuilds(500, 0.05, 0.05, 24, counted=False),
        "24 builds, counted by prompt": with_rebuilds(500, 0.05, 0.05, 24, counted=True),
        "ten attempts, failures shown": with_adaptive(500, 0.05, 0.05, 10, sealed=False),
        "three attempts, failures shown": with_adaptive(500, 0.05, 0.05, 3, sealed=False),
        "ten attempts, sealed": with_adaptive(500, 0.05, 0.05, 10, sealed=True),
        "perplexity, 3 % of 400 texts": with_skewed_loss(400, 0.03, 0.03, 0.03),
        "perplexity, 3 % of 200 texts, attempt 2": with_skewed_loss(200, 0.03, alpha_of_attempt(0.05, 2), 0.03),
        "perplexity, 3 % of 1,000 texts": with_skewed_loss(1000, 0.03, 0.03, 0.03),
        "kept: 0.5 % of 400 texts": with_skewed_loss(400, 0.03, 0.03, 0.005),
        "kept: 1 % of 400 texts": with_skewed_loss(400, 0.03, 0.03, 0.01),
        "perplexity by its mean, 0.5 % of 400 texts": with_skewed_loss(400, 0.03, 0.03, 0.005, by_mean=True),
        "perplexity by its mean, 1 % of 400 texts": with_skewed_loss(400, 0.03, 0.03, 0.01, by_mean=True),
        "perplexity by its mean, 3 % of 400 texts": with_skewed_loss(400, 0.03, 0.03, 0.03, by_mean=True),
        "5 completions a prompt, alike": with_clusters(500, 5, 0.05, 0.05, 20.0),
        "25 completions a prompt, unlike": with_clusters(500, 25, 0.05, 0.05, 1.0),
        "5 completions, few prompts fail": with_few_prompts(500, 5, 0.05, 0.05, 0.95),
        "the same, half of the time": with_few_prompts(500, 5, 0.05, 0.05, 0.5),
    }
    for name, audit in cases.items():
        print(f"  {name:<34} {simulated_error(audit, audits):.4f}")
    print_groups(1_000)
    print_judges(1_000)
    print_power()
    print_upgrades(1_000)


if __name__ == "__main__":
    main()
