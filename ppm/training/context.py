"""What the parts of a build share: its source, its base, and where its progress goes."""

from collections.abc import Callable
from dataclasses import dataclass

from ppm.base import BaseModel
from ppm.progress import Progress
from ppm.running import FLOAT32, Running
from ppm.runtime.loading import LoadedBase
from ppm.training.source import SourcePatch
from ppm.training.stages import Stages
from ppm.training_table import Training

__all__ = ["BuildContext", "Tell"]

Tell = Callable[[str], None]


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
