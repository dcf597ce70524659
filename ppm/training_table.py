"""The `[training]` table of a source manifest: what `ppm build` trains on, and how. It is not packaged."""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from ppm.names import check_path, check_seed
from ppm.suite import Decoding, Judge

__all__ = ["Collect", "DataSet", "Stage", "StageTable", "Teacher", "Training", "check_commit"]

HUB_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Stage:
    """One stage of training. `beta` and `sft_weight` are DPO's.

    `sft_weight` times the loss of the chosen answers keeps DPO from making both answers unlikely, which costs a small
    model its fluency (Pang et al. 2024, arXiv 2404.19733, eq. 1).
    """

    steps: int
    learning_rate: float
    batch_size: int = 16
    beta: float = 0.1
    sft_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.sft_weight < 0:
            raise ValueError("sft_weight must be 0 or more")
        if self.steps < 0 or self.batch_size < 1 or self.learning_rate <= 0 or self.beta <= 0:
            raise ValueError("steps must be 0 or more, and batch_size, learning_rate and beta above 0")


@dataclass(frozen=True)
class StageTable:
    """What a manifest states of a stage; what it does not follows from the base (`ppm.training.defaults`)."""

    steps: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    beta: float = 0.1
    sft_weight: float = 1.0

    def __post_init__(self) -> None:
        _ = self.settled(Stage(steps=1, learning_rate=1.0))

    def settled(self, default: Stage) -> Stage:
        """The stage, with another one's numbers where none are stated.

        With steps or a learning rate of its own, a stage has 16 texts a batch unless it says otherwise.
        """
        own = self.steps is not None or self.learning_rate is not None
        batch_size = Stage.batch_size if own else default.batch_size
        return Stage(
            default.steps if self.steps is None else self.steps,
            default.learning_rate if self.learning_rate is None else self.learning_rate,
            batch_size if self.batch_size is None else self.batch_size,
            self.beta,
            self.sft_weight,
        )


@dataclass(frozen=True)
class Teacher:
    """The safer model whose answers are learned: a folder, a hub name with its commit, or a model that is served.

    `endpoint` is the base of an OpenAI-compatible API; `key` names the environment variable with its key. With `chat`
    a plain prompt is put to it as what a user says, after `system`; without it, it goes on with the text, which stands
    on the line after `system`. By default an endpoint's model chats and a local one goes on. `input_price` and
    `output_price` are for a million tokens.
    """

    model: str
    revision: str | None = None
    license: str = ""
    endpoint: str | None = None
    key: str = "OPENAI_API_KEY"
    chat: bool | None = None
    system: str = ""
    requests_per_minute: float = 0.0
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 6
    input_price: float = 0.0
    output_price: float = 0.0

    @staticmethod
    def from_toml(value: object) -> object:
        return {"model": value} if isinstance(value, str) else value

    def __post_init__(self) -> None:
        check_commit(self.revision)
        if self.endpoint is not None and not re.match(r"https?://[^/]", self.endpoint):
            raise ValueError(f"endpoint must begin with http:// or https://, not {self.endpoint!r}")
        if "@" in self.host:
            raise ValueError("endpoint must not contain a user or password; the key goes in an environment variable")
        if self.concurrency < 1 or self.timeout <= 0 or self.retries < 0:
            raise ValueError("concurrency must be at least 1, timeout above 0, retries 0 or more")
        if min(self.requests_per_minute, self.input_price, self.output_price) < 0:
            raise ValueError("requests_per_minute and prices must be 0 or more")

    @property
    def host(self) -> str:
        """The host of the endpoint, for messages."""
        return urlsplit(self.endpoint or "").netloc

    @property
    def chats(self) -> bool:
        """Whether a plain prompt becomes what a user says."""
        return self.endpoint is not None if self.chat is None else self.chat


@dataclass(frozen=True)
class DataSet:
    """What a data file is made of: a data set of the hub, or a local file or folder of one.

    `column` holds the prompts, `expected`, `group` and `completion` name columns of what else is taken; a dot reaches
    inside, as in `prompt.text`. `where` keeps rows with these values, `share` the prompts whose digest falls into that
    part of [0, 1): two files with shares that don't touch have no prompt in common. `limit` 0 takes all. `text` is a
    text with {prompt} for each prompt to stand in.
    """

    name: str
    revision: str | None = None
    config: str | None = None
    split: str = "train"
    column: str = "prompt"
    expected: str | None = None
    group: str | None = None
    completion: str | None = None
    where: dict[str, object] = field(default_factory=dict)
    share: tuple[float, ...] = (0.0, 1.0)
    limit: int = 0
    text: str = "{prompt}"

    @staticmethod
    def from_toml(value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    def __post_init__(self) -> None:
        check_commit(self.revision)
        if len(self.share) != 2 or not 0 <= self.share[0] < self.share[1] <= 1:
            raise ValueError("share must be two numbers from 0 to 1, the smaller first")
        if self.limit < 0:
            raise ValueError("limit must be 0 or more")
        if "{prompt}" not in self.text:
            raise ValueError("text must contain {prompt}")


@dataclass(frozen=True)
class Collect:
    """How pairs are chosen from answers of the base and the teacher.

    `judge` and `goal` are those of the first suite unless given. A pair is kept when the chosen answer's score as a
    failure is at most `acceptable` and the rejected one's is larger by at least `margin`. Of `samples` answers each,
    the teacher's best and the base's worst are taken.
    """

    judge: Judge | None = None
    goal: Literal["lower", "higher"] | None = None
    samples: int = 1
    margin: float = 0.5
    acceptable: float = 0.5
    least_pairs: int = 50
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 100:
            raise ValueError("samples must be between 1 and 100")
        if not 0 < self.margin <= 1 or not 0 <= self.acceptable <= 1:
            raise ValueError("margin must be above 0 and at most 1, acceptable between 0 and 1")
        if self.least_pairs < 1:
            raise ValueError("least_pairs must be at least 1")


@dataclass(frozen=True)
class Training:
    """The `[training]` table. `datasets` says, by path, what data files are made of that are not there.

    `ranking` are pairs that no stage trains on; without them, `held_out` is the share of `pairs` that is kept for it,
    a tenth unless it is stated. Stages are compared on their prompts. With `patience` above 0, a stage ends early when
    its loss on them has not improved at so many checks of 20 over its steps, and the best prefix is taken; unless it
    is stated, only stages whose steps follow from the base end so. Without `trigger` the patch is always on; it is
    fitted on the prompts of `examples` as well, which need no answers. With `seen_by = "answers"` the prefix is trained
    so that the answer alone sees it, in a chat.
    """

    pairs: str | None = None
    prompts: str | None = None
    teacher: Teacher | None = None
    benign: str | None = None
    ranking: str | None = None
    collect: Collect = field(default_factory=Collect)
    datasets: dict[str, DataSet] = field(default_factory=dict)
    sft: StageTable = StageTable()
    dpo: StageTable = StageTable()
    retention_weight: float = 3.0
    held_out: float | None = None
    patience: int | None = None
    trigger: bool = True
    examples: str | None = None
    seen_by: Literal["text", "answers"] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for key in ("pairs", "prompts", "benign", "ranking", "examples"):
            value = getattr(self, key)
            if value is not None:
                check_path(value, key)
        for path in self.datasets:
            check_path(path, "datasets")
        check_seed(self.seed)
        if (self.pairs is None) == (self.prompts is None):
            raise ValueError("give either pairs, or prompts and a teacher")
        if self.prompts is not None and self.teacher is None:
            raise ValueError("prompts need a teacher to answer them")
        if self.retention_weight < 0:
            raise ValueError("retention_weight must be 0 or more")
        if self.held_out is not None and not 0 <= self.held_out <= 0.5:
            raise ValueError("held_out must be between 0 and 0.5")
        nothing_held = self.held_out == 0 and self.ranking is None
        if self.patience is not None and (self.patience < 0 or (self.patience > 0 and nothing_held)):
            raise ValueError("patience must be 0 or more, and needs held_out above 0 or ranking")


def check_commit(revision: str | None) -> None:
    """Raises ValueError for a revision that is not a full commit; a branch or a tag may move."""
    if revision is not None and not HUB_COMMIT.fullmatch(revision):
        raise ValueError(f"revision must be a full commit (40 hexadecimal digits), not {revision!r}")
