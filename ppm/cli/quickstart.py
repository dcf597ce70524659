"""The command quickstart: the whole product on the lab's model."""

import time

import click

from ppm.cli.deploy import show_refused
from ppm.cli.options import command_line, json_option, search_seconds, workspace
from ppm.cli.output import Styled, print_json, write
from ppm.cli.render import print_audit
from ppm.cli.reports import Reports

__all__ = ["quickstart_command"]

PATCHES = ("toxicity", "gender-bias", "harm-refusal")


@click.command("quickstart")
@json_option
def quickstart_command(as_json: bool) -> None:
    """Resolve, test and deploy three patches on the lab's model.

    \b
    Example:
      ppm quickstart
    """
    started = time.monotonic()
    from ppm.cli.progress import shown
    from ppm.errors import GateError
    from ppm.install.install import install
    from ppm.install.plan import Plan, plan_install
    from ppm.install.request import Request
    from ppm.install.start import Start
    from ppm.workspace import open_base

    request = Request(search_seconds=search_seconds()).asking(PATCHES)
    base = open_base("lab")
    environment = workspace().environment_for(base)

    def make_plan() -> Plan:
        return plan_install(Start(workspace(), base, environment, request))

    def planned(plan: Plan) -> None:
        if not as_json:
            pins = ", ".join(pin.release.pin for pin in plan.pins)
            write(f"1. Resolved, for the base model {base.name}: {pins}")
            write("2. Composing them into one prefix, and testing the result for interference:")

    with shown(quiet=as_json) as events:
        try:
            result = install(
                make_plan,
                environment,
                command=command_line(),
                timeout=workspace().lock_timeout,
                planned=planned,
                events=events,
            )
        except GateError as error:
            show_refused(error, {}, Reports(), as_json=as_json)
            raise
    assert result.audit is not None
    assert result.deployment is not None
    if as_json:
        table = result.audit.to_table()
        seconds = round(time.monotonic() - started, 1)
        keys = ("strategy", "verdict", "matrix")
        print_json({**{k: table[k] for k in keys}, "deployment": result.deployment.number, "seconds": seconds})
        return
    write("3. The interference table:")
    print_audit(result.audit)
    state = "Deployed" if result.changed else "Already deployed"
    write(f"4. {state} as number {result.deployment.number}, in {result.deployment.path}")
    _compare_answers()
    seconds = time.monotonic() - started
    write(f'Done in {seconds:.0f} s. Next: `ppm generate "..." --compare`, `ppm list`, `ppm audit`, `ppm --help`.')


def _compare_answers() -> None:
    from ppm.lab.examples import EXAMPLES
    from ppm.serving.generate import answer_prompts
    from ppm.suite import Decoding

    write("5. The base's answer next to the patched one:")
    texts = [example.prompt for example in EXAMPLES]
    sides = ("unpatched", "patched")
    decoding = Decoding(max_new_tokens=20)
    answers = answer_prompts(workspace(), texts, base="lab", env=None, sides=sides, chat=False, decoding=decoding)
    for i, text in enumerate(texts):
        write(["   ", Styled(text, bold=True)])
        write(f"     base:    {answers['unpatched'][i]}")
        write(f"     patched: {answers['patched'][i]}")
