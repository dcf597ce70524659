"""Commands that list what ppm has: strategies and judges."""

import click

from ppm.cli.options import echo_json, json_option

__all__ = ["judges_command", "strategies_command"]


@click.group("strategies", invoke_without_command=True)
@json_option
@click.pass_context
def strategies_command(ctx: click.Context, as_json: bool) -> None:
    """List the ways of composing patches.

    Each with what it costs and where it comes from.

    \b
    Example:
      ppm strategies
    """
    if ctx.invoked_subcommand is not None:
        return
    from shutil import get_terminal_size

    from ppm.composition.strategy import builtin_strategies, read_strategy

    found = [read_strategy(name) for name in builtin_strategies()]
    if as_json:
        keys = ("name", "summary", "cost", "reference", "digest")
        echo_json([{key: getattr(strategy, key) for key in keys} for strategy in found])
        return
    width = min(get_terminal_size().columns, 100)
    for strategy in found:
        click.echo(f"{click.style(strategy.name, bold=True)} ({strategy.cost})")
        for text in (strategy.summary, f"Source: {strategy.reference}"):
            click.echo(click.wrap_text(text, width, initial_indent="  ", subsequent_indent="  "))


@strategies_command.command("show")
@click.argument("name")
def show(name: str) -> None:
    """Print a strategy's file.

    \b
    Example:
      ppm strategies show distilled
    """

    from ppm.composition.strategy import builtin_strategies, read_strategy

    read_strategy(name)
    from ppm.names import expand

    click.echo(builtin_strategies().get(name, expand(name)).read_text(encoding="utf-8").rstrip())


@click.command("judges")
@json_option
def judges_command(as_json: bool) -> None:
    """List the judges that suites can name.

    \b
    Example:
      ppm judges
    """
    import inspect

    from ppm.cli.render import print_table
    from ppm.evaluation.judges.registry import judges

    rows = [
        (kind.name, kind.version, list(inspect.signature(kind.make).parameters), kind.summary)
        for _, kind in sorted(judges().items())
    ]
    if as_json:
        echo_json([{"name": n, "version": v, "options": o, "summary": s} for n, v, o, s in rows])
    else:
        print_table(["Judge", "Version", "Request", "Scores"], [[n, v, ", ".join(o), s] for n, v, o, s in rows])
