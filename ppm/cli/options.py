"""Options that several commands share."""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from ppm.names import MOST_SEED

if TYPE_CHECKING:
    from ppm.progress import Events
    from ppm.workspace import Workspace

__all__ = [
    "SEED",
    "LocalPath",
    "base_option",
    "choice_options",
    "command_line",
    "dtype_option",
    "env_option",
    "find_links_option",
    "is_quiet",
    "is_verbose",
    "json_option",
    "limit_options",
    "limits_option",
    "lock_options",
    "output_options",
    "running_options",
    "search_seconds",
    "together",
    "use_color",
    "workspace",
]

F = TypeVar("F", bound=Callable[..., object])
SEED = click.IntRange(0, MOST_SEED)
"""What seeds may be."""


_VERBOSITY, _COLOR, _WORKSPACE, _OFFLINE = "ppm.verbosity", "ppm.color", "ppm.workspace", "ppm.offline"


def output_options() -> list[click.Option]:
    """-q, -v and --no-color, which every command has."""

    def note(key: str, value: int) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
            if given:
                ctx.meta[key] = value
            if given and key == _COLOR:
                ctx.color = ctx.find_root().color = False

        return callback

    flag = partial(click.Option, is_flag=True, expose_value=False)
    quiet = "Print only errors and what you asked for."
    return [
        flag(["-q", "--quiet"], callback=note(_VERBOSITY, -1), help=quiet),
        flag(["-v", "--verbose"], callback=note(_VERBOSITY, 1), help="Print more."),
        flag(["--debug"], help="Show tracebacks of errors."),
        flag(["--no-color"], callback=note(_COLOR, False), help="Don't use colors. NO_COLOR does the same."),
    ]


def _noted(key: str) -> int | None:
    ctx = click.get_current_context(silent=True)
    noted: int | None = ctx.meta.get(key) if ctx else None
    return noted


def is_quiet() -> bool:
    """Whether the user wants to see nothing but errors, and data that was asked for."""
    return _noted(_VERBOSITY) == -1


def is_verbose() -> bool:
    """Whether the user wants to know more."""
    return _noted(_VERBOSITY) == 1


def use_color() -> bool | None:
    """False when the user wants no colors; None leaves it to where the text goes."""
    return False if os.environ.get("NO_COLOR") or _noted(_COLOR) == 0 else None


def base_option(function: F) -> F:
    """--base, where an environment can be found without it."""
    text = (
        "Base model: `lab`, a real base such as `smollm2`, a folder, a hub name as NAME@COMMIT, or an environment. "
        "Default: what ppm.toml names, else what `ppm use` chose, else the only one there is."
    )
    return click.option("--base", metavar="MODEL", help=text)(function)


def env_option(function: F) -> F:
    """--env."""
    return click.option("--env", metavar="NAME", help="A named environment of the base, such as `staging`.")(function)


def find_links_option(function: F) -> F:
    """--find-links, -f; and --offline."""
    return _paths_option("--find-links", "-f", metavar="DIR", help="A folder of package files.")(
        offline_option(function)
    )


def offline_option(function: F) -> F:
    """--offline, which the workspace knows of."""

    def note(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
        if given:
            ctx.meta[_OFFLINE] = 1

    text = "Ask no index over the network: use what was fetched before, while it is valid. PPM_OFFLINE does the same."
    return click.option("--offline", is_flag=True, expose_value=False, callback=note, help=text)(function)


class LocalPath(click.Path):
    """A path in which `~` is the user's home, and which is no URL."""

    def __init__(self, **settings: bool) -> None:
        super().__init__(path_type=Path, **settings)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | bytes | os.PathLike[str]:
        from ppm.names import expand, is_url, without_logins

        if is_url(str(value)):
            self.fail(f"{without_logins(str(value))} is a URL, but URLs are not supported yet", param, ctx)
        return super().convert(expand(str(value)), param, ctx)


def _paths_option(*names: str, metavar: str, help: str) -> Callable[[F], F]:
    """An option that takes a path and may be given several times."""
    return click.option(*names, multiple=True, type=LocalPath(), metavar=metavar, help=help)


def choice_options(function: Callable[..., object]) -> Callable[..., object]:
    """Options of every command that chooses versions; the command gets them together, as `options`."""
    text = "File of requirements that override what patches require of their dependencies."
    return _paths_option("--override", "overrides", metavar="FILE", help=text)(limit_options(lock_options(function)))


def lock_options(function: Callable[..., object]) -> Callable[..., object]:
    """The same without overrides, which a lock takes from ppm.toml alone: it must go with them wherever it goes."""

    def make(
        find_links: Sequence[Path],
        constraints: Sequence[Path],
        exclude_newer: str | None,
        exclude_newer_package: Sequence[str],
        overrides: Sequence[Path] = (),
        dtype: str | None = None,
        device_map: str | None = None,
        memory: str | None = None,
    ) -> object:
        from ppm.install.request import Request, read_constraints, read_limits
        from ppm.moment import Moment
        from ppm.running import Running, asked_dtype

        limits, instead = read_constraints(constraints), read_constraints(overrides)
        return Request(
            find_links=tuple(find_links),
            constraints=limits,
            overrides=instead,
            exclude_newer=Moment.from_text(exclude_newer) if exclude_newer else None,
            exclude_newer_package=read_limits(exclude_newer_package),
            search_seconds=search_seconds(),
            running=Running.of(dtype or asked_dtype(os.environ), device_map, memory),
        )

    dates = ("exclude_newer", "exclude_newer_package")
    keys = ("find_links", "constraints", *dates, "overrides", "dtype", "device_map", "memory")
    command = together("options", make, *keys)(function)
    for option in reversed(
        (
            find_links_option,
            _paths_option(
                "-c",
                "--constraint",
                "constraints",
                metavar="FILE",
                help="File of version limits, one per line; they apply only to patches that are needed anyway.",
            ),
            click.option(
                "--exclude-newer",
                metavar="DATE",
                help="Ignore what came into its source after a date, such as 2026-06-01, or in the last `7 days`.",
            ),
            click.option(
                "--exclude-newer-package",
                multiple=True,
                metavar="NAME=DATE",
                help="Another date for one patch, such as toxicity=1 day. Can be repeated.",
            ),
            dtype_option,
        )
    ):
        option(command)
    return command


def dtype_option(function: Callable[..., object]) -> Callable[..., object]:
    """--dtype."""
    text = (
        "What the base runs in: float32, bfloat16, float16, or auto, the faster one here. Default: what is recorded; "
        "PPM_DTYPE, where a choice is made; else auto."
    )
    return click.option("--dtype", metavar="DTYPE", help=text)(function)


def limit_options(function: Callable[..., object]) -> Callable[..., object]:
    """--device-map and --memory."""
    text = "How much memory the base and the work on it may take, such as 4G. Default: what is at hand."
    memory = click.option("--memory", metavar="SIZE", help=text)
    text = "Devices that the base is spread over, as in transformers: auto, cpu, cuda:1."
    return click.option("--device-map", metavar="MAP", help=text)(memory(function))


def limits_option(function: Callable[..., object]) -> Callable[..., object]:
    """--device-map and --memory; the command gets them together, as `limits`."""

    def make(device_map: str | None, memory: str | None) -> object:
        from ppm.running import Running

        return Running.of(None, device_map, memory)

    return limit_options(together("limits", make, "device_map", "memory")(function))


def running_options(*, chooses: bool) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """--dtype, --device-map and --memory; the command gets them together, as `running`.

    PPM_DTYPE counts where the command `chooses` a dtype, and not where one is recorded.
    """

    def make(dtype: str | None, device_map: str | None, memory: str | None) -> object:
        from ppm.running import Running, asked_dtype

        return Running.of(dtype or (asked_dtype(os.environ) if chooses else None), device_map, memory)

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        return dtype_option(limit_options(together("running", make, "dtype", "device_map", "memory")(function)))

    return decorate


def together(
    name: str, make: Callable[..., object], *keys: str
) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Options that reach the command as one value called `name`: what `make` makes of them."""

    def decorate(function: Callable[..., object]) -> Callable[..., object]:
        @wraps(function)
        def command(**given: object) -> object:
            made = make(**{key: given.pop(key) for key in keys if key in given})
            return function(**{name: made}, **given)

        return command

    return decorate


def workspace() -> "Workspace":
    """Where this command works: PPM_HOME, and the folder that it is given in; opened once."""
    from ppm.workspace import Workspace

    noted = click.get_current_context().meta
    if _WORKSPACE not in noted:
        events: Events = click.get_current_context().find_root().obj
        noted[_WORKSPACE] = Workspace.open(
            Path.cwd(), tell=events.tell, progress=events.progress, offline=_noted(_OFFLINE) == 1
        )
    found: Workspace = noted[_WORKSPACE]
    return found


def search_seconds() -> float:
    """How long a search for versions may take: PPM_SEARCH_SECONDS, else 30."""
    text = os.environ.get("PPM_SEARCH_SECONDS") or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise click.UsageError(f"the environment variable PPM_SEARCH_SECONDS must be a number above 0, not {text!r}")
    return seconds


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def command_line() -> str:
    """What the user ran, for the records."""
    import shlex

    from ppm.names import without_logins

    return without_logins(shlex.join(["ppm", *sys.argv[1:]]))[:500]
