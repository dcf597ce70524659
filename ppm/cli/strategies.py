"""The commands of strategies: their list, and show."""

import click

from ppm.cli.options import json_option
from ppm.cli.output import Styled, print_json, print_wrapped, write

__all__ = ["strategies_command"]


@click.group("strategies", invoke_without_command=True)
@json_option
@click.pass_context
def strategies_command(ctx: click.Context, as_json: bool) -> None:
    """List the ways of composing patches.

    Shows what each costs and where it comes from.

    \b
    Example:
      ppm strategies
    """
    if ctx.invoked_subcommand is not None:
        return
    from ppm.composition.strategy import builtin_strategies, read_strategy

    found = [read_strategy(name) for name in builtin_strategies()]
    if as_json:
        keys = ("name", "summary", "cost", "reference", "digest")
        print_json([{key: getattr(strategy, key) for key in keys} for strategy in found])
        return
    for strategy in found:
        write([Styled(strategy.name, bold=True), f" ({strategy.cost})"])
        for text in (strategy.summary, f"Source: {strategy.reference}"):
            print_wrapped(text, indent="  ")


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

    write(builtin_strategies().get(name, expand(name)).read_text(encoding="utf-8").rstrip())
