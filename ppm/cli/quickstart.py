"""The command quickstart: the whole product on the lab's model."""

import time

import click

from ppm.cli.options import command_line, echo_json, json_option, workspace

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
    from ppm.cli.render import print_audit
    from ppm.errors import GateError
    from ppm.install.install import install
    from ppm.install.plan import Plan, plan_install
    from ppm.install.request import Request
    from ppm.install.start import Start
    from ppm.lab.examples import EXAMPLES
    from ppm.serving.generate import answer_prompts
    from ppm.workspace import open_base

    base = open_base("lab")
    environment = workspace().environment_for(base)

    def make_plan() -> Plan:
        return plan_install(Start(workspace(), base, environment, Request().asking(PATCHES)))

    def planned(plan: Plan) -> None:
        if not as_json:
            pins = ", ".join(pin.release.pin for pin in plan.pins)
            click.echo(f"1. Resolved, for the base model {base.name}: {pins}")
            click.echo("2. Composing them into one prefix, and testing the result for interference:")

    with shown(quiet=as_json) as events:
        try:
            result = install(make_plan, environment, command=command_line(), events=events, planned=planned)
        except GateError as error:
            if error.audit is not None and not as_json:
                print_audit(error.audit)
            raise
    assert result.audit is not None
    if as_json:
        table = result.audit.to_table()
        seconds = round(time.monotonic() - started, 1)
        keys = ("strategy", "verdict", "matrix")
        echo_json({**{k: table[k] for k in keys}, "deployment": result.deployment.number, "seconds": seconds})
        return
    click.echo("3. The interference table:")
    print_audit(result.audit)
    state = "Deployed" if result.changed else "Deployed before"
    click.echo(f"4. {state} as number {result.deployment.number}, in {result.deployment.path}")
    click.echo("5. The base's answer beside the patched one:")
    texts = [example.prompt for example in EXAMPLES]
    answers = answer_prompts(
        workspace(),
        texts,
        base="lab",
        env=None,
        sides=["unpatched", "patched"],
        chat=False,
        max_new_tokens=20,
        temperature=1.0,
        top_p=1.0,
        seed=0,
    )
    for i, example in enumerate(EXAMPLES):
        click.echo(f"   {click.style(example.prompt, bold=True)}")
        click.echo(f"     base:    {answers['unpatched'][i]}")
        click.echo(f"     patched: {answers['patched'][i]}")
    seconds = time.monotonic() - started
    click.echo(f'Done in {seconds:.0f} s. Next: `ppm generate "..." --compare`, `ppm list`, `ppm audit`, `ppm --help`.')
