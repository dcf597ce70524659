"""Loads what is deployed, and puts a package's prefix in front of a loaded model."""

from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import HUB_NAME
from ppm.errors import ModelError
from ppm.home import self_tests
from ppm.install.current import deployed, running_of
from ppm.names import is_folder
from ppm.package import read_package
from ppm.running import UNSAID, Running
from ppm.workspace import Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "apply_package",
    "load_deployed",
]


def load_deployed(
    workspace: Workspace, base: str | None, *, env: str | None = None, asked: Running = UNSAID
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The base model with its deployed prefix, and its tokenizer; see `ppm.load`."""
    found, environment = workspace.find_target(base, env)
    deployment = deployed(environment)
    if found.fingerprint != deployment.record.fingerprint:
        raise ModelError(
            f"{found.name} has changed since deployment {deployment.number} was made for it",
            hint="restore the model, or reinstall the patches for the new one",
        )
    from ppm.runtime.loading import load_base
    from ppm.runtime.model import attach

    loaded = load_base(found, kept=self_tests(workspace.home), running=running_of(deployment, asked))
    manifest = deployment.manifest
    assert manifest is not None
    patched = attach(loaded.model, [deployment.bank], placement=manifest.base.placement, kept=loaded.kept)
    return patched, loaded.tokenizer


def apply_package(model: "PreTrainedModel", path: Path) -> "PreTrainedModel":
    """A loaded model with a package's prefix; see `ppm.apply`."""
    from ppm.base import identify
    from ppm.runtime.derived import check_fits
    from ppm.runtime.model import attach
    from ppm.runtime.tensors import of_package

    package = read_package(path)
    folder = _folder_of(str(getattr(model, "name_or_path", "") or ""))
    if folder is not None:
        check_fits(package, identify(folder))
    of_package(package, model)  # raises where it is of another width
    return attach(model, [package.bank], placement=package.manifest.base.placement)


def _folder_of(name: str) -> Path | None:
    """The folder that a model was loaded from; None where its name may be one on the hub.

    A model remembers only what it was called when it was loaded, and a folder of the same name may be another model.
    """
    path = Path(name)
    if not name or not is_folder(path) or (not path.is_absolute() and HUB_NAME.fullmatch(name)):
        return None
    return path.absolute()
