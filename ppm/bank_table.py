"""The `[bank]` table of a patch.toml: how a bank's blocks meet a prompt, and what its triggers read. Needs no torch.

A joined bank that all of a text sees needs no table; with one, a manifest is of schema 2.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["MAX_LAYERS", "MAX_TRIGGERS", "ArrangementName", "BankTable", "Turn"]

ArrangementName = Literal["joined", "isolated", "routed"]
"""How a bank's blocks meet a prompt. `joined`: one after the other, later ones see earlier ones. `isolated`: side by
side, none sees another, and the prompt sees all. `routed`: the router picks blocks for each prompt, or none."""
MAX_TRIGGERS = 1024
MAX_LAYER = 4096
MAX_LAYERS = 16
"""After so many layers triggers read at most."""
MAX_TURN_TOKENS = 64
"""What stands before or after a user's turn in a chat template takes some ten tokens."""
MAX_SENTENCE_ENDS = 4096
MAX_TOKEN = 2**31


@dataclass(frozen=True)
class Turn:
    """The token ids between which a chat has what its user says: `opening` before it, `closing` after it.

    The last token of `closing` is the one after which the answer begins. `ends` are the tokens that end a sentence,
    where triggers were fitted to read each sentence by itself, too; without any they read what is said as a whole.
    """

    opening: tuple[int, ...]
    closing: tuple[int, ...]
    ends: tuple[int, ...] = ()

    @property
    def whole(self) -> "Turn":
        """The same, read as a whole alone."""
        return Turn(self.opening, self.closing)

    def __post_init__(self) -> None:
        limits = {"opening": (1, MAX_TURN_TOKENS), "closing": (1, MAX_TURN_TOKENS), "ends": (0, MAX_SENTENCE_ENDS)}
        for name, (least, most) in limits.items():
            ids = getattr(self, name)
            if not least <= len(ids) <= most or any(not 0 <= token < MAX_TOKEN for token in ids):
                raise ValueError(f"{name} must be {least} to {most} token ids")


@dataclass(frozen=True)
class BankTable:
    """The `[bank]` table of a bank whose blocks are routed or isolated, or seen by answers alone; others have none.

    Triggers read after these many `layers` of the base. `threshold` and `block` have one entry a trigger: from which
    probability on it fires, and the number of the block that it is for (without it, one trigger a block, in order).
    `several` says whether a prompt meets all blocks whose triggers fire as clearly, isolated from each other, or just
    one, as without it. Of the blocks that `answers_only` names by their numbers the answer alone sees anything: the
    prompt is read as by the base.
    `fallback` is what a prompt meets for which none fires. `patches` are the patches that the triggers came from.
    `turn` is None for a base without a chat template.
    """

    arrangement: ArrangementName
    layers: tuple[int, ...] = ()
    threshold: tuple[float, ...] = ()
    block: tuple[int, ...] = ()
    several: bool | None = None
    fallback: Literal["base"] = "base"
    patches: tuple[str, ...] = ()
    turn: Turn | None = None
    answers_only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        triggers = len(self.threshold)
        if list(self.answers_only) != sorted(set(self.answers_only)) or min(self.answers_only, default=0) < 0:
            raise ValueError("answers_only must be rising numbers, 0 or more")
        if self.arrangement != "routed":
            if triggers or self.layers or self.block or self.patches or self.several:
                raise ValueError(f"a bank that is {self.arrangement} has no triggers")
            if (self.turn is None) != (not self.answers_only):
                raise ValueError(f"a bank that is {self.arrangement} has a turn and answers_only, or neither")
            return
        if self.answers_only and self.turn is None:
            raise ValueError("answers_only needs the turn after which an answer begins")
        if not 1 <= triggers <= MAX_TRIGGERS:
            raise ValueError(f"a routed bank needs the threshold of each trigger, 1 to {MAX_TRIGGERS} of them")
        if len(self.block) not in (0, triggers):
            raise ValueError("threshold and block must be of the same length")
        if self.patches and len(self.patches) != triggers:
            raise ValueError("patches must name one patch for each trigger")
        if not 1 <= len(self.layers) <= MAX_LAYERS or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers must be 1 to {MAX_LAYERS} rising numbers")
        if not 1 <= self.layers[0] <= self.layers[-1] <= MAX_LAYER:
            raise ValueError(f"layers must be between 1 and {MAX_LAYER}")
        if any(not 0 <= threshold <= 1 for threshold in self.threshold):
            raise ValueError("threshold must be between 0 and 1")
        if any(block < 0 for block in self.block):
            raise ValueError("block must be 0 or more")
