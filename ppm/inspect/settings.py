"""The settings in force in a folder, and where each comes from: the environment's variables, ppm.toml, or ppm."""

from collections.abc import Mapping
from dataclasses import fields

from ppm.install.plan import DEFAULT_STRATEGY
from ppm.project import Gates
from ppm.workspace import Workspace

__all__ = ["VARIABLES", "settings"]

VARIABLES = (
    "PPM_HOME",
    "PPM_DEBUG",
    "PPM_LOCK_TIMEOUT",
    "PPM_SEARCH_SECONDS",
    "PPM_JUDGE_URL",
    "PPM_JUDGE_REQUESTS_PER_MINUTE",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "NO_COLOR",
)


def settings(workspace: Workspace, variables: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(setting, value, where it comes from) for commands in a workspace.

    `variables` are those of the process. Raises ManifestError for a malformed ppm.toml, EnvironmentStateError for a
    damaged choice of an environment.
    """
    path, project, chosen = workspace.project_file, workspace.project, workspace.chosen
    rows = [
        ("home", str(workspace.home), "PPM_HOME" if variables.get("PPM_HOME") else "default"),
        ("environment", chosen or "none", "ppm use" if chosen else "default"),
        ("project", str(path) if path else "none", "working directory"),
    ]

    def add(key: str, value: object, default: object) -> None:
        shown = default if value is None else value
        if isinstance(shown, dict):
            shown = tuple(f"{key} = {one}" for key, one in shown.items())
        text = ", ".join(map(str, shown)) if isinstance(shown, tuple) else str(shown)
        given = path is not None and value is not None and value != default
        rows.append((key, text or "none", str(path) if given else "default"))

    add("base", project.base, "none")
    add("patches", project.patches, ())
    add("strategy", project.strategy, DEFAULT_STRATEGY)
    for key in ("sources", "constraints", "overrides"):
        add(key, getattr(project, key), ())
    add("exclude_newer", project.exclude_newer, "none")
    add("exclude_newer_package", project.exclude_newer_package, {})
    for key in (found.name for found in fields(Gates)):
        default = getattr(Gates(), key)
        unsaid = "as each patch has it" if key.startswith("trigger") else "as each suite has it"
        add(f"gates.{key}", getattr(project.gates, key), unsaid if default is None else default)
    rows += [(name, variables[name], "environment") for name in VARIABLES[1:] if name in variables]
    return rows
