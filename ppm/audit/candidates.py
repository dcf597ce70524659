"""What an automatic choice compared: its candidates as plain data, and which of them no other beats."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["PREFERENCES", "PROMPT_TOKENS", "Candidate", "frontier"]

PROMPT_TOKENS = 256
"""How long the prompt is of which candidates say how often it is run."""


@dataclass(frozen=True)
class Candidate:
    """A candidate of a choice that made all of them.

    `loss` is how much more it fails than a patch alone on that patch's ranking prompts, of the patch that loses most;
    None without such prompts. `passes` is how often a prompt of PROMPT_TOKENS tokens is run through the base's layers
    where a patch acts, at most, and `tokens` how many virtual tokens a prompt meets, at most. `cost` is how long it
    takes to make, in its strategy's words. One that is `one_prefix` can be exported.
    """

    strategy: str
    loss: float | None
    passes: float
    tokens: int
    cost: str = ""
    one_prefix: bool = False

    def __post_init__(self) -> None:
        if self.loss is not None and not math.isfinite(self.loss):
            raise ValueError(f"a loss of {self.loss:g} is impossible")
        if not 1 <= self.passes <= 3 or self.tokens < 1:
            raise ValueError(f"{self.tokens} tokens in {self.passes:g} passes are impossible")


def _loss(candidate: Candidate) -> float:
    return 0.0 if candidate.loss is None else candidate.loss


PREFERENCES: dict[str, Callable[[Candidate], tuple[float, ...]]] = {
    "latency": lambda c: (c.passes, c.tokens, _loss(c)),
    "loss": lambda c: (_loss(c), c.passes, c.tokens),
    "tokens": lambda c: (c.tokens, _loss(c), c.passes),
}
"""What a choice may prefer: of each candidate what counts first, what next, less being better."""


def frontier(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other candidate equals in everything and beats in something."""

    def figures(candidate: Candidate) -> tuple[float, ...]:
        return (_loss(candidate), candidate.passes, candidate.tokens, not candidate.one_prefix)

    def beaten(own: tuple[float, ...]) -> bool:
        return any(all(o <= s for o, s in zip(figures(c), own, strict=True)) and figures(c) != own for c in candidates)

    return [candidate for candidate in candidates if not beaten(figures(candidate))]
