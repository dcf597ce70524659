"""What the commands that deploy share: their options, the plan, the run and its outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import click

from ppm.cli.options import SEED, command_line, is_quiet, json_option, together, workspace
from ppm.cli.output import print_json, say, write
from ppm.cli.render import print_audit
from ppm.cli.reports import Reports, report_options
from ppm.names import expand

if TYPE_CHECKING:
    from ppm.environment.deployment import Environment
    from ppm.errors import GateError
    from ppm.install.advisories import Found
    from ppm.install.install import InstallResult, Terms
    from ppm.install.plan import Plan
    from ppm.install.request import Request

__all__ = [
    "DeployOptions",
    "advisory_rows",
    "deploy_options",
    "gate_options",
    "more_prompts_option",
    "prefer_option",
    "run_plan",
    "seed_option",
    "show_refused",
    "show_tests",
    "strategy_option",
]


@dataclass(frozen=True)
class DeployOptions:
    """How a command deploys, as its options say it, and how it shows what it did.

    `prefer` has priorities such as `a>b` and what a choice of strategies may prefer, such as `latency`.
    """

    strategy: str | None
    accept: tuple[str, ...]
    reason: str
    seed: int | None
    dry_run: bool
    as_json: bool
    reports: Reports
    accept_advisories: tuple[str, ...] = ()
    force: bool = False
    deploy: bool = True
    prefer: tuple[str, ...] = ()
    more_prompts: Mapping[str, str] = field(default_factory=dict)

    def wanted(self, options: "Request") -> "Request":
        """A request with how its patches are composed and tested. Raises UsageError for two objectives."""
        words = list(dict.fromkeys(entry for entry in self.prefer if ">" not in entry))
        if len(words) > 1:
            raise click.UsageError(f"--prefer names both {words[0]} and {words[1]}: say what matters most")
        return replace(
            options,
            strategy=self.strategy,
            prefer=tuple(entry for entry in self.prefer if ">" in entry),
            objective=words[0] if words else "",
            more_prompts=self.more_prompts,
        )

    @property
    def terms(self) -> "Terms":
        """How a composition is made and gated."""
        from ppm.install.install import Terms

        return Terms(self.seed, self.accept, self.reason, self.force, self.deploy, self.accept_advisories)


def deploy_options(function: Callable[..., object]) -> Callable[..., object]:
    """Options of every command that composes, tests and deploys; the command gets them together, as `how`."""
    keys = ("strategy", "prefer", "more_prompts", *_WAIVERS, "dry_run", "as_json", "reports", "force")
    command = report_options(together("how", DeployOptions, *keys)(function))
    dry_run = click.option("--dry-run", is_flag=True, help="Show what would be deployed, and stop.")
    return strategy_option(prefer_option(more_prompts_option(_waiver_options(dry_run(json_option(command))))))


def strategy_option(function: Callable[..., object]) -> Callable[..., object]:
    """--strategy."""
    text = "How patches are composed; `ppm strategies` lists them."
    return click.option("--strategy", metavar="NAME", help=text)(function)


def prefer_option(function: Callable[..., object], *, chooses: bool = True) -> Callable[..., object]:
    """--prefer: priorities and, where a command `chooses` among strategies, what matters most in one."""

    def read(context: click.Context, parameter: click.Parameter, entries: tuple[str, ...]) -> tuple[str, ...]:
        from ppm.audit.candidates import PREFERENCES
        from ppm.errors import did_you_mean
        from ppm.project import preferred

        words = list(PREFERENCES) if chooses else []
        try:
            return tuple(entry if entry in words else ">".join(preferred(entry)) for entry in entries)
        except ValueError as error:
            if any(">" in entry for entry in entries):
                raise click.BadParameter(str(error)) from error
            others = f", nor one of {', '.join(words)}" if words else ""
            quoted = "quote it, as shells write to a file at a bare >"
            near = did_you_mean(next(entry for entry in entries if entry not in words), words, quoted)
            raise click.BadParameter(f"{error}{others}; {near}") from error

    text = "Which of two patches that want opposite things counts"
    text += ", or what `auto` prefers: latency, loss or tokens." if chooses else "."
    metavar = "'A>B'|WORD" if chooses else "'A>B'"
    return click.option("--prefer", multiple=True, metavar=metavar, callback=read, help=text)(function)


def more_prompts_option(function: Callable[..., object]) -> Callable[..., object]:
    """--more-prompts."""

    def read(context: click.Context, parameter: click.Parameter, entries: tuple[str, ...]) -> dict[str, str]:
        found = {}
        for entry in entries:
            label, sign, file = entry.partition("=")
            if not (label and sign):
                raise click.BadParameter(f"{entry!r} is not SUITE=FILE, such as harm=our-prompts.jsonl")
            found[label] = str(expand(file).absolute()) if file else ""
        return found

    text = "A file of further prompts for a suite."
    option = click.option("--more-prompts", multiple=True, metavar="SUITE=FILE", callback=read, help=text)
    return option(function)


def seed_option(function: Callable[..., object]) -> Callable[..., object]:
    """--seed."""
    text = "Seed of the composition's training; 0 by default."
    return click.option("--seed", type=SEED, help=text)(function)


_WAIVERS = ("accept", "accept_advisories", "reason", "seed")


def _waiver_options(function: Callable[..., object]) -> Callable[..., object]:
    """--accept, --accept-advisory, --reason and --seed."""

    def read(context: click.Context, parameter: click.Parameter, ids: tuple[str, ...]) -> tuple[str, ...]:
        from ppm.index.advisory import check_id

        try:
            for id_ in ids:
                check_id(id_)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
        return tuple(dict.fromkeys(ids))

    accept = click.option("--accept", multiple=True, metavar="SUITE", help="Deploy even if this suite does not pass.")
    text = "Deploy even what this advisory is about."
    advisory = click.option(
        "--accept-advisory", "accept_advisories", multiple=True, metavar="ID", callback=read, help=text
    )
    text = "Why a suite is waived or an advisory accepted; it is recorded."
    reason = click.option("--reason", default="", metavar="TEXT", help=text)
    return accept(advisory(reason(seed_option(function))))


def gate_options(function: Callable[..., object]) -> Callable[..., object]:
    """The same; the command gets them together, as `gate`."""

    def make(accept: tuple[str, ...], accept_advisories: tuple[str, ...], reason: str, seed: int | None) -> object:
        from ppm.install.install import Terms

        return Terms(seed, accept, reason, accept_advisories=accept_advisories)

    return _waiver_options(together("gate", make, *_WAIVERS)(function))


def _plan_table(plan: "Plan") -> dict[str, object]:
    return {
        "base": plan.base.name,
        "strategy": plan.strategy,
        "patches": [
            {
                "name": pin.release.name,
                "version": str(pin.release.version),
                "source": pin.release.source,
                "sha256": pin.release.sha256,
                "requested": pin.requested,
                "required_by": list(pin.required_by),
            }
            for pin in plan.pins
        ],
        "added": list(plan.added),
        "removed": list(plan.removed),
        "passed_over": list(plan.passed_over),
        "notes": list(plan.notes),
        "advisories": advisory_rows(plan.advised),
    }


def advisory_rows(advised: "Found") -> list[dict[str, object]]:
    """Advisories in force as plain data."""
    return [
        {
            "id": one.noted.id,
            "name": one.noted.name,
            "version": one.noted.version,
            "summary": one.noted.summary,
            "versions": list(one.versions),
            "unaffected": one.unaffected,
            "deployed": one.deployed,
            "accepted": one.noted.accepted is not None,
        }
        for one in advised.in_force
    ]


def _print_plan(plan: "Plan") -> None:

    before = {package.name: package.version for package in plan.previous.lock.packages} if plan.previous else {}
    write(f"Resolved for {plan.base.name}:")
    for pin in plan.pins:
        name, version = pin.release.name, str(pin.release.version)
        was = f", replacing {before[name]}" if before.get(name, version) != version else ""
        why = "" if pin.requested else f", needed by {', '.join(pin.required_by) or 'nothing any more'}"
        write(f"  {pin.release.pin}  (from {pin.release.source}{was}{why})")
    for name in sorted(set(before) - {pin.release.name for pin in plan.pins}):
        write(f"  removes {name}=={before[name]}")
    for message in plan.passed_over:
        write(f"  skipped: {message}")
    for note in plan.notes:
        write(f"  note: {note}")


def _result_table(result: "InstallResult") -> dict[str, object]:
    in_force = result.deployment
    return {
        **_plan_table(result.plan),
        "changed": result.changed,
        "deployment": in_force.number if in_force else None,
        "path": str(in_force.path) if in_force else None,
        "audit": result.audit.to_table() if result.audit else None,
    }


def run_plan(make_plan: "Callable[[], Plan]", environment: "Environment", how: DeployOptions) -> None:
    """Carry out what `make_plan` gives once the environment is held, and show it. Raises PpmError."""
    from ppm.cli.progress import shown
    from ppm.errors import GateError
    from ppm.install.install import install

    if how.dry_run:
        if how.reports.paths:
            raise click.UsageError("--dry-run runs no tests, so there is no report to write")
        _rehearse(make_plan, how)
        return
    how.reports.refuse_unwritable()
    plans: list[Plan] = []
    with shown(quiet=how.as_json) as events:
        try:
            result = install(
                make_plan,
                environment,
                how.terms,
                command=command_line(),
                timeout=workspace().lock_timeout,
                planned=plans.append if how.as_json or is_quiet() else _print_plan,
                events=events,
            )
        except GateError as error:
            show_refused(error, _plan_table(plans[0]) if plans else {}, how.reports, as_json=how.as_json)
            raise
    show_tests(result, how.reports)
    if how.as_json:
        print_json(_result_table(result))
    elif not is_quiet():
        _print_result(result, how)


def _rehearse(make_plan: "Callable[[], Plan]", how: DeployOptions) -> None:
    """Show what would be done, once all files are found to be there."""
    from ppm.cli.progress import shown
    from ppm.install.advisories import tell_of
    from ppm.install.fetch import fetch
    from ppm.install.install import composes, with_advisories

    with shown(quiet=how.as_json) as events:
        plan = with_advisories(make_plan())
        tell_of(plan.advised, events)
    fetch(plan.pins, plan.sources)
    anew = composes(plan, how.terms) or bool(how.accept)
    if how.as_json:
        print_json({**_plan_table(plan), "composes": anew})
        return
    _print_plan(plan)
    would = "These would be composed and tested" if anew else "Nothing needs to be composed"
    write(f"{would}. Nothing was changed (--dry-run).")


def show_refused(error: "GateError", plan: dict[str, object], reports: Reports, *, as_json: bool) -> None:
    """Show how a composition did not pass: its audit, and the files; `plan` is plain data about what was asked for."""
    if as_json:
        audit = error.audit.to_table() if error.audit else None
        print_json({**plan, "changed": False, "deployment": None, "audit": audit})
    elif error.audit is not None:
        print_audit(error.audit)
    if error.report is not None and reports.paths:
        reports.write(error.report)
        reports.tell()
        error.hint = f"look at what failed in {', '.join(map(str, reports.paths))}"


def show_tests(result: "InstallResult", reports: Reports) -> None:
    """Write the files about what was tested, or say that nothing was."""
    if result.report is not None:
        reports.write(result.report)
        reports.tell()
    elif reports.paths:
        say("Nothing had to be tested, so no report was written; `ppm audit` tests what is deployed again.")


def _print_result(result: "InstallResult", how: DeployOptions) -> None:
    if result.composed and result.audit is not None:
        print_audit(result.audit)
    in_force, label = result.deployment, result.plan.environment.label
    pins = ", ".join(pin.release.pin for pin in result.plan.pins)
    if not how.deploy:
        write(f"Tested {pins} for {label}; nothing was deployed. `ppm install` does that.")
    elif in_force is not None and not result.changed:
        write(f"Nothing to do: deployment {in_force.number} already has these patches.")
    elif in_force is not None and pins:
        write(f"Deployed {pins} as deployment {in_force.number} of {label}.")
    else:
        write(f"Nothing is deployed in {label} any more.")
