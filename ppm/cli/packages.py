"""Commands about the deployed patches: list, freeze, show."""

from typing import TYPE_CHECKING

import click

from ppm.cli.options import base_option, env_option, json_option, workspace
from ppm.cli.output import one_line, print_json, print_table, say, warn, write

if TYPE_CHECKING:
    from ppm.environment.deployment import Deployment
    from ppm.package import Package

__all__ = ["find_package", "freeze_command", "list_command", "show_command"]


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

    from ppm.requirement import texts_of

    deployment = _current(base, env)
    packages = deployment.lock.packages if deployment else ()
    waivers = deployment.record.waivers if deployment else ()
    if as_json:
        patches = [
            {"name": p.name, "version": p.version, "sha256": p.sha256, "requested": p.requested} for p in packages
        ]
        table: dict[str, object] = {"deployment": deployment.number if deployment else None, "patches": patches}
        table["base"] = deployment.record.base_model if deployment else None
        table["strategy"] = deployment.record.strategy if deployment else None
        table["verdict"] = deployment.record.verdict if deployment else None
        table["overrides"] = list(texts_of(deployment.lock.overrides)) if deployment else []
        derived_from = deployment.lock.base.derived_from if deployment else ()
        table["derived_from"] = [{"model": o.model, "fingerprint": o.fingerprint, "note": o.note} for o in derived_from]
        table["waivers"] = [{"suite": w.suite, "reason": w.reason, "by": w.by, "at": w.at} for w in waivers]
        print_json(table)
        return
    if deployment is None:
        say("Nothing is deployed. Start with `ppm quickstart`.")
        return

    if not packages:
        say(f"Deployment {deployment.number} has no patches.")
        return
    rows = [[p.name, p.version, "" if p.requested else "dependency"] for p in packages]
    print_table(["Patch", "Version", ""], rows)
    record = deployment.record
    warn(
        f"Deployment {deployment.number} for {record.base_model}: "
        + (f"{record.strategy}, {record.verdict}." if record.strategy else "no patches.")
    )
    for other in deployment.lock.base.derived_from:
        warn(f"{record.base_model} is accepted as derived from {other.model}: {other.note}")
    for waiver in waivers:
        warn(f"waiver: {waiver.suite}, by {waiver.by} at {waiver.at}: {waiver.reason}")


@click.command("freeze")
@base_option
@env_option
@click.option("--hashes", is_flag=True, help="Add the SHA-256 of each package file, for --require-hashes.")
@json_option
def freeze_command(base: str | None, env: str | None, hashes: bool, as_json: bool) -> None:
    """Print the deployed patches as requirements.

    `ppm install -r FILE` reads them back.

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
        print_json(pins)
        return
    if deployment is not None and deployment.lock.overrides:
        write("# These also need an overrides file (--override FILE) with:")
        for text in texts_of(deployment.lock.overrides):
            write(f"#   {text}")
    for pin in pins:
        write(pin)


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
    package = find_package(name, base, env)

    manifest = package.manifest
    if as_json:
        from ppm.document import to_table

        print_json({"file": package.file_name, "sha256": package.sha256, "manifest": to_table(manifest)})
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
    for measured in manifest.suites:
        if (known := measured.evidence) is not None:
            rates = f"sensitivity {known.sensitivity:g} of {known.failures}, specificity {known.specificity:g}"
            rows.append((f"judge, {measured.name}", f"{known.judge} {known.version}: {rates} of {known.successes}"))
    if manifest.composition:
        parts = ", ".join(f"{c.name}=={c.version}" for c in manifest.composition.components)
        rows.append(("composition", f"{manifest.composition.strategy} of {parts}"))
    scores = manifest.provenance.get("scores")
    for suite, stages in scores.items() if isinstance(scores, dict) else ():
        if isinstance(stages, dict):
            rows.append((f"scores, {suite}", ", ".join(f"{stage} {rate}" for stage, rate in stages.items())))
    for key, value in rows:
        write(f"{key + ':':<22} {one_line(value)}")


def _current(base: str | None, env: str | None) -> "Deployment | None":
    if base is None and not workspace().environments():
        return None
    return workspace().find_environment(base, env).current()


def find_package(name: str, base: str | None, env: str | None) -> "Package":
    """The package in a file, or of a deployed patch. Raises PpmError."""
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
        otherwise = f"deployed patches: {', '.join(locked) or 'none'}; for a package file, give its path"
        raise RequestError(f"{name} is not deployed", hint=did_you_mean(wanted, locked, otherwise))
    found = locked[wanted]
    return read_package(environment.store.get(found.sha256), origin=found.file, expected_sha256=found.sha256)
