"""Which base model and which environment a command means. Needs no torch."""

from collections.abc import Iterable
from pathlib import Path

from ppm.base import LAB_BASES, BaseModel, identify, local_folder, locate
from ppm.environment.deployments import Environment
from ppm.environment.home import ppm_home
from ppm.errors import ModelError, RequestError, did_you_mean
from ppm.lock import LockedBase, Project
from ppm.names import expand
from ppm.sources import Offer

__all__ = [
    "base_of_environment",
    "environment_for",
    "find_environment",
    "find_target",
    "look_up_base",
    "open_base",
    "project_base",
]


def open_base(name: str) -> BaseModel:
    """The base model that a user names: `lab`, a folder, or a hub name with its commit. Raises ModelError."""
    model, _, revision = name.partition("@")
    folder = expand(model)
    shown = str(folder.resolve()) if folder.is_dir() and model not in LAB_BASES else model
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
    base = base or _project_base()
    known = {environment.label: environment for environment in Environment.all(ppm_home())}
    if base is not None:
        return known[base] if base in known and name is None else _named(environment_for(open_base(base), name))
    chosen = [environment for environment in known.values() if name is None or environment.name == name]
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        asked = f" called {name!r}" if name else ""
        near = did_you_mean(name, [e.name for e in known.values() if e.name]) if name else ""
        raise RequestError(
            f"nothing is deployed{asked}",
            hint=near or "start with `ppm install PATCH --base MODEL`, or try `ppm quickstart`",
        )
    raise RequestError(
        "there are several environments; which one?",
        hint=f"say --base with one of {', '.join(e.label for e in chosen)}",
    )


def _named(environment: Environment) -> Environment:
    """The environment. Raises RequestError when it has a name that no environment of its base has."""
    if environment.name is not None and not environment.exists():
        names = [e.name for e in Environment.all(environment.home) if e.tag == environment.tag and e.name]
        near = did_you_mean(environment.name, names, f"environments are {', '.join(names)}" if names else "")
        hint = near or "`ppm install ... --env NAME` makes one"
        raise RequestError(f"{environment.label} is no environment: nothing was ever deployed in it", hint=hint)
    return environment


def find_target(base: str | None, name: str | None = None) -> tuple[BaseModel, Environment]:
    """The base model and the environment that a command means; `base` may also be an environment's label.

    Raises RequestError or ModelError: no such model, or not the one that the environment was made for any more.
    """
    base = base or _project_base()
    known = {environment.label: environment for environment in Environment.all(ppm_home())}
    if base is not None and (base not in known or name is not None):
        found = open_base(base)
        return found, environment_for(found, name)
    if base is None and not known:
        raise RequestError("which base model?", hint="say --base MODEL, for example --base lab")
    environment = known[base] if base is not None else find_environment(None, name)
    return base_of_environment(environment), environment


def base_of_environment(environment: Environment) -> BaseModel:
    """The base model of an environment, if it is still the one that its patches were deployed for.

    Raises RequestError when nothing is deployed, ModelError when the model is gone or has changed.
    """
    current = environment.current()
    if current is None:
        raise RequestError(f"nothing is deployed in {environment.label}", hint="name the base model by its folder")
    record = current.record
    base = identify(
        locate(record.base_model, record.base_revision), name=record.base_model, revision=record.base_revision
    )
    if base.fingerprint != record.fingerprint:
        raise ModelError(
            f"{record.base_model} is not the model any more that {environment.label} was made for",
            hint="restore the model, or install the patches again for the new one",
        )
    return base


def look_up_base(
    named: str, offer: Offer, names: Iterable[str], *, folder: str | None = None, known: LockedBase | None = None
) -> LockedBase:
    """Which model a name means, without fetching it.

    By its files where they are (in `folder`, or here), else as it is `known`, else by what the packages of some names
    say. Raises ModelError.
    """
    model, _, text = named.partition("@")
    path, revision = folder or model, text or None
    try:
        found = local_folder(path, revision) or locate(model, revision, fetch=False)
        return LockedBase(model, identify(found).fingerprint, revision)
    except ModelError as error:
        if expand(path).is_dir():
            raise
        problem = error
    if known is not None and (known.model, known.revision) == (model, revision):
        return known
    candidates = [c for name in names for c in offer.named(name) if c.base_model == model]
    fingerprints = {c.fingerprint for c in candidates if c.base_revision in (None, revision)}
    if len(fingerprints) != 1 and revision is not None:
        which = (
            "no package of these sources is for it" if not candidates else "the packages do not agree on which it is"
        )
        raise ModelError(f"is not on this machine, and {which}", context=named, hint=problem.hint)
    if len(fingerprints) != 1:
        raise problem
    return LockedBase(model, fingerprints.pop(), revision)


def _project_base() -> str | None:
    project = Project.find(Path.cwd())
    return project.base if project else None


def project_base(base: str | None) -> str:
    """The base model that a user names, else the project's. Raises RequestError when neither names one."""
    found = base or _project_base()
    if found is None:
        raise RequestError("which base model?", hint="say --base MODEL, for example --base lab")
    return found
