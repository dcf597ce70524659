"""What the parts of a build share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ppm.base import BaseModel
from ppm.building import Training
from ppm.training.progress import Progress
from ppm.training.source import SourcePatch
from ppm.training.stages import Stages

__all__ = ["Tell", "Work"]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Work:
    """A source manifest with its base model loaded, where finished stages are kept, and whom to tell."""

    source: SourcePatch
    training: Training
    base: BaseModel
    model: Any
    tokenizer: Any
    stages: Stages
    progress: Progress
    tell: Tell
