"""ppm: a package manager for safety patches of language models.

`ppm.load(base)` gives the model and tokenizer with the deployed patches; `ppm.apply(model, package)` puts one
package's prefix in front of a model that is loaded already. Importing ppm imports neither torch nor transformers.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ppm.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["__version__", "apply", "load"]


def load(
    base: str,
    *,
    env: str | None = None,
    dtype: str | None = None,
    device_map: str | None = None,
    memory: str | int | None = None,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """The base model with its deployed patches, and its tokenizer.

    `base` is a folder, a hub name with a commit (NAME@COMMIT), an environment or `lab`; `env` names one of several.
    It has the dtype that it was tested in; naming another one as `dtype` is an error. `device_map` is as transformers
    takes it, and `memory` what the model may take, in bytes or as a size such as 4G. Raises PpmError when nothing is
    deployed for the base, or it does not fit.
    """
    from ppm.running import Running
    from ppm.serving.load import load_deployed
    from ppm.workspace import Workspace

    return load_deployed(Workspace.open(Path.cwd()), base, env=env, asked=Running.of(dtype, device_map, memory))


def apply(model: "PreTrainedModel", package: str | Path) -> "PreTrainedModel":
    """A causal LM of transformers with the prefix of a package file in front of its inputs.

    `model` itself is unchanged and shares its weights with the result. Raises PpmError when the package is damaged
    or the prefix does not fit. Whether it was made for this very model is checked when the model came from a folder
    that was named by its absolute path or by one that begins with `./`: any other name may be one on the hub.
    """
    from ppm.serving.load import apply_package

    return apply_package(model, Path(package))
