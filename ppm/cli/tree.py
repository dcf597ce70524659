"""Commands about what needs what: tree, why."""

import click

from ppm.cli.environments import deployed_in
from ppm.cli.options import base_option, env_option, json_option
from ppm.cli.output import print_json, warn, write

__all__ = ["tree_command", "why_command"]


@click.command("tree")
@click.argument("name", required=False)
@base_option
@env_option
@click.option("--invert", is_flag=True, help="Show instead which patches need each one.")
@json_option
def tree_command(name: str | None, base: str | None, env: str | None, invert: bool, as_json: bool) -> None:
    """Show which deployed patch needs which.

    All of them, or only from one patch down.

    \b
    Example:
      ppm tree --base lab
    """
    from ppm.inspect.graph import Graph, drawn

    _, deployment = deployed_in(base, env)
    graph = Graph(deployment.lock)
    branches = graph.tree(invert=invert, root=graph.package(name).name if name else None)
    if as_json:
        print_json([branch.to_table() for branch in branches])
        return
    for top in branches:
        write(f"{top.package.name} {top.package.version}")
        for lead, branch in drawn(top.below):
            write(f"{lead}{branch.package.name} {branch.package.version}{' (above)' if branch.again else ''}")
    if not branches:
        warn("No patches are deployed.")


@click.command("why")
@click.argument("name")
@base_option
@env_option
@json_option
def why_command(name: str, base: str | None, env: str | None, as_json: bool) -> None:
    """Say why a patch is deployed.

    Shows what you asked for, and how that leads to the patch.

    \b
    Example:
      ppm why toxicity --base lab
    """
    from ppm.inspect.graph import Graph, reasons
    from ppm.install.fetch import stored_packages

    environment, deployment = deployed_in(base, env)
    graph = Graph(deployment.lock)
    package = graph.package(name)
    manifests = [stored.manifest for stored in stored_packages(deployment, environment)]
    chains = reasons(graph, package.name, manifests, deployment.lock.overrides)
    if as_json:
        print_json({"name": package.name, "version": package.version, "because": chains})
        return
    if not chains:
        write(f"{package.pin} is not needed any more; `ppm autoremove` removes it.")
    for found in chains:
        text = f"{package.pin} is deployed because you asked for {found['asked']}"
        for step in found["steps"]:
            text += f"; {step['patch']} needs {step['needs']}"
            text += f", overridden by {step['overridden']}" if "overridden" in step else ""
        write(f"{text}.")
