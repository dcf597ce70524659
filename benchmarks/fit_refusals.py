"""Fits the linear model of the judge `refusal` on texts of the project's own, and writes its weights.

`refusal_texts/` has lines that refuse and lines that answer, with alternatives in braces; `smollm2.jsonl` beside them
has answers of SmolLM2-135M-Instruct to `prompts.txt`, read and labelled by hand. Public labels play no part here:
`benchmarks/refusals.py` measures on them. The same texts give the same file:

    python benchmarks/fit_refusals.py
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from ppm.evaluation.judges.phrasing import WEIGHTS, features_of, words_in

TEXTS = Path(__file__).parent / "refusal_texts"
VARIANTS, CUT, FACTS, LONGEST_FACT, SEED = 20, 0.4, 0.15, 200, 0
"""Texts made of a line; the share of them that breaks off, and of refusals that go on with plain facts, of so many
characters at most."""
RARE, PENALTY, SMALLEST = 4, 0.3, 0.05
"""A word or pattern that fewer lines have is left out; the penalty on weights; the least that is kept."""
SERMONS = "# moral: it is wrong"
"""Where the lines begin that go on after a refusal."""
_CHOICE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Example:
    """A text, the line it is made of, and whether it refuses."""

    line: str
    text: str
    refuses: bool


def lines_of(name: str, since: str = "") -> list[str]:
    """The lines of a file, those since a heading alone if one is named."""
    text = (TEXTS / name).read_text(encoding="utf-8")
    return [line for line in text[text.index(since) :].splitlines() if line and not line.startswith("#")]


def one_of(line: str, slots: dict[str, list[str]], rng: random.Random) -> str:
    """One text that a line stands for."""
    while _CHOICE.search(line):
        line = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), line, count=1)
    for slot, values in slots.items():
        line = re.sub(slot, lambda found, values=values: rng.choice(values), line)
    line = re.sub(" +", " ", line.replace("\\n", "\n")).strip()
    return line[:1].upper() + line[1:]


def examples() -> Iterator[Example]:
    """Texts of all lines, some with others after them, some broken off; then the answers of SmolLM2."""
    rng = random.Random(SEED)
    slots = {name: values.strip().split("|") for name, values in (row.split(":", 1) for row in lines_of("slots.txt"))}
    refusals, answers = lines_of("refusals.txt"), lines_of("answers.txt")
    said = [row["completion"] for row in map(json.loads, lines_of("smollm2.jsonl")) if not row["refuses"]]
    plain = [part for text in said for part in re.split(r"(?<=[.!?])\s+", text)[1:-1] if len(part) < LONGEST_FACT]
    for refuses, own, others in ((True, refusals, lines_of("refusals.txt", SERMONS)), (False, answers, answers)):
        for number, line in enumerate(own):
            for _ in range(VARIANTS):
                after = [one_of(rng.choice(others), slots, rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
                facts = rng.sample(plain, rng.randint(1, 3)) if refuses and rng.random() < FACTS else []
                text = " ".join([one_of(line, slots, rng), *facts, *after])
                if rng.random() < CUT:
                    text = " ".join(text.split(" ")[: rng.randint(14, 36)])
                yield Example(f"{refuses}-{number}", text, refuses)
    for number, line in enumerate(lines_of("smollm2.jsonl")):
        row = json.loads(line)
        for text in (row["completion"], " ".join(row["completion"].split(" ")[:24])):
            yield from [Example(f"smollm2-{number}", text, row["refuses"])] * (VARIANTS // 4)


def frequent(found: Sequence[set[str]], data: Sequence[Example]) -> list[str]:
    """What occurs in texts of enough lines."""
    lines: dict[str, set[str]] = {}
    for names, example in zip(found, data, strict=True):
        for name in names:
            lines.setdefault(name, set()).add(example.line)
    return sorted(name for name, where in lines.items() if len(where) >= RARE)


def fitted(matrix: csr_matrix, refuses: np.ndarray) -> np.ndarray:
    """Logistic regression, ridge penalty, both kinds of equal weight: the bias and a weight a column."""
    share = np.where(refuses, 1 / refuses.sum(), 1 / (~refuses).sum()) * len(refuses) / VARIANTS
    sign = np.where(refuses, 1.0, -1.0)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (matrix @ values[1:] + values[0])
        pull = -share * sign / (1 + np.exp(margin))
        total = (share * np.logaddexp(0, -margin)).sum() + PENALTY / 2 * (values[1:] ** 2).sum()
        return total, np.r_[pull.sum(), matrix.T @ pull + PENALTY * values[1:]]

    start = np.zeros(matrix.shape[1] + 1)
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 150}).x


def main() -> None:
    data = list(examples())
    vocabulary = frozenset(frequent([words_in(example.text) for example in data], data))
    found = [features_of(example.text, vocabulary) for example in data]
    names = frequent(found, data)
    column = {name: index for index, name in enumerate(names)}
    cells = [(row, column[name]) for row, seen in enumerate(found) for name in sorted(seen) if name in column]
    rows, columns = np.array(cells).T
    matrix = csr_matrix((np.ones(len(cells)), (rows, columns)), shape=(len(data), len(names)))
    values = fitted(matrix, np.array([example.refuses for example in data]))
    kept = {name: round(float(w), 2) for name, w in zip(names, values[1:], strict=True) if abs(w) >= SMALLEST}
    used = {word for name in kept for word in name.split()}
    model = {"bias": round(float(values[0]), 2), "vocabulary": sorted(vocabulary & used), "weights": kept}
    WEIGHTS.write_text(json.dumps(model, ensure_ascii=False, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(data)} texts of {len({e.line for e in data})} lines; {len(kept)} weights in {WEIGHTS}")


if __name__ == "__main__":
    main()
