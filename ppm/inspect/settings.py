"""The settings in force in a folder, and where each comes from: the environment's variables, ppm.toml, or ppm."""

import os
from dataclasses import fields
from pathlib import Path

from ppm.home import ppm_home
from ppm.install.plan import DEFAULT_STRATEGY
from ppm.project import Gates, Project

__all__ = ["VARIABLES", "settings"]

VARIABLES = (
    "PPM_HOME",
    "PPM_DEBUG",
    "PPM_LOCK_TIMEOUT",
    "PPM_JUDGE_URL",
    "PPM_JUDGE_REQUESTS_PER_MINUTE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "NO_COLOR",
)


def settings(folder: Path) -> list[tuple[str, str, str]]:
    """(setting, value, where it comes from). Raises ManifestError for a malformed ppm.toml."""
    path = Project.locate(folder)
    project = Project.read(path) if path else Project()
    home = "PPM_HOME" if os.environ.get("PPM_HOME") else "default"
    rows = [("home", str(ppm_home()), home), ("project", str(path) if path else "none", "working directory")]

    def add(key: str, value: object, default: object) -> None:
        shown = default if value is None else value
        text = ", ".join(map(str, shown)) if isinstance(shown, tuple) else str(shown)
        given = path is not None and value is not None and value != default
        rows.append((key, text or "none", str(path) if given else "default"))

    add("base", project.base, "none")
    add("patches", project.patches, ())
    add("strategy", project.strategy, DEFAULT_STRATEGY)
    for key in ("sources", "constraints", "overrides"):
        add(key, getattr(project, key), ())
    add("exclude_newer", project.exclude_newer, "none")
    for key in (found.name for found in fields(Gates)):
        default = getattr(Gates(), key)
        add(f"gates.{key}", getattr(project.gates, key), "as each suite has it" if default is None else default)
    rows += [(name, os.environ[name], "environment") for name in VARIABLES[1:] if name in os.environ]
    return rows
