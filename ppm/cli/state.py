"""Commands about environments, their history on disk, and caches: hold, unhold, diff, env, cache, config."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ppm.cli.options import base_option, command_line, echo_json, env_option, is_quiet, json_option

if TYPE_CHECKING:
    from ppm.environment.garbage import Usage
    from ppm.environment.holds import Hold

__all__ = [
    "cache_command",
    "config_command",
    "diff_command",
    "env_command",
    "hold_command",
    "unhold_command",
]


@click.command("hold")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@base_option
@env_option
@click.option("--reason", default="", metavar="TEXT", help="Why; it is shown with the hold.")
@json_option
def hold_command(names: tuple[str, ...], base: str | None, env: str | None, reason: str, as_json: bool) -> None:
    """Keep deployed patches at their versions.

    No install or upgrade changes them until `ppm unhold`. Without a name: list the holds.

    \b
    Example:
      ppm hold toxicity --base lab --reason "audited by hand"
    """
    from ppm.cli.progress import say
    from ppm.environment.holds import Hold, read_holds, write_holds
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError
    from ppm.inspect.graph import Graph
    from ppm.install.bases import find_environment

    environment = find_environment(base, env)
    if names:
        with writer(environment, command=command_line(), tell=say) as held:
            deployment = environment.current()
            if deployment is None:
                raise RequestError("nothing is deployed to hold", hint="start with `ppm install PATCH --base MODEL`")
            graph = Graph(deployment.lock)
            wanted = [graph.package(name).name for name in names]
            holds = {hold.name: hold for hold in read_holds(environment)}
            for name in wanted:
                if name not in holds or reason:  # a hold that is there already keeps its reason
                    holds[name] = Hold.now(name, reason)
            write_holds(held, tuple(holds.values()))
    if as_json or not (names and is_quiet()):
        _print_holds(read_holds(environment), as_json)


def _print_holds(holds: "tuple[Hold, ...]", as_json: bool) -> None:
    from ppm.cli.progress import say
    from ppm.cli.render import print_table

    if as_json:
        echo_json([{"name": h.name, "by": h.by, "at": h.at, "reason": h.reason} for h in holds])
    elif holds:
        print_table(["Held", "By", "Since", "Reason"], [[h.name, h.by, h.at, h.reason] for h in holds])
    else:
        say("No patch is held.")


@click.command("unhold")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@base_option
@env_option
@json_option
def unhold_command(names: tuple[str, ...], base: str | None, env: str | None, as_json: bool) -> None:
    """Let held patches change again.

    \b
    Example:
      ppm unhold toxicity --base lab
    """
    from ppm.cli.progress import report, say
    from ppm.environment.holds import read_holds, write_holds
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError, did_you_mean
    from ppm.install.bases import find_environment
    from ppm.resolve import parse_name

    environment = find_environment(base, env)
    with writer(environment, command=command_line(), tell=say) as held:
        holds = {hold.name: hold for hold in read_holds(environment)}
        for name in map(parse_name, names):
            if name not in holds:
                otherwise = f"held are {', '.join(holds)}" if holds else "no patch is"
                raise RequestError(f"{name} is not held", hint=did_you_mean(name, holds, otherwise))
            del holds[name]
        write_holds(held, tuple(holds.values()))
    if as_json:
        _print_holds(tuple(holds.values()), as_json)
    else:
        report(f"{', '.join(names)} may change again.")


@click.command("diff")
@click.argument("old", type=int, required=False)
@click.argument("new", type=int, required=False)
@base_option
@env_option
@json_option
def diff_command(old: int | None, new: int | None, base: str | None, env: str | None, as_json: bool) -> None:
    """Show what differs between two deployments.

    Patches, strategy, verdict, and figures on every suite. By default from the one before to the current one; with
    one number from that to the current one.

    \b
    Example:
      ppm diff 1 2 --base lab
    """
    from ppm.errors import RequestError
    from ppm.inspect.diff import changes
    from ppm.install.bases import find_environment

    environment = find_environment(base, env)
    current = environment.current_number()
    if old is None:
        earlier = [number for number in environment.numbers() if number < current]
        if not environment.numbers():
            raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
        if not earlier:
            raise RequestError("there is only one deployment", hint="`ppm history` lists the deployments")
        old = earlier[-1]
    found = changes(environment.deployment(old), environment.deployment(current if new is None else new))
    if as_json:
        echo_json(found)
    else:
        _print_changes(found)


def _print_changes(found: dict[str, Any]) -> None:
    from ppm.cli.render import plain, print_table

    click.echo(f"From deployment {found['from']} to {found['to']}:")
    lines = [f"  + {pin}" for pin in found["added"]]
    lines += [f"  - {pin}" for pin in found["removed"]]
    lines += [f"  ~ {change['name']} {change['from']} -> {change['to']}" for change in found["changed"]]
    for key in ("strategy", "verdict"):
        before, after = found[key]
        if before != after:
            lines.append(f"  {key}: {before or 'none'} -> {after or 'none'}")
    for line in lines or ["  the same patches, strategy and verdict"]:
        click.echo(plain(line))
    if found["scores"]:
        rows = [
            [suite, *("" if v is None else f"{v:.3f}" for v in pair), _difference(pair)]
            for suite, pair in found["scores"].items()
        ]
        print_table(["Suite", str(found["from"]), str(found["to"]), "Change"], rows, right=(1, 2, 3))


def _difference(pair: list[float | None]) -> str:
    before, after = pair
    return "" if before is None or after is None else f"{after - before:+.3f}"


@click.group("env")
def env_command() -> None:
    """List environments, remove one, or drop old deployments.

    \b
    Example:
      ppm env list
    """


@env_command.command("list")
@json_option
def env_list(as_json: bool) -> None:
    """List every environment with what is deployed in it.

    \b
    Example:
      ppm env list
    """
    from ppm.cli.progress import say
    from ppm.cli.render import print_table
    from ppm.environment.deployment import Environment
    from ppm.errors import PpmError
    from ppm.home import ppm_home

    rows: list[dict[str, Any]] = []
    for environment in Environment.all(ppm_home()):
        row: dict[str, Any] = {"environment": environment.label, "path": str(environment.path)}
        try:
            deployment = environment.current()
            assert deployment is not None
            pins = [package.pin for package in deployment.lock.packages]
            record = deployment.record
            row |= {"deployment": deployment.number, "base": record.base_model, "verdict": record.verdict}
            rows.append({**row, "patches": pins})
        except PpmError as error:
            rows.append({**row, "error": error.message})
    if as_json:
        echo_json(rows)
        return
    if not rows:
        say("There is no environment yet; `ppm install` makes one.")
        return
    cells = []
    for row in rows:
        if "error" in row:
            cells.append([row["environment"], "", f"damaged: {row['error']}", "", ""])
        else:
            patches = ", ".join(row["patches"]) or "none"
            cells.append([row["environment"], row["base"], str(row["deployment"]), row["verdict"], patches])
    print_table(["Environment", "Base", "Deployment", "Verdict", "Patches"], cells)


@env_command.command("remove")
@click.argument("label", metavar="ENVIRONMENT")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@json_option
def env_remove(label: str, yes: bool, as_json: bool) -> None:
    """Remove an environment with its history. Package files stay in the store until `ppm cache prune`.

    \b
    Example:
      ppm env remove lab-0123456789ab/staging --yes
    """
    from ppm.cli.progress import report, say
    from ppm.environment.deployment import Environment
    from ppm.environment.garbage import remove_environment
    from ppm.environment.transaction import writer
    from ppm.errors import RequestError, did_you_mean
    from ppm.home import ppm_home

    known = {environment.label: environment for environment in Environment.all(ppm_home())}
    if label not in known:
        raise RequestError(
            f"there is no environment {label!r}", hint=did_you_mean(label, known, "`ppm env list` shows them")
        )
    if not yes and not sys.stdin.isatty():
        raise RequestError(f"removing {label} can't be undone", hint="say --yes")
    if not yes:
        click.confirm(f"Remove {label} with its {len(known[label].numbers())} deployments?", abort=True, err=True)
    with writer(known[label], command=command_line(), tell=say) as held:
        remove_environment(held)
    if as_json:
        echo_json({"removed": label})
    else:
        report(f"Removed {label}.")


@env_command.command("drop")
@click.argument("numbers", nargs=-1, type=int, metavar="[NUMBER]...")
@click.option("--damaged", is_flag=True, help="Drop every damaged deployment that is not in force.")
@base_option
@env_option
@json_option
def env_drop(numbers: tuple[int, ...], damaged: bool, base: str | None, env: str | None, as_json: bool) -> None:
    """Drop deployments from history, damaged ones too. The one in force stays.

    \b
    Example:
      ppm env drop --damaged --base lab
    """
    from ppm.cli.progress import report, say
    from ppm.environment.transaction import drop, writer
    from ppm.errors import RequestError
    from ppm.inspect.verify import damaged_history
    from ppm.install.bases import find_environment

    if damaged == bool(numbers):
        raise RequestError("which deployments?", hint="give their numbers, or say --damaged")
    environment = find_environment(base, env)
    with writer(environment, command=command_line(), tell=say) as held:
        chosen = sorted(set(numbers) or damaged_history(environment))
        drop(held, chosen)
    if as_json:
        echo_json({"dropped": chosen})
    else:
        report(f"Dropped from history: {', '.join(map(str, chosen)) or 'nothing, for no old deployment is damaged'}.")


@click.group("cache")
def cache_command() -> None:
    """Show how much ppm keeps, or throw away what it can do without.

    \b
    Example:
      ppm cache info
    """


@cache_command.command("info")
@json_option
def cache_info(as_json: bool) -> None:
    """Show the caches and the store, with their sizes.

    \b
    Example:
      ppm cache info
    """
    from ppm.cli.progress import say
    from ppm.environment.garbage import usage
    from ppm.home import ppm_home

    home = ppm_home()
    _print_usage(usage(home), as_json)
    if not as_json:
        say(f"in {home}")


@cache_command.command("prune")
@click.argument("names", nargs=-1, type=click.Choice(["results", "training", "sources"]), metavar="[CACHE]...")
@click.option("--days", type=click.FloatRange(min=0), default=0.0, help="Only what was not touched for so many days.")
@json_option
def cache_prune(names: tuple[str, ...], days: float, as_json: bool) -> None:
    """Empty the caches, and drop stored packages nothing needs.

    The caches are results, training and sources; all unless named. In the store, what any deployment needs stays,
    those that can be rolled back to included; so does what came in the last day.

    \b
    Example:
      ppm cache prune results --days 30
    """
    from ppm.cli.render import plain
    from ppm.environment.garbage import CACHES, prune
    from ppm.home import ppm_home

    removed, unknown = prune(ppm_home(), names or tuple(CACHES), older_than=days * 24 * 3600)
    if as_json or not is_quiet():
        _print_usage(removed, as_json, "Removed")
    for fault in unknown:
        click.echo(plain(f"The store was left alone, for a deployment can't be read: {fault}"), err=True)
    if unknown:
        click.echo("hint: `ppm env drop --damaged` takes damaged deployments out of history", err=True)


def _print_usage(rows: "list[Usage]", as_json: bool, title: str = "") -> None:
    from ppm.cli.render import print_table

    if as_json:
        echo_json([{"name": row.name, "files": row.files, "bytes": row.size} for row in rows])
        return
    cells = [[row.name, f"{row.files:,}", f"{row.size / 1e6:,.1f} MB", row.what] for row in rows]
    print_table([title, "Files", "Size", ""], cells, right=(1, 2))


@click.command("config")
@json_option
def config_command(as_json: bool) -> None:
    """Show the settings in force here, and where each comes from.

    \b
    Example:
      ppm config
    """
    from ppm.cli.render import print_table
    from ppm.inspect.settings import settings

    rows = settings(Path.cwd())
    if as_json:
        echo_json([{"setting": key, "value": value, "from": origin} for key, value, origin in rows])
    else:
        print_table(["Setting", "Value", "From"], [list(row) for row in rows])
