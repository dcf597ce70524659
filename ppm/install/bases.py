"""Which base model and which environment a command means. Needs no torch."""

from pathlib import Path

from ppm.base import BaseModel, identify, locate
from ppm.environment.deployments import Environment
from ppm.environment.home import ppm_home
from ppm.errors import ModelError, RequestError, did_you_mean
from ppm.lock import Project

__all__ = ["environment_for", "find_environment", "open_base"]


def open_base(name: str) -> BaseModel:
    """The base model that a user names: `lab`, a folder, a hub name with its commit, or an environment's label.

    Raises ModelError when there is no such model, or it is not the one that the environment was made for.
    """
    known = {environment.label: environment for environment in Environment.all(ppm_home())}
    if name in known and name != "lab" and not Path(name).is_dir():
        current = known[name].current()
        if current is None:
            raise RequestError(f"nothing is deployed in {name}", hint="name the base model by its folder")
        record = current.record
        base = identify(locate(record.base_model, record.base_revision), name=record.base_model)
        if base.fingerprint != record.fingerprint:
            raise ModelError(
                f"{record.base_model} is no longer the model that {name} was made for",
                hint="restore the model, or install for the new one by naming its folder",
            )
        return base
    model, _, revision = name.partition("@")
    folder = Path(model).expanduser()
    shown = str(folder.resolve()) if folder.is_dir() and model != "lab" else model
    return identify(locate(model, revision or None), name=shown, revision=revision or None)


def environment_for(base: BaseModel, name: str | None = None) -> Environment:
    """The environment of a base model: the one it has, whatever path the model was named by then, else a new one."""
    home = ppm_home()
    digits = base.tag.rpartition("-")[2]
    tags = sorted({e.tag for e in Environment.all(home) if e.tag.endswith(f"-{digits}")})
    return Environment(home, base.tag if base.tag in tags or not tags else tags[0], name)


def find_environment(base: str | None, name: str | None = None) -> Environment:
    """The environment that a command means: of `base`, else of the project's, else the only one there is.

    Raises RequestError when that leaves none, or several.
    """
    known = Environment.all(ppm_home())
    if base is None:
        project = Project.find(Path.cwd())
        base = project.base if project else None
    if base is not None:
        labels = {environment.label: environment for environment in known}
        if base in labels and name is None:
            return labels[base]
        return environment_for(open_base(base), name)
    chosen = [environment for environment in known if name is None or environment.name == name]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        asked = f" called {name!r}" if name else ""
        near = did_you_mean(name, [e.name for e in known if e.name]) if name else ""
        raise RequestError(
            f"nothing is deployed{asked}",
            hint=near or "start with `ppm install PATCH --base MODEL`, or try `ppm quickstart`",
        )
    raise RequestError(
        "there are several environments; which one?",
        hint=f"say --base with one of {', '.join(e.label for e in chosen)}",
    )
