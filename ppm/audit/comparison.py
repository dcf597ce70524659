"""One rule of the gate applied to one suite, as plain data, and the verdict of several."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ppm.verdict import Verdict

__all__ = ["ABOUT_ANSWERS", "COMPOSITION", "Comparison", "Rule", "verdict_of"]

Rule = Literal[
    "effect",
    "preserved-effect",
    "non-inferiority",
    "upgrade",
    "anchor",
    "ceiling",
    "utility",
    "degenerate",
    "sameness",
]
ABOUT_ANSWERS = {
    "degenerate": "answers that are empty, broken or looping",
    "sameness": "answers that other prompts get as well, word for word",
}
"""What the rules count that judge no risk."""
COMPOSITION = "composition"
CERTAIN = 0.99
"""The power from which on more evidence is not what is lacking."""


@dataclass(frozen=True)
class Comparison:
    """One rule of the gate applied to one suite.

    `difference` is what the rule is about: the reduction against the base for `effect`, what is left of it beyond the
    share of the specialist's that has to be kept for `preserved-effect`, the failure rate for `ceiling`, else the
    difference, in the suite's measure, of `configuration` less `against`. `groups` is how many groups it is over, and
    `prompts_needed` how many groups it takes then; None where each prompt counts by itself.
    `alpha` is what each of its bounds spends. `corrected` figures are corrected for the errors of the suite's judge.
    Of texts (perplexity), `difference` is the share of them that became dearer, and `change` the mean change beside it,
    in nats a token; else that is None. `power` is about the chance that a composition which loses nothing passes on so
    much evidence, where two configurations disagree as often as they did here (of texts, whether there are enough);
    None of rules without a margin.
    """

    suite: str
    rule: Rule
    against: str
    difference: float
    lower: float
    upper: float
    margin: float
    verdict: Verdict
    prompts_needed: int | None = None
    configuration: str = COMPOSITION
    waived: bool = False
    groups: int | None = None
    alpha: float | None = None
    corrected: bool = False
    power: float | None = None
    change: float | None = None

    def __post_init__(self) -> None:
        if self.verdict not in ("pass", "fail", "inconclusive"):
            raise ValueError(f"a comparison can't have the verdict {self.verdict!r}")

    @property
    def needed(self) -> str:
        """About how much evidence would settle it, in words; empty where none would."""
        units = "prompts" if self.groups is None else "groups"
        if not self.prompts_needed:
            return ""
        settled = f"about {self.prompts_needed:,} {units} would settle it"
        if self.power is None or self.power > CERTAIN:
            return settled
        return f"{settled}; one that loses nothing passes with a chance of {self.power:.2f}"

    @property
    def mark(self) -> Verdict:
        """Its verdict as people read it: what did not pass and is waived is `waived`."""
        return "waived" if self.waived and self.verdict != "pass" else self.verdict

    @property
    def excess(self) -> float:
        """How far the estimate is on the wrong side of the margin; negative on the right side."""
        short = self.margin - self.difference
        return short if self.rule in ("effect", "preserved-effect") else -short

    def describe(self) -> str:
        """The comparison with its figures, in words."""
        bounds = f"[{self.lower:+.3f}, {self.upper:+.3f}]"
        of = f"{self.suite}, corrected" if self.corrected else self.suite
        if self.rule == "effect":
            lowered = f"{self.configuration} lowers the base's failure rate by {self.difference:.3f} {bounds}"
            return f"{of}: {lowered}, which is not shown to be more than {self.margin:g}"
        if self.rule == "preserved-effect":
            left = f"it is not shown to keep enough of what {self.against} achieves"
            return f"{of}: {left}: {self.difference:+.3f} {bounds}, which must be above {self.margin:g}"
        if self.rule == "ceiling":
            rate = f"its failure rate {self.difference:.3f} {bounds}"
            return f"{of}: {rate} is not shown to be below {self.margin:g}"
        if self.rule in ABOUT_ANSWERS:
            of = f"{self.suite}, {ABOUT_ANSWERS[self.rule]}"
        if self.change is not None:
            dearer = (
                f"{self.difference:.3f} {bounds} of the texts cost over 0.1 nats a token more than under {self.against}"
            )
            return f"{of}: {dearer}, but the margin is {self.margin:g} (on average {self.change:+.3f} nats a token)"
        loss = "loss " if self.rule == "utility" else ""
        figures = f"{loss}{self.difference:+.3f} {bounds} against {self.against}"
        return f"{of}: {figures}, but the margin is {self.margin:g}"


def verdict_of(comparisons: Iterable[Comparison]) -> Verdict:
    """Fail when one failed, else inconclusive when one is; what is waived does not count, and then it is no pass."""
    marks = {comparison.mark for comparison in comparisons}
    ordered: tuple[Verdict, ...] = ("fail", "inconclusive", "waived")
    return next((verdict for verdict in ordered if verdict in marks), "pass")
