"""Commands that look at what is deployed, without loading a model: list, show, freeze, history."""

from typing import TYPE_CHECKING, Any

import click

from ppm.cli.options import base_option, echo_json, env_option, json_option, workspace

if TYPE_CHECKING:
    from ppm.environment.deployment import Deployment, Environment
    from ppm.package import Package

__all__ = ["freeze_command", "history_command", "list_command", "show_command"]


def _current(base: str | None, env: str | None) -> "Deployment | None":
    from ppm.environment.deployment import Environment
    from ppm.home import ppm_home

    if base is None and not Environment.all(ppm_home()):
        return None
    return workspace().find_environment(base, env).current()


@click.command("list")
@base_option
@env_option
@json_option
def list_command(base: str | None, env: str | None, as_json: bool) -> None:
    """List the deployed patches.

    \b
    Example:
      ppm list --base lab
    """
    from ppm.cli.progress import say
    from ppm.requirement import texts_of

    deployment = _current(base, env)
    packages = deployment.lock.packages if deployment else ()
    waivers = deployment.record.waivers if deployment else ()
    if as_json:
        patches = [
            {"name": p.name, "version": p.version, "sha256": p.sha256, "requested": p.requested} for p in packages
        ]
        table: dict[str, Any] = {"deployment": deployment.number if deployment else None, "patches": patches}
        table["base"] = deployment.record.base_model if deployment else None
        table["strategy"] = deployment.record.strategy if deployment else None
        table["verdict"] = deployment.record.verdict if deployment else None
        table["overrides"] = list(texts_of(deployment.lock.overrides)) if deployment else []
        table["waivers"] = [{"suite": w.suite, "reason": w.reason, "by": w.by, "at": w.at} for w in waivers]
        echo_json(table)
        return
    if deployment is None:
        say("Nothing is deployed. Start with `ppm quickstart`.")
        return
    from ppm.cli.render import plain, print_table

    if not packages:
        say(f"Deployment {deployment.number} has no patches.")
        return
    rows = [[p.name, p.version, "" if p.requested else "dependency"] for p in packages]
    print_table(["Patch", "Version", ""], rows)
    record = deployment.record
    click.echo(
        f"Deployment {deployment.number} for {record.base_model}: "
        + (f"{record.strategy}, {record.verdict}." if record.strategy else "no patches."),
        err=True,
    )
    for waiver in waivers:
        click.echo(plain(f"waiver: {waiver.suite}, by {waiver.by} at {waiver.at}: {waiver.reason}"), err=True)


@click.command("freeze")
@base_option
@env_option
@click.option("--hashes", is_flag=True, help="With the SHA-256 of each package file, for --require-hashes.")
@json_option
def freeze_command(base: str | None, env: str | None, hashes: bool, as_json: bool) -> None:
    """Print the deployed patches as requirements.

    `ppm install -r FILE` takes them back.

    \b
    Example:
      ppm freeze --base lab > patches.txt
    """
    from ppm.names import exact_pin
    from ppm.requirement import texts_of

    deployment = _current(base, env)
    packages = deployment.lock.packages if deployment else ()
    pins = [exact_pin(p.name, p.version) + (f" --hash=sha256:{p.sha256}" if hashes else "") for p in packages]
    if as_json:
        echo_json(pins)
        return
    if deployment is not None and deployment.lock.overrides:
        click.echo("# These need a file of overrides (--override FILE) that holds:")
        for text in texts_of(deployment.lock.overrides):
            click.echo(f"#   {text}")
    for pin in pins:
        click.echo(pin)


@click.command("history")
@base_option
@env_option
@click.option("--metrics", is_flag=True, help="Show the failure rate on every suite over the deployments instead.")
@json_option
def history_command(base: str | None, env: str | None, metrics: bool, as_json: bool) -> None:
    """List the deployments, the newest first.

    \b
    Example:
      ppm history --base lab --metrics
    """
    from ppm.cli.progress import say
    from ppm.cli.render import print_table
    from ppm.errors import PpmError

    environment = workspace().find_environment(base, env)
    if metrics:
        _show_metrics(environment, as_json)
        return
    try:
        current = environment.current_number()
    except PpmError as error:
        say(f"Which deployment is in force can't be read ({error.message}); `ppm rollback NUMBER` goes back to one.")
        current = 0
    rows: list[dict[str, Any]] = []
    for number in reversed(environment.numbers()):
        try:
            deployment = environment.deployment(number)
            record, pins = deployment.record, [package.pin for package in deployment.lock.packages]
        except PpmError as error:
            rows.append({"number": number, "current": number == current, "error": error.message})
            continue
        rows.append(
            {
                "number": number,
                "current": number == current,
                "created": record.created,
                "user": record.user,
                "command": record.command,
                "patches": pins,
                "strategy": record.strategy,
                "verdict": record.verdict,
                "rolled_back_from": record.rolled_back_from,
                "waivers": [{"suite": w.suite, "reason": w.reason, "by": w.by, "at": w.at} for w in record.waivers],
            }
        )
    if as_json:
        echo_json(rows)
        return
    if not rows:
        say("Nothing is deployed.")
        return
    header = ["", "Number", "Created", "By", "Strategy", "Verdict", "Patches"]
    cells = []
    for row in rows:
        mark = "*" if row["current"] else ""
        if "error" in row:
            cells.append([mark, str(row["number"]), f"damaged: {row['error']}", "", "", "", ""])
            continue
        patches = ", ".join(row["patches"]) or "none"
        if row["rolled_back_from"]:
            patches += f" (rolled back to {row['rolled_back_from']})"
        waived = "".join(f" [{w['suite']} waived by {w['by']}: {w['reason']}]" for w in row["waivers"])
        when = row["created"].replace("T", " ")[:16]
        cells.append(
            [mark, str(row["number"]), when, row["user"], row["strategy"] or "", row["verdict"], patches + waived]
        )
    print_table(header, cells, right=[1])


def _show_metrics(environment: "Environment", as_json: bool) -> None:
    """Suites over deployments: the audit's figures of each composition."""
    from ppm.cli.render import print_table
    from ppm.errors import PpmError

    rows: list[dict[str, Any]] = []
    for number in environment.numbers():
        try:
            deployment = environment.deployment(number)
            audit, pins = deployment.audit or {}, [package.pin for package in deployment.lock.packages]
        except PpmError as error:
            rows.append({"number": number, "error": error.message})
            continue
        found = audit.get("matrix", {}).get("composition", {})
        values = {suite: cell["value"] for suite, cell in found.items()}
        rows.append({"number": number, "patches": pins, "values": values, "continual": audit.get("continual")})
    if as_json:
        echo_json(rows)
        return
    suites = list(dict.fromkeys(suite for row in rows for suite in row.get("values", {})))
    cells = [
        [
            str(row["number"]),
            *(f"{row['values'][s]:.3f}" if s in row.get("values", {}) else "" for s in suites),
            f"damaged: {row['error']}" if "error" in row else ", ".join(row["patches"]) or "none",
        ]
        for row in rows
    ]
    click.echo("Failure rates of each deployment, the oldest first; lower is better (perplexity for text suites).")
    print_table(["Number", *suites, "Patches"], cells, right=range(len(suites) + 1))
    figures = rows[-1].get("continual") if rows else None
    if figures:
        click.echo("; ".join(f"{name.replace('_', ' ')} {value:+.3f}" for name, value in figures.items()))


@click.command("show")
@click.argument("name", metavar="NAME_OR_FILE")
@base_option
@env_option
@json_option
def show_command(name: str, base: str | None, env: str | None, as_json: bool) -> None:
    """Show a deployed patch, or a package file.

    \b
    Example:
      ppm show toxicity --base lab
    """
    package = _find_package(name, base, env)
    from ppm.cli.render import one_line

    manifest = package.manifest
    if as_json:
        from ppm.document import to_table

        echo_json({"file": package.file_name, "sha256": package.sha256, "manifest": to_table(manifest)})
        return
    rows = [
        ("name", manifest.name),
        ("version", manifest.version),
        ("risks", ", ".join(manifest.patch.risks)),
        ("summary", manifest.patch.summary),
        ("license", manifest.patch.license),
        ("base model", f"{manifest.base.model} ({manifest.base.fingerprint})"),
        ("prefix", f"{manifest.prefix.virtual_tokens} virtual tokens, {manifest.base.placement}"),
        ("requires", ", ".join(f"{n} {s}" for n, s in manifest.dependencies.items()) or "nothing"),
        ("conflicts", ", ".join(f"{n} {s}" for n, s in manifest.conflicts.items()) or "none"),
        ("suites", "; ".join(f"{s.name} ({s.judge.name}, {len(package.prompts(s))} prompts)" for s in manifest.suites)),
        ("replay", f"{len(package.replay)} pairs; retention: {len(package.retention)} prompts"),
        ("file", f"{package.file_name} (sha256 {package.sha256})"),
    ]
    if manifest.composition:
        parts = ", ".join(f"{c.name}=={c.version}" for c in manifest.composition.components)
        rows.append(("composition", f"{manifest.composition.strategy} of {parts}"))
    scores = manifest.provenance.get("scores")
    for suite, stages in scores.items() if isinstance(scores, dict) else ():
        if isinstance(stages, dict):
            rows.append((f"scores, {suite}", ", ".join(f"{stage} {rate}" for stage, rate in stages.items())))
    for key, value in rows:
        click.echo(f"{key + ':':<22} {one_line(value)}")


def _find_package(name: str, base: str | None, env: str | None) -> "Package":
    from ppm.errors import RequestError, did_you_mean
    from ppm.names import expand
    from ppm.package import read_package
    from ppm.resolve import parse_name

    if name.endswith(".ppm") or "/" in name:
        return read_package(expand(name))
    environment = workspace().find_environment(base, env)
    deployment = environment.current()
    locked = {p.name: p for p in deployment.lock.packages} if deployment else {}
    wanted = parse_name(name)
    if wanted not in locked:
        otherwise = f"deployed are {', '.join(locked) or 'no patches'}; a package file is shown by its path"
        raise RequestError(f"{name} is not deployed", hint=did_you_mean(wanted, locked, otherwise))
    found = locked[wanted]
    return read_package(environment.store.get(found.sha256), origin=found.file, expected_sha256=found.sha256)
