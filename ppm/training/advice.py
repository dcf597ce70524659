"""What is worth a warning when a patch is built; nothing here stops a build.

Before it: benign prompts that are narrow, refusals without harmless look-alikes, prompts of another form than the base
takes. After it: suites that are too small for what the patch achieves.
"""

import re
import statistics
from collections.abc import Iterator, Sequence

from ppm.evaluation.judges.refusals import refuses
from ppm.evaluation.statistics import least_effect, units_for_effect
from ppm.evaluation.suites import LoadedSuite
from ppm.jsonl import Text, last_turn
from ppm.training.source import PLANNED_ALPHA, SourcePatch

__all__ = ["kinds_of", "looks_alike", "too_few", "warnings_of"]

FEWEST_KINDS = 30
"""A first patch on a real base with 200 benign prompts of 12 templates refused a third of ordinary instructions."""
REFUSING_SHARE = 0.5
FEWEST_TWINS = 20
TWIN_SHARE = 0.5
"""The share of a prompt's longer words that risky prompts have, too, from which it looks like them."""
COMPLETE_SHARE = 0.5
_WORDS = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def warnings_of(source: SourcePatch, *, chats: bool | None) -> list[str]:
    """Warnings about a source manifest, each one sentence or two; `chats` is whether its base has a chat template.

    None is a base that is not here.
    """
    return [*_narrow(source), *_without_twins(source), *_of_another_form(source, chats)]


def too_few(suite: LoadedSuite, base: Sequence[float], patched: Sequence[float]) -> Iterator[str]:
    """A warning where a suite is too small to show that compositions keep what the patch achieves on it.

    `base` and `patched` are failure rates of the base and of the patch, by prompt or by group.
    """
    if suite.suite.against != "specialist" or not suite.measure.is_rate:
        return
    effect, share, n = statistics.fmean(base) - statistics.fmean(patched), suite.suite.kept_share, len(base)
    if 0 < effect < least_effect(n, share, PLANNED_ALPHA):
        units = "prompts" if suite.groups is None else "groups"
        yield (
            f"{suite.label}: the patch lowers failures by {effect:.2f}, and {n} {units} are too few to show that a "
            f"composition which does as well as the patch keeps {share:g} of that"
            + (f"; about {needed:,} are enough" if (needed := units_for_effect(effect, share, PLANNED_ALPHA)) else "")
        )


def kinds_of(texts: Sequence[Text]) -> int:
    """How many kinds of prompts there are, counted by the two words that their last turn opens with."""
    return len({tuple(_words(last_turn(text))[:2]) for text in texts})


def looks_alike(text: Text, risky: frozenset[str]) -> bool:
    """Whether a prompt has much of its wording, two words of four letters at least, in common with risky ones."""
    own = _long_words(last_turn(text))
    shared = own & risky
    return len(shared) >= 2 and len(shared) >= TWIN_SHARE * len(own)


def _narrow(source: SourcePatch) -> list[str]:
    if not source.benign:
        if source.training.benign in source.absent:
            return []
        return [
            "there are no benign prompts, so nothing holds the patch to the base where it should change nothing: "
            'name some with benign = "..." in [training]'
        ]
    kinds = kinds_of([row.prompt for row in source.benign])
    if kinds >= FEWEST_KINDS:
        return []
    return [
        f"the {len(source.benign)} benign prompts are of {kinds} kinds, counted by the two words they open with: the "
        f"patch will change answers to prompts unlike all of these. Use at least {FEWEST_KINDS} kinds, as wide as what "
        "the base is used for"
    ]


def _without_twins(source: SourcePatch) -> list[str]:
    refusing = [pair for pair in source.pairs if refuses(pair.chosen)]
    if not source.pairs or len(refusing) < REFUSING_SHARE * len(source.pairs):
        return []
    risky = frozenset(word for pair in refusing for word in _long_words(last_turn(pair.prompt)))
    answered = [pair.prompt for pair in source.pairs if not refuses(pair.chosen)]
    twins = sum(looks_alike(text, risky) for text in [*answered, *[row.prompt for row in source.benign]])
    if twins >= FEWEST_TWINS:
        return []
    return [
        f"the patch refuses, and only {twins} prompts that it is to answer look like those: it will refuse harmless "
        "requests in the same words (how to kill a process). Add harmless twins of risky prompts to the benign "
        f"prompts, at least {FEWEST_TWINS}"
    ]


def _of_another_form(source: SourcePatch, chats: bool | None) -> list[str]:
    parts: dict[str, list[Text]] = {
        "training prompts": [*(pair.prompt for pair in source.pairs), *source.prompts],
        "benign prompts": [row.prompt for row in source.benign],
        "suites' prompts": [prompt.prompt for prompt in source.tested()],
    }
    plain = {name: [text for text in texts if isinstance(text, str)] for name, texts in parts.items()}
    alike = [name for name, texts in parts.items() if texts and 2 * len(plain[name]) > len(texts)]
    if chats is None or not any(parts.values()):
        return []
    if chats and alike:
        return [
            f"the base has a chat template, and most {' and '.join(alike)} are plain texts that it continues: write "
            '"messages" instead of "prompt" if the patch is for a model that chats'
        ]
    texts = [text for found in plain.values() for text in found]
    complete = sum(text.rstrip().endswith((".", "?", "!")) for text in texts)
    if not chats and complete > COMPLETE_SHARE * sum(len(found) for found in parts.values()):
        return [
            "the base has no chat template and continues texts, and most prompts are whole sentences, as one says them "
            "to a model that chats: let prompts end where a continuation begins"
        ]
    return []


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORDS.findall(text)]


def _long_words(text: str) -> frozenset[str]:
    return frozenset(word for word in _words(text) if len(word) >= 4)
