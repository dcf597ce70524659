"""Where ppm keeps what it has deployed: one folder, PPM_HOME."""

import os
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from ppm.disk import disk_errors
from ppm.errors import DiskError, EnvironmentStateError
from ppm.names import expand

__all__ = ["advice", "named_home", "ppm_home", "self_tests"]

_HINT = "set PPM_HOME to a folder of your own"


def named_home(environ: Mapping[str, str]) -> Path:
    """`$PPM_HOME`, else the platform's folder for a user's data, usable or not.

    Raises EnvironmentStateError when there is neither: in a container a process may run as a user without a home.
    """
    named = environ.get("PPM_HOME")
    if named:
        return expand(named).absolute()
    try:
        found = platformdirs.user_data_path("ppm")
    except RuntimeError:
        found = None
    if found is None or not found.is_absolute():  # how older versions of platformdirs say it
        raise EnvironmentStateError("this user has no home folder in which to keep patches", hint=_HINT)
    return found


def ppm_home(environ: Mapping[str, str]) -> Path:
    """`$PPM_HOME`, else the platform's folder for a user's data; it need not exist yet.

    Whether it can be written shows when something is: reading what is deployed needs no right to change it.
    Raises EnvironmentStateError when it is not a folder or can't be read, or when there is none.
    """
    home = named_home(environ)
    try:
        with disk_errors("PPM_HOME can't be read", home):
            nearest = next(path for path in (home, *home.parents) if path.exists())
            is_folder = nearest.is_dir()
    except DiskError as error:
        raise DiskError(error.message, error.path, error.fault, hint=_HINT) from error
    if not is_folder:
        raise EnvironmentStateError(f"PPM_HOME can't be used: {nearest} is a file", context=str(home), hint=_HINT)
    if not os.access(nearest, os.R_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise EnvironmentStateError(f"PPM_HOME can't be used: {nearest} can't be read", context=str(home), hint=_HINT)
    return home


def self_tests(home: Path) -> Path:
    """The folder below PPM_HOME where it is kept on which models a prefix is exact (`ppm.runtime.selftest`)."""
    return home / "cache" / "self-test"


def advice(error: DiskError, environ: Mapping[str, str]) -> str:
    """What else helps when the disk refuses something below PPM_HOME; "" for what lies elsewhere."""
    ways = {
        "full": "or set PPM_HOME to a folder on another disk; earlier deployments stay where they are",
        "denied": f"or {_HINT}",
    }
    try:
        below = error.path.is_relative_to(named_home(environ))
    except EnvironmentStateError:
        return ""
    return ways.get(error.fault, "") if below else ""
