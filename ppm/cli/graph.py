"""Commands about what needs what, and what is newer: tree, why, check, outdated."""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from ppm.cli.options import base_option, choice_options, echo_json, env_option, json_option, workspace

if TYPE_CHECKING:
    from ppm.environment.deployment import Deployment, Environment
    from ppm.install.request import Request

__all__ = ["check_command", "outdated_command", "tree_command", "why_command"]


def _deployed(base: str | None, env: str | None) -> "tuple[Environment, Deployment]":
    """An environment with what is deployed in it. Raises RequestError when nothing is."""
    from ppm.errors import RequestError

    environment = workspace().find_environment(base, env)
    deployment = environment.current()
    if deployment is None:
        raise RequestError("nothing is deployed", hint="start with `ppm install PATCH --base MODEL`")
    return environment, deployment


@click.command("tree")
@click.argument("name", required=False)
@base_option
@env_option
@click.option("--invert", is_flag=True, help="Show what is needed by what instead.")
@json_option
def tree_command(name: str | None, base: str | None, env: str | None, invert: bool, as_json: bool) -> None:
    """Show which deployed patch needs which.

    From the top, or from one patch on.

    \b
    Example:
      ppm tree --base lab
    """
    from ppm.cli.render import plain
    from ppm.inspect.graph import Graph, drawn

    _, deployment = _deployed(base, env)
    graph = Graph(deployment.lock)
    branches = graph.tree(invert=invert, root=graph.package(name).name if name else None)
    if as_json:
        echo_json([branch.to_table() for branch in branches])
        return
    for top in branches:
        click.echo(plain(f"{top.package.name} {top.package.version}"))
        for lead, branch in drawn(top.below):
            click.echo(
                plain(f"{lead}{branch.package.name} {branch.package.version}{' (above)' if branch.again else ''}")
            )
    if not branches:
        click.echo("No patch is deployed.", err=True)


@click.command("why")
@click.argument("name")
@base_option
@env_option
@json_option
def why_command(name: str, base: str | None, env: str | None, as_json: bool) -> None:
    """Say why a patch is deployed.

    Names what was asked for, and what leads from there to it.

    \b
    Example:
      ppm why toxicity --base lab
    """
    from ppm.cli.render import plain
    from ppm.inspect.graph import Graph
    from ppm.install.fetch import stored_packages
    from ppm.requirement import phrase

    environment, deployment = _deployed(base, env)
    graph = Graph(deployment.lock)
    package = graph.package(name)
    manifests = {p.manifest.name: p.manifest for p in stored_packages(deployment, environment)}
    provided = {key: (*m.patch.provides, *m.patch.replaces) for key, m in manifests.items()}
    overrides = {override.name: override.text for override in deployment.lock.overrides}
    chains: list[dict[str, Any]] = []
    for chain in graph.why(package.name):
        steps = []
        for user, needed in pairwise(chain):
            names = (needed, *provided[needed])
            wish = next(key for key in names if key in manifests[user].dependencies)
            step = {"patch": manifests[user].pin, "needs": phrase(wish, manifests[user].dependencies[wish])}
            steps.append(step | ({"overridden": overrides[wish]} if wish in overrides else {}))
        chains.append({"asked": graph.asked_as(graph.packages[chain[0]], provided), "steps": steps})
    if as_json:
        echo_json({"name": package.name, "version": package.version, "because": chains})
        return
    if not chains:
        click.echo(f"{package.pin} is not needed any more; `ppm autoremove` removes it.")
    for found in chains:
        text = f"{package.pin} is deployed because you asked for {found['asked']}"
        for step in found["steps"]:
            text += f"; {step['patch']} needs {step['needs']}"
            text += f", overridden by {step['overridden']}" if "overridden" in step else ""
        click.echo(plain(f"{text}."))


@click.command("check")
@base_option
@env_option
@json_option
def check_command(base: str | None, env: str | None, as_json: bool) -> None:
    """Check that what is deployed goes together.

    Looks at dependencies, conflicts, base model and composition. Exit code 1 when something is wrong. `ppm verify`
    checks the files.

    \b
    Example:
      ppm check --base lab
    """
    from ppm.cli.progress import report
    from ppm.cli.render import plain
    from ppm.inspect.verify import broken

    environment, deployment = _deployed(base, env)
    found = broken(deployment, environment)
    if as_json:
        echo_json({"deployment": deployment.number, "faults": found})
    for fault in () if as_json else found:
        click.echo(plain(fault))
    if found:
        raise click.exceptions.Exit(1)
    if not as_json:
        count = len(deployment.lock.packages)
        report(f"Deployment {deployment.number}: {count} patch{'es' if count != 1 else ''}, which go together.")


@click.command("outdated")
@base_option
@env_option
@click.option("--all", "everything", is_flag=True, help="Show the patches that are up to date too.")
@choice_options
@json_option
def outdated_command(
    base: str | None,
    env: str | None,
    everything: bool,
    options: "Request",
    as_json: bool,
) -> None:
    """List deployed patches of which there is a newer version.

    Upgrade is what `ppm upgrade` would take; the newest may be out of its reach.

    \b
    Example:
      ppm outdated --base lab --find-links dist
    """
    from ppm.cli.progress import say
    from ppm.cli.render import print_table
    from ppm.inspect.outdated import newer
    from ppm.install.start import Start

    found, environment = workspace().find_target(base, env)
    known = newer(Start(workspace(), found, environment, options))
    rows = [row for row in known if everything or row.outdated]
    if as_json:
        keys = ("name", "version", "wanted", "latest", "note")
        echo_json([{key: getattr(row, key) for key in keys} for row in rows])
        return
    lacking = [row.name for row in known if row.latest is None]
    if not rows:
        say(f"Every {'other ' if lacking else ''}deployed patch is the newest that the sources have.")
    if lacking:
        say(f"No source has {', '.join(lacking)}: say --find-links DIR.")
    if not rows:
        return
    cells = [
        [r.name, r.version, r.wanted if r.wanted != r.version else "", r.latest or "no source", r.note] for r in rows
    ]
    print_table(["Patch", "Deployed", "Upgrade", "Newest", ""], cells)
