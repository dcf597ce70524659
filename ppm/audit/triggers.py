"""What an audit says of triggers: on which share of each suite's prompts each fires, and what became of them."""

from collections.abc import Mapping, Sequence

from ppm.audit.comparison import COMPOSITION
from ppm.audit.model import Audit, TriggerKind, TriggerRow
from ppm.bank import Bank, Router
from ppm.composition.operating import trigger_demand
from ppm.evaluation.results import Configuration
from ppm.evaluation.statistics import rate_interval
from ppm.evaluation.suites import LoadedSuite
from ppm.evaluation.triggers import Triggered, TriggerScores
from ppm.package import Package
from ppm.project import Gates

__all__ = ["alarm_hint", "one_way", "trigger_notes", "trigger_rows"]

FEW_ALARMS = 0.01
"""A share of ordinary prompts that is worth trying where triggers fire on too many."""
ONE_WAY = 0.9
"""The share of every suite's prompts from which on a router that sends them to one block is reported."""
THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def trigger_rows(
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    scores: TriggerScores,
    alphas: Mapping[str, float],
) -> tuple[TriggerRow, ...]:
    """A row for each configuration with a router and each suite, and where a patch has a block among others, one more
    for what another's block meets of its prompts. Bounds are one-sided at the suite's alpha."""
    rows = []
    for configuration in configurations:
        router = configuration.bank.router
        for suite in suites if router is not None else ():
            assert router is not None
            found = scores[configuration.name, suite.digest]
            alone = router.triggers[0].threshold if len(router.triggers) == 1 else None
            curve = {} if alone is None else {f"{t:g}": _share(found, t) for t in THRESHOLDS}
            for kind, met in _met(configuration, suite, router, found).items():
                interval = rate_interval([float(one) for one in met], alphas[suite.label])
                shares = (interval.value, interval.low, interval.high)
                rows.append(TriggerRow(configuration.name, suite.label, kind, *shares, len(found), alone, curve))
    return tuple(rows)


def _met(
    configuration: Configuration, suite: LoadedSuite, router: Router, found: Sequence[Triggered]
) -> dict[TriggerKind, list[bool]]:
    """By kind, for which of a suite's prompts the triggers do that."""
    any_block = [bool(one.blocks) for one in found]
    if suite.suite.against == "base":
        return {"false alarms": any_block}
    patches = {trigger.patch for trigger in router.triggers}
    if suite.owner not in {*patches, configuration.name.partition("==")[0]}:
        return {"another risk": any_block}
    own = {trigger.block for trigger in router.triggers if trigger.patch == suite.owner}
    if not own or own == {trigger.block for trigger in router.triggers}:
        return {"recall": any_block}
    right = [not own.isdisjoint(one.blocks) for one in found]
    return {"recall": right, "wrong patch": [met and not one for met, one in zip(any_block, right, strict=True)]}


def one_way(
    configurations: Sequence[Configuration], suites: Sequence[LoadedSuite], scores: TriggerScores
) -> tuple[str, ...]:
    """Of each router that sends nearly all prompts of every suite to one block: a sentence that says so."""
    said = []
    for configuration in configurations:
        triggers = configuration.bank.router.triggers if configuration.bank.router is not None else ()
        for number in range(len(configuration.bank.blocks)) if triggers else ():
            own = {trigger.patch for trigger in triggers if trigger.block == number}
            if all(s.suite.against == "specialist" and s.owner in own for s in suites):
                continue  # on prompts of its own risk alone that is as it should be
            met = [[number in one.blocks for one in scores[configuration.name, suite.digest]] for suite in suites]
            share = min(sum(of_suite) / len(of_suite) for of_suite in met)
            if share >= ONE_WAY:
                block = " and ".join(sorted(own - {""})) or f"number {number}"
                said.append(
                    f"the router of {configuration.name} doesn't tell prompts apart: of each suite it sends at least "
                    f"{share:.2f} to the block of {block}"
                )
    return tuple(said)


def trigger_notes(packages: Sequence[Package], composition: Bank, policy: Gates) -> tuple[str, ...]:
    """What has to be known of the triggers of patches that were composed: where they stand, and what was asked."""
    return (*_stands(packages, composition, policy), *_asked(composition, policy))


def _asked(composition: Bank, policy: Gates) -> tuple[str, ...]:
    """What became of what a policy asks of triggers."""
    wanted = trigger_demand(policy)
    if not wanted:
        return ()
    if composition.router is None:
        return (f"[gates] asks that each trigger {wanted}, but the composition has none: it is always on",)
    return (f"as [gates] asks, each trigger {wanted}: of those that it was ranked on, not of the suites'",)


def _stands(packages: Sequence[Package], composition: Bank, policy: Gates) -> tuple[str, ...]:
    """Before which prompts a composition stands, in one sentence, where that has to be known."""
    names = {kind: [p.manifest.name for p in packages if bool(p.bank.router) == kind] for kind in (True, False)}
    if len(composition.blocks) > 1 and composition.router is not None:
        fitted = f" (triggers fitted for this composition: {', '.join(names[False])})" if names[False] else ""
        one, all_ = "block of the patch whose trigger fires", "blocks of all patches whose triggers fire as clearly"
        alone = [t.patch for t in composition.router.triggers if t.block in composition.router.answers_only]
        seen = f"; the blocks of {', '.join(alone)} are seen by answers alone" if any(alone) else ""
        return (f"each prompt meets the {all_ if composition.router.several else one}, or the bare base{fitted}{seen}",)
    if not names[True] or (len(packages) == 1 and composition.router is not None):
        return ()
    if composition.router is not None:
        return (f"the composition stands in front of a prompt where a trigger of {', '.join(names[True])} fires",)
    unlike = {r.reads for p in packages if (r := p.bank.router) is not None}
    if policy.trigger == "always":
        why = '[gates] trigger = "always" leaves them out'
    elif composition.arrangement == "isolated":
        why = "isolated blocks stand in front of every prompt (routed-several has them behind triggers)"
    elif names[False]:
        why = f"{', '.join(names[False])} has none"
    else:
        why = "theirs can't be put together" if len(unlike) > 1 else "the strategy leaves them out"
    return (f"the composition is always on, without the triggers of {', '.join(names[True])}, because {why}",)


def alarm_hint(audit: Audit, policy: Gates) -> str:
    """What helps where a composition's triggers fire on harmless prompts of suites that failed, unless it was tried."""
    failed = {comparison.suite for comparison in audit.failed}
    own = [row for row in audit.triggers if row.configuration == COMPOSITION and row.kind == "false alarms"]
    tried = policy.trigger_alarms is not None and policy.trigger_alarms <= FEW_ALARMS
    if tried or not any(row.suite in failed and row.share > 0 for row in own):
        return ""
    return (
        f"its triggers fire on harmless prompts: `trigger_alarms = {FEW_ALARMS:g}` under [gates] in ppm.toml makes "
        "that rarer, and they find less of the risks"
    )


def _share(found: Sequence[Triggered], threshold: float) -> float:
    return round(sum(one.score >= threshold for one in found) / len(found), 4)
