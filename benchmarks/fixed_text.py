"""How far a plain text in front of every prompt goes on the lab's base model: a search for the best one of each risk.

The text grows word by word, at either end, out of the whole vocabulary, and then each of its words is exchanged in
turn. What guides the search is the mean probability of the unsafe answer of a training pair against the safe one
(cheap: no generation). The texts found are compared on ranking prompts by generation, and the best of them is
measured on benchmark prompts, which the search has not seen: `python benchmarks/fixed_text.py [--device cuda]`.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ppm.base import identify
from ppm.evaluation.results import Configuration
from ppm.evaluation.runner import evaluate
from ppm.evaluation.scoring import ScoredText, sum_log_probabilities
from ppm.evaluation.suites import LoadedSuite, package_suites
from ppm.jsonl import Pair, Prompt
from ppm.lab import corpus
from ppm.lab.prompts import gate_prompts
from ppm.names import canonical_digest
from ppm.package import read_package
from ppm.resources import lab_data
from ppm.runtime.loading import LoadedBase, load_base
from ppm.runtime.model import attach
from ppm.runtime.text import join

LONGEST = 20
Words = tuple[str, ...]


class Search:
    """The base model, and the pairs that a text is judged by."""

    def __init__(self, model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.questions = [self._ids(str(pair.prompt)) for pair in pairs]
        self.answers = [[self._ids(join(p.prompt, answer)) for answer in (p.chosen, p.rejected)] for p in pairs]

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def unsafe(self, texts: list[Words]) -> list[float]:
        """For each text, the mean probability of the unsafe answer where it or the safe one is given."""
        asked = []
        for words in texts:
            head = tuple(self.tokenizer(" ".join(words)).input_ids)
            for question, answers in zip(self.questions, self.answers, strict=True):
                asked += [ScoredText(head + question, ids) for ids in answers]
        sums = torch.tensor(sum_log_probabilities(self.model, asked, batch_size=1024))
        chosen, rejected = sums.reshape(len(texts), len(self.questions), 2).unbind(-1)
        return torch.sigmoid(rejected - chosen).mean(-1).tolist()

    def grow(self, vocabulary: list[str], beam: int) -> list[Words]:
        """The best text found of each length."""
        kept: list[Words] = [()]
        best = []
        for _ in range(LONGEST):
            texts = list(dict.fromkeys(t for k in kept for word in vocabulary for t in ((*k, word), (word, *k))))
            scores = self.unsafe(texts)
            kept = [texts[i] for i in sorted(range(len(texts)), key=scores.__getitem__)[:beam]]
            best.append(kept[0])
        return best

    def exchange(self, text: Words, vocabulary: list[str]) -> Words:
        """The text after exchanging each word in turn for the best one."""
        for place in range(len(text)):
            texts = [(*text[:place], word, *text[place + 1 :]) for word in vocabulary]
            scores = self.unsafe(texts)
            text = texts[min(range(len(texts)), key=scores.__getitem__)]
        return text


def rates(base: LoadedBase, suite: LoadedSuite, texts: list[Words], prompts: list[Prompt]) -> list[float]:
    """The failure rate under each text, by generation."""
    variants = [
        replace(
            suite,
            prompts=tuple(replace(p, prompt=" ".join([*words, str(p.prompt)])) for p in prompts),
            digest=canonical_digest([suite.digest, list(words), len(prompts)]),
        )
        for words in texts
    ]
    found = evaluate(base, [Configuration("base")], variants, placement="before-bos", batch_size=512)
    return [found["base", variant.digest].mean for variant in variants]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--exchanges", type=int, default=0, help="rounds of exchanging every word of the longest text")
    options = parser.parse_args()
    data = lab_data()
    base = load_base(identify(data / "base", name="lab"))
    base.model.to(options.device)
    model = attach(base.model)
    vocabulary = corpus.vocabulary()
    packages = [read_package(path) for path in sorted((data / "packages").glob("*.ppm"))]
    print("Failure rate of the base under the best text found, on 1,000 benchmark prompts a risk")
    for package, suite in zip(packages, package_suites(packages), strict=True):
        pairs = list(package.replay)
        random.Random(0).shuffle(pairs)
        search = Search(model, base.tokenizer, pairs[: options.pairs])
        texts = search.grow(vocabulary, options.beam)
        for _ in range(options.exchanges):
            texts.append(search.exchange(texts[-1], vocabulary))
        texts += [tuple(text.split()) for text in corpus.fixed_texts().values()]
        risk = package.manifest.patch.risks[0]
        ranked = rates(base, suite, texts, gate_prompts(risk, "rank", 200))
        best = min(range(len(texts)), key=ranked.__getitem__)
        [without, found] = rates(base, suite, [(), texts[best]], gate_prompts(risk, "benchmark", 1000))
        print(f"  {risk:<14} {found:.3f}  (no text: {without:.3f})  {' '.join(texts[best])!r}", flush=True)


if __name__ == "__main__":
    main()
