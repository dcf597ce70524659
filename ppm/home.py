"""Where ppm keeps what it has deployed: one folder, PPM_HOME."""

import os
from pathlib import Path

import platformdirs

from ppm.disk import disk_errors
from ppm.errors import EnvironmentStateError
from ppm.names import expand

__all__ = ["named_home", "ppm_home"]

_HINT = "set PPM_HOME to a folder of your own"


def named_home() -> Path:
    """`$PPM_HOME`, else the platform's folder for a user's data, usable or not."""
    named = os.environ.get("PPM_HOME")
    return expand(named).absolute() if named else platformdirs.user_data_path("ppm")


def ppm_home() -> Path:
    """`$PPM_HOME`, else the platform's folder for a user's data; it need not exist yet.

    Whether it can be written shows when something is: reading what is deployed needs no right to change it.
    Raises EnvironmentStateError when it is not a folder or can't be read.
    """
    home = named_home()
    with disk_errors("PPM_HOME can't be read", home):
        nearest = next(path for path in (home, *home.parents) if path.exists())
        is_folder = nearest.is_dir()
    if not is_folder:
        raise EnvironmentStateError(f"PPM_HOME can't be used: {nearest} is a file", context=str(home), hint=_HINT)
    if not os.access(nearest, os.R_OK | os.X_OK):
        raise EnvironmentStateError(f"PPM_HOME can't be used: {nearest} can't be read", context=str(home), hint=_HINT)
    return home
