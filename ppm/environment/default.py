"""The environment that commands mean when nothing else names one: a file under PPM_HOME that holds its label."""

from collections.abc import Mapping
from pathlib import Path

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.environment.deployment import Environment
from ppm.errors import EnvironmentStateError, RequestError, did_you_mean

__all__ = ["choose_default", "clear_default", "default_environment", "default_label", "environment_called"]

FILE = "use"
_LONGEST_LABEL = 300


def default_label(home: Path) -> str | None:
    """The label that was chosen; whether there still is such an environment is not looked at.

    Raises EnvironmentStateError when the file is damaged.
    """
    path = home / FILE
    with disk_errors("can't be read", path):
        if not path.exists():
            return None
        with path.open("rb") as stream:
            data = stream.read(_LONGEST_LABEL)
    label, end, rest = data.decode("utf-8", "replace").partition("\n")
    if not label.isprintable() or not label or not end or rest:
        hint = "`ppm use ENVIRONMENT` writes it again, and `ppm use --clear` removes it"
        raise EnvironmentStateError("does not name an environment", context=str(path), hint=hint)
    return label


def default_environment(home: Path, known: Mapping[str, Environment]) -> Environment | None:
    """The one that was chosen of the known environments by label, None when none is. Raises RequestError when gone."""
    label = default_label(home)
    if label is None:
        return None
    if label not in known:
        others = f"run `ppm use` with one of {', '.join(known)}" if known else "`ppm use --clear` forgets it"
        raise RequestError(f"`ppm use` chose {label}, but nothing is deployed there any more", hint=others)
    return known[label]


def choose_default(environment: Environment) -> None:
    """Let commands mean an environment. Raises EnvironmentStateError."""
    path = environment.home / FILE
    with disk_errors("can't be written", path):
        make_folder(environment.home)
        replace_file(path, f"{environment.label}\n".encode())


def clear_default(home: Path) -> bool:
    """Forget the choice; whether there was one. Raises EnvironmentStateError."""
    path = home / FILE
    with disk_errors("can't be removed", path):
        found = path.exists()
        path.unlink(missing_ok=True)
    return found


def environment_called(text: str, known: Mapping[str, Environment]) -> Environment:
    """One of the known environments: by its label, by its name, or by the short name of its base when it has no other.

    Raises RequestError when there is none, or several.
    """
    if text in known:
        return known[text]
    found = [e for e in known.values() if text in (e.name, e.tag.rpartition("-")[0] if e.name is None else None)]
    if len(found) == 1:
        return found[0]
    if found:
        hint = f"name one of them: {', '.join(environment.label for environment in found)}"
        raise RequestError(f"several environments are named {text!r}", hint=hint)
    words = [*known, *(e.name for e in known.values() if e.name)]
    otherwise = f"environments are {', '.join(known)}" if known else "`ppm install ... --base MODEL` creates the first"
    raise RequestError(f"there is no environment {text!r}", hint=did_you_mean(text, words, otherwise))
