"""What the parts of a build share: its source, its base, and where its progress goes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ppm.base import BaseModel
from ppm.package import Package
from ppm.progress import Progress
from ppm.running import FLOAT32, Running
from ppm.runtime.loading import LoadedBase
from ppm.training.source import SourcePatch
from ppm.training.stages import Stages
from ppm.training_table import Training

__all__ = ["BuildContext", "BuildOptions", "Tell"]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class BuildOptions:
    """What may be asked of a build beside what the manifest says.

    `seed` overrides the manifest's; `keep_pairs` is a file that the pairs are written to. With `prefix_of`, an earlier
    package of this patch, nothing is trained: its prefix gets a trigger and is tested.
    """

    seed: int | None = None
    keep_pairs: Path | None = None
    prefix_of: Package | None = None


@dataclass(frozen=True)
class BuildContext:
    """A source manifest with its base model loaded, where finished stages are kept, and whom to tell."""

    source: SourcePatch
    training: Training
    base: BaseModel
    loaded: LoadedBase
    stages: Stages
    progress: Progress
    tell: Tell
    running: Running = FLOAT32

    @property
    def dtype(self) -> dict[str, str]:
        """What keys and records say of the base's dtype: nothing for float32, as before there was a choice."""
        return {"dtype": self.running.recorded} if self.running.recorded else {}
