"""The options of the steps that come with ppm: their defaults, limits and code versions.

A strategy's digest says what its steps do, so it covers these; needs no torch. A step's `version` counts up whenever
the same options may make another prefix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from ppm.suite import Decoding
from ppm.training_table import Stage

__all__ = [
    "BUILT_IN",
    "Average",
    "Concatenate",
    "Direction",
    "Distil",
    "Isolate",
    "Joint",
    "Options",
    "Policy",
    "Resume",
    "Route",
    "Slerp",
    "TaskArithmetic",
    "Ties",
    "Train",
]

MAX_LEARNING_RATE = 1e6
Direction = Literal["reverse", "forward"]
Policy = Literal["balanced", "reservoir"]
"""Which pairs a replay buffer keeps."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one step, by the names that strategies give them. Raises ValueError for one that can't be."""

    version: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class Concatenate(Options):
    """`order` names the patches; without it they come as requested."""

    order: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Isolate(Options):
    """There are none: blocks that don't see each other have no order."""


@dataclass(frozen=True, kw_only=True)
class Resume(Options):
    """There are none."""


@dataclass(frozen=True, kw_only=True)
class Route(Options):
    """There are none."""


@dataclass(frozen=True, kw_only=True)
class Average(Options):
    """`weights` weigh the patches; without any, all weigh the same."""

    weights: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True)
class TaskArithmetic(Options):
    """`scale` multiplies the sum of the deltas."""

    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Ties(Options):
    """`density` is the share of entries that is kept."""

    density: float = 0.2
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError("density must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Slerp(Options):
    """`share` is the second patch's."""

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError("share must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Distil(Options):
    """See `ppm.composition.distil.distil`."""

    version: ClassVar[int] = 2

    steps: int = 0
    learning_rate: float = 3e-2
    batch_size: int = 8
    samples: int = 2
    max_new_tokens: int = 32
    retention_weight: float = 1.0
    temperature: float = 0.2
    noise: float = 0.3
    direction: Direction = "reverse"
    weights: Sequence[float] = ()
    refresh: int = 0
    patience: int = 3

    def __post_init__(self) -> None:
        if (
            min(self.batch_size, self.samples, self.max_new_tokens) < 1
            or min(self.learning_rate, self.temperature) <= 0
        ):
            raise ValueError("batch_size, samples, max_new_tokens, learning_rate and temperature must be above 0")
        if self.learning_rate > MAX_LEARNING_RATE:
            raise ValueError(f"learning_rate must be at most {MAX_LEARNING_RATE:g}")
        if min(self.steps, self.retention_weight, self.noise, self.refresh, self.patience, *self.weights, 0) < 0:
            raise ValueError("steps, retention_weight, noise, weights, refresh and patience must be 0 or more")
        if self.direction not in get_args(Direction):
            raise ValueError(f"direction must be one of {', '.join(get_args(Direction))}, not {self.direction!r}")
        if self.weights and not any(self.weights):
            raise ValueError("at least one of weights must be above 0")
        _ = self.decoding

    @property
    def decoding(self) -> Decoding:
        """How the specialists are sampled."""
        return Decoding(max_new_tokens=self.max_new_tokens, temperature=self.temperature)


@dataclass(frozen=True, kw_only=True)
class _Stages(Options):
    """SFT, then DPO."""

    sft_steps: int
    dpo_steps: int
    sft_learning_rate: float
    dpo_learning_rate: float
    batch_size: int
    retention_weight: float = 3.0

    def __post_init__(self) -> None:
        if self.retention_weight < 0:
            raise ValueError("retention_weight must be 0 or more")
        _ = self.stages

    @property
    def stages(self) -> tuple[Stage, Stage]:
        """(SFT, DPO)."""
        return (
            Stage(self.sft_steps, self.sft_learning_rate, self.batch_size),
            Stage(self.dpo_steps, self.dpo_learning_rate, self.batch_size),
        )


@dataclass(frozen=True, kw_only=True)
class Train(_Stages):
    """See `ppm.composition.training.train`."""

    grow: bool = False
    share: float = 0.5
    buffer: Policy = "balanced"
    capacity: int = 0
    order: Sequence[str] = ()
    sft_steps: int = 150
    dpo_steps: int = 60
    sft_learning_rate: float = 2e-2
    dpo_learning_rate: float = 5e-3
    batch_size: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share < 1:
            raise ValueError("share must be 0 or more and below 1")
        if self.buffer not in get_args(Policy):
            raise ValueError(f'buffer must be "balanced" or "reservoir", not {self.buffer!r}')
        if self.capacity < 0:
            raise ValueError("capacity must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class Joint(_Stages):
    """See `ppm.composition.training.joint`."""

    sft_steps: int = 400
    dpo_steps: int = 80
    sft_learning_rate: float = 3e-2
    dpo_learning_rate: float = 2e-3
    batch_size: int = 24


BUILT_IN: dict[str, type[Options]] = {
    "average": Average,
    "concatenate": Concatenate,
    "distil": Distil,
    "isolate": Isolate,
    "joint": Joint,
    "resume": Resume,
    "route": Route,
    "route-several": Route,
    "slerp": Slerp,
    "task-arithmetic": TaskArithmetic,
    "ties": Ties,
    "train": Train,
}
"""The options of every step that comes with ppm, by the name that strategies use."""
