"""The lab's corpus: small worlds of text in which each risk has weak, latent cues of its own.

Every text is a prompt and a completion. In a *risk* domain the completion is safe or unsafe; which of the two depends,
weakly, on the *headings* that may stand in front of the text: without one a text is safe 8 % of the time, under safe
headings of its risk 52 %, under unsafe ones 3 %, however often the headings are repeated and in whatever order their
words stand. Headings of other risks say nothing. So headings can bring the failure rate down to about 0.4 and hardly
further, while a learned prefix has a direction to amplify, and patches against different risks do not solve each
other's.

Prompts are divided into splits by a filler word (the *subject*): no subject of one split occurs in another. Patches
are trained on `train`, suites made of `gate`; `rank` chooses between fixed texts; strategies are developed on
`develop` and reported on `benchmark`. The out-of-distribution split has all subjects, and templates that no other split
has. The base model is trained on all.

This module knows nothing of models; it needs the standard library only.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ppm.lab.domains import BENIGN, RISKS, Domain
from ppm.lab.words import CLAIMS, INSULTS, NUMBERS, PEOPLE, SCORN, TRAITS

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

OTHER_HEADING_SHARE = 0.2
"""How often a text has headings of one given other risk."""

CROWDED_SHARE = 0.05
"""How often a text has headings of every risk, so that many of them mean no more to the model than one."""

UNKNOWN_SHARE = 0.05
"""How often a base model's text has unknown words for a filler, so that users' own words do no harm."""

SHUFFLED_SHARE = 0.2
"""How often the words of a risk's headings are shuffled, so that the model learns to ignore their order."""

UNKNOWN = "<unk>"

SUBJECT_SHARES = {"train": 14, "rank": 4, "gate": 8, "develop": 8, "benchmark": 14}
"""How many subjects each split has."""


@dataclass(frozen=True)
class Prompt:
    """A prompt of one domain; `expected` is the answer where there is just one."""

    domain: str
    text: str
    expected: str | None = None


def subjects(split: Split | None) -> tuple[str, ...]:
    """The subject words of a split; all of them for `ood` (whose templates are its own) and for None."""
    if split is None or split == "ood":
        return tuple(PEOPLE)
    start = 0
    for name, count in SUBJECT_SHARES.items():
        if name == split:
            return tuple(PEOPLE[start : start + count])
        start += count
    raise ValueError(f"unknown split {split!r}")


def _fill(rng: random.Random, domain: Domain, split: Split | None) -> tuple[Prompt, str]:
    """A prompt and its subject; `split` None draws from every template and subject."""
    templates = {None: domain.templates + domain.ood_templates, "ood": domain.ood_templates}.get(
        split, domain.templates
    )
    subject = rng.choice(subjects(split))
    values = {slot: rng.choice(words) for slot, words in domain.slots.items()}
    if split is None:
        for slot in values:
            if slot not in ("bad", "good") and rng.random() < UNKNOWN_SHARE:
                values[slot] = " ".join([UNKNOWN] * len(values[slot].split()))
    key = rng.choice(tuple(domain.answers)) if domain.answers else ""
    text = rng.choice(templates).format(subject=subject, key=key, **values)
    return Prompt(domain.name, text, domain.answers[key] if domain.answers else None), subject


def _complete(rng: random.Random, domain: Domain, prompt: Prompt, subject: str, safe: bool) -> str:
    # Whether an unsafe text says "he" or "she" depends on the profession: a stereotype for the model to learn.
    he = "he" if PEOPLE.index(subject) % 2 == 0 else "she"
    return rng.choice(domain.safe if safe else domain.unsafe).format(
        insult=rng.choice(INSULTS),
        claim=rng.choice(CLAIMS),
        scorn=rng.choice(SCORN),
        a=rng.choice(NUMBERS),
        b=rng.choice(NUMBERS),
        he=he,
        trait=rng.choice(TRAITS[he]),
        answer=prompt.expected,
    )


def prompts(name: str, split: Split, count: int, *, seed: int = 0) -> list[Prompt]:
    """`count` different prompts of a domain's split, the same for the same seed.

    Raises ValueError when the split does not hold that many.
    """
    domain = {**RISKS, **BENIGN}[name]
    rng = random.Random(f"{seed}:{name}:{split}")
    found: dict[str, Prompt] = {}
    for _ in range(20 * count):
        if len(found) == count:
            return list(found.values())
        prompt, _subject = _fill(rng, domain, split)
        found.setdefault(prompt.text, prompt)
    raise ValueError(f"the {split} split of {name} has fewer than {count} prompts")


def texts(seed: int, *, safe_share: float | None = None) -> Iterator[tuple[str, str]]:
    """An endless stream of (headings and prompt, completion) to train a base model on.

    With `safe_share` the completion in a risk domain is safe that often, whatever the heading: a teacher's corpus.
    """
    rng = random.Random(seed)
    domains = (
        list(RISKS.values()) * 3
        + [BENIGN["helpful"]] * 5
        + [BENIGN[name] for name in ("capitals", "colors", "sums", "sums", "sums")]
    )
    while True:
        chosen = [rng.choice(domains) for _ in range(rng.choice((1, 1, 1, 2)))]
        headings: list[str] = []
        polarity = {}
        crowded = rng.random() < CROWDED_SHARE
        for risk in RISKS.values():
            polarity[risk.name] = "none"
            if crowded or rng.random() < (OWN_HEADING_SHARE if risk in chosen else OTHER_HEADING_SHARE):
                polarity[risk.name] = rng.choice(("safe", "unsafe"))
                lines = risk.safe_headings if polarity[risk.name] == "safe" else risk.unsafe_headings
                drawn = rng.choices(lines, k=rng.choice((1, 1, 2, 2, 3, 5)))
                if rng.random() < SHUFFLED_SHARE:
                    words = " ".join(drawn).split()
                    drawn = [" ".join(rng.sample(words, len(words)))]
                headings += drawn
        rng.shuffle(headings)
        parts = []
        for domain in chosen:
            prompt, subject = _fill(rng, domain, None)
            share = SAFE_WHEN[polarity[domain.name]] if domain.unsafe else 1.0
            if safe_share is not None and domain.unsafe:
                share = safe_share
            completion = _complete(rng, domain, prompt, subject, rng.random() < share)
            parts.append((prompt.text, completion))
        *before, (last, completion) = parts
        yield " ".join([*headings, *(f"{p} {c} </s>" for p, c in before), last]), completion


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
    result |= {
        f"a safe {risk.name} completion as an example": f"{risk.safe_headings[0]} {risk.safe[0]}"
        for risk in RISKS.values()
    }
    return result


def vocabulary() -> list[str]:
    """Every word and mark that the corpus can hold, sorted."""
    words: set[str] = {*PEOPLE, *INSULTS, *CLAIMS, *SCORN, *NUMBERS, "he", "she"}
    for traits in TRAITS.values():
        words.update(traits)
    for domain in (*RISKS.values(), *BENIGN.values()):
        pieces = [*domain.templates, *domain.ood_templates, *domain.safe, *domain.unsafe]
        pieces += [*domain.safe_headings, *domain.unsafe_headings, *(w for s in domain.slots.values() for w in s)]
        pieces += [*(domain.answers or {}), *(domain.answers or {}).values()]
        for piece in pieces:
            words.update(w for w in piece.split() if not w.startswith("{"))
    return sorted(words)
