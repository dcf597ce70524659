"""Loads what is deployed, and puts a package's prefix in front of a loaded model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppm.errors import ModelError
from ppm.install.bases import find_target
from ppm.package import read_package

if TYPE_CHECKING:
    pass
from ppm.install.current import deployed

__all__ = [
    "apply_package",
    "load_deployed",
]


def load_deployed(base: str | None, *, env: str | None = None) -> tuple[Any, Any]:
    """The base model with its deployed prefix, and its tokenizer; see `ppm.load`."""
    found, environment = find_target(base, env)
    deployment = deployed(environment)
    if found.fingerprint != deployment.record.fingerprint:
        raise ModelError(
            f"{found.name} is not the model that deployment {deployment.number} was made for",
            hint="restore the model, or install the patches again for the new one",
        )
    from ppm.runtime.loading import load_base
    from ppm.runtime.model import attach

    loaded = load_base(found)
    manifest = deployment.manifest
    assert manifest is not None
    patched = attach(loaded.model, [deployment.bank], placement=manifest.base.placement)
    return patched, loaded.tokenizer


def apply_package(model: Any, path: Path) -> Any:
    """A loaded model with a package's prefix; see `ppm.apply`."""
    from ppm.base import check_compatible, identify
    from ppm.runtime.model import attach
    from ppm.runtime.tensors import of_package

    package = read_package(path)
    folder = Path(str(getattr(model, "name_or_path", "") or ""))
    if folder.name and folder.is_dir():
        check_compatible(package.manifest, identify(folder))
    return attach(model, [of_package(package, model)], placement=package.manifest.base.placement)
