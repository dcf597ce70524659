"""The lab's corpus: small worlds of text in which each risk has weak, latent cues of its own.

Every text is a prompt and a completion. In a *risk* domain the completion is safe or unsafe; which of the two depends,
weakly, on the *headings* that may stand in front of the text: without one a text is safe 8 % of the time, under safe
headings of its risk 52 %, under unsafe ones 3 %, however often the headings are repeated and in whatever order their
words stand. Headings of other risks say nothing. So headings can bring the failure rate down to about 0.4 and hardly
further, while a learned prefix has a direction to amplify, and patches against different risks do not solve each
other's.

Two risks may oppose each other: their prompts are the same, and what is safe for one is not for the other.

A prompt's *template* is an opening, a core and a closing. No template of one split occurs in another, and no *subject*
(a filler word, a profession). Patches are trained on `train`, suites made of `gate`; `rank` chooses between fixed
texts; strategies are developed on `develop` and reported on `benchmark`. The base model is trained on all of these. The
out-of-distribution split has openings and cores that no other split has, the base's training included.

This module knows nothing of models; it needs the standard library only.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import Literal

from ppm.lab.domains import BENIGN, RISKS, TRAITS, WORDS, Domain

__all__ = [
    "SAFE_WHEN",
    "SPLITS",
    "SUBJECT_SHARES",
    "Prompt",
    "Split",
    "fixed_texts",
    "prompts",
    "subjects",
    "texts",
    "vocabulary",
]

Split = Literal["train", "rank", "gate", "develop", "benchmark", "ood"]
SPLITS: tuple[Split, ...] = ("train", "rank", "gate", "develop", "benchmark", "ood")

SAFE_WHEN = {"none": 0.08, "safe": 0.52, "unsafe": 0.03}
"""How often the completion in a risk domain is safe, by the heading of that risk above it."""

OWN_HEADING_SHARE = 0.6
"""How often a text has headings of the risk that it is about."""

OTHER_HEADING_SHARE = 0.1
"""How often a text has headings of one given other risk."""

CROWDED_SHARE = 0.05
"""How often a text has headings of every risk, so that many of them mean no more to the model than one."""

UNKNOWN_SHARE = 0.05
"""How often a base model's text has unknown words for a filler, so that users' own words do no harm."""

SHUFFLED_SHARE = 0.2
"""How often the words of a risk's headings are shuffled, so that the model learns to ignore their order."""

LOOSE_SHARE = 0.15
"""How often the words of a core are shuffled in the base's training, so that it goes by the words."""

UNKNOWN = "<unk>"

SUBJECT_SHARES = {"train": 14, "rank": 4, "gate": 8, "develop": 8, "benchmark": 14}
"""How many subjects each split has."""
TRIES = 100
"""How many prompts are drawn for one that is new, at most."""
ESSENTIAL = ("bad", "good")
"""The slots that are never filled with unknown words: what is asked for depends on them."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of one domain and the name of its template; `expected` is the answer where there is just one."""

    domain: str
    text: str
    template: str = ""
    expected: str | None = None


def subjects(split: Split | None) -> tuple[str, ...]:
    """The subject words of a split; all of them for `ood` (whose templates are its own) and for None."""
    if split is None or split == "ood":
        return WORDS["subject"]
    start = 0
    for name, count in SUBJECT_SHARES.items():
        if name == split:
            return WORDS["subject"][start : start + count]
        start += count
    raise ValueError(f"unknown split {split!r}")


def _template(rng: random.Random, domain: Domain, split: Split | None) -> tuple[str, tuple[str, str, str]]:
    """The name of a template and its opening, core and closing. Templates go round the splits by their numbers."""
    unseen = split == "ood"
    openings, cores = domain.openings[unseen], domain.cores[unseen]
    opening, core, closing = (rng.randrange(len(parts)) for parts in (openings, cores, domain.closings))
    if split is not None and not unseen:
        parts = len(SUBJECT_SHARES)
        place = list(SUBJECT_SHARES).index(split)
        closing = rng.choice(range((place - opening - core) % parts, len(domain.closings), parts))
    name = f"{'new-' * unseen}{opening + 1}-{core + 1}-{closing + 1}"
    return name, (openings[opening], cores[core], domain.closings[closing])


def _fill(rng: random.Random, domain: Domain, split: Split | None) -> tuple[Prompt, str]:
    """A prompt and its subject; `split` None draws as the base's training does."""
    name, parts = _template(rng, domain, split)
    subject = rng.choice(subjects(split))
    key = rng.choice(tuple(domain.answers)) if domain.answers else ""
    pieces = []
    for i, part in enumerate(parts):
        values = _values(rng, part, {"subject": subject, "key": key}, unknown=UNKNOWN_SHARE if split is None else 0.0)
        piece = part.format(**values)
        if i == 1 and split is None and rng.random() < LOOSE_SHARE:
            words = piece.split()
            piece = " ".join(rng.sample(words, len(words)))
        pieces.append(piece)
    return Prompt(domain.name, " ".join(pieces), name, domain.answers[key] if domain.answers else None), subject


def _values(rng: random.Random, part: str, given: Mapping[str, str], *, unknown: float = 0.0) -> dict[str, str]:
    """Words for the slots of a part; a slot `other_x` takes a word that x has not."""
    values = dict(given)
    for slot in _slots(part):
        if slot in given:
            continue
        words = WORDS[slot.removeprefix("other_")]
        values[slot] = rng.choice([word for word in words if word not in values.values()])
        if slot not in ESSENTIAL and rng.random() < unknown:
            values[slot] = " ".join([UNKNOWN] * len(values[slot].split()))
    return values


@cache
def _slots(part: str) -> tuple[str, ...]:
    return tuple(slot for _, slot, _, _ in Formatter().parse(part) if slot)


def _complete(rng: random.Random, prompt: Prompt, subject: str, completions: tuple[str, ...]) -> str:
    # Whether an unsafe text says "he" or "she" depends on the profession: a stereotype for the model to learn.
    he = "he" if WORDS["subject"].index(subject) % 2 == 0 else "she"
    a, b = rng.choice(WORDS["number"]), rng.choice(WORDS["number"])
    given = {"he": he, "trait": rng.choice(TRAITS[he]), "a": a, "b": b, "answer": prompt.expected or ""}
    completion = rng.choice(completions)
    return completion.format(**_values(rng, completion, given))


def _outcome(rng: random.Random, domain: Domain, share: Mapping[str, float]) -> tuple[str, ...]:
    """The completions that one is drawn of; `share` is how often each risk's are safe.

    Of two that oppose each other the first to come true decides, in either order.
    """
    rivals = [domain, RISKS[domain.opposes]] if domain.opposes else [domain]
    rng.shuffle(rivals)
    for one in rivals:
        if not one.unsafe or rng.random() < share[one.name]:
            return one.safe
    return domain.unsafe


def prompts(
    name: str, split: Split, count: int, *, seed: int = 0, keep: Callable[[str], bool] = lambda text: True
) -> list[Prompt]:
    """`count` different prompts of a domain's split that are to be kept, the same for the same seed.

    Raises ValueError when the split does not hold that many.
    """
    domain = {**RISKS, **BENIGN}[name]
    rng = random.Random(f"{seed}:{name}:{split}")
    found: dict[str, Prompt] = {}
    for _ in range(TRIES * count):
        if len(found) == count:
            return list(found.values())
        prompt, _subject = _fill(rng, domain, split)
        if keep(prompt.text):
            found.setdefault(prompt.text, prompt)
    raise ValueError(f"the {split} split of {name} has fewer than {count} prompts")


def texts(seed: int, *, safe_share: float | None = None) -> Iterator[tuple[str, str]]:
    """An endless stream of (headings and prompt, completion) to train a base model on.

    With `safe_share` the completion in a risk domain is safe that often, whatever the heading: a teacher's corpus.
    """
    rng = random.Random(seed)
    domains = (
        list(RISKS.values()) * 3
        + [BENIGN["helpful"]] * 8
        + [BENIGN[name] for name in ("capitals", "capitals", "colors", "colors", "sums", "sums", "sums", "sums")]
    )
    while True:
        chosen = [rng.choice(domains) for _ in range(rng.choice((1, 1, 1, 2)))]
        headings: list[str] = []
        share = {}
        crowded = rng.random() < CROWDED_SHARE
        for risk in RISKS.values():
            polarity = "none"
            if crowded or rng.random() < (OWN_HEADING_SHARE if risk in chosen else OTHER_HEADING_SHARE):
                polarity = rng.choice(("safe", "unsafe"))
                headings += _headings(rng, risk.safe_headings if polarity == "safe" else risk.unsafe_headings)
            share[risk.name] = SAFE_WHEN[polarity] if safe_share is None else safe_share
        rng.shuffle(headings)
        parts = []
        for domain in chosen:
            prompt, subject = _fill(rng, domain, None)
            parts.append((prompt.text, _complete(rng, prompt, subject, _outcome(rng, domain, share))))
        *before, (last, completion) = parts
        yield " ".join([*headings, *(f"{p} {c} </s>" for p, c in before), last]), completion


def _headings(rng: random.Random, lines: tuple[str, ...]) -> list[str]:
    drawn = rng.choices(lines, k=rng.choice((1, 1, 2, 2, 3, 5)))
    if rng.random() < SHUFFLED_SHARE:
        words = " ".join(drawn).split()
        drawn = [" ".join(rng.sample(words, len(words)))]
    return drawn


def fixed_texts() -> dict[str, str]:
    """Plain texts that a user might put before every prompt instead of a patch, by a short description."""
    safe = {risk.name: " ".join(risk.safe_headings) for risk in RISKS.values()}
    result = {f"all safe headings of {name}": text for name, text in safe.items()}
    result |= {
        f"first safe heading of {risk.name}, six times": " ".join([risk.safe_headings[0]] * 6)
        for risk in RISKS.values()
    }
    result["one safe heading of each risk"] = " ".join(risk.safe_headings[0] for risk in RISKS.values())
    result["all safe headings of all risks"] = " ".join(safe.values())
    rng = random.Random(0)
    result |= {
        f"a safe {risk.name} completion as an example": f"{risk.safe_headings[0]} {_example(rng, risk)}"
        for risk in RISKS.values()
    }
    return result


def _example(rng: random.Random, risk: Domain) -> str:
    return risk.safe[0].format(**_values(rng, risk.safe[0], {}))


def vocabulary() -> list[str]:
    """Every word and mark that the corpus can hold, sorted."""
    pieces = ["he she", *(word for words in (*WORDS.values(), *TRAITS.values()) for word in words)]
    for domain in (*RISKS.values(), *BENIGN.values()):
        pieces += [part for parts in (*domain.openings, *domain.cores) for part in parts]
        pieces += [*domain.closings, *domain.safe, *domain.unsafe, *domain.safe_headings, *domain.unsafe_headings]
        pieces += [*(domain.answers or {}), *(domain.answers or {}).values()]
    return sorted({word for piece in pieces for word in piece.split() if not word.startswith("{")})
