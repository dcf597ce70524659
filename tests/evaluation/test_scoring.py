"""Log-probabilities of given completions: the same in a mixed batch as for each text alone."""

import pytest
import torch
from runtime.architectures import prepended, random_prefixes, random_sequences, tiny_model

from ppm.evaluation.scoring import ScoredText, log_probabilities, sum_log_probabilities
from ppm.runtime.model import UNPATCHED, attach, backbone_of

TARGETS = [(7, 8), (9,), (10, 11, 12, 13)]
ROWS = [0, UNPATCHED, 1]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama", initializer_range=0.3)


@pytest.fixture(scope="module")
def bank(model):
    return random_prefixes(model, 5, 7)


@pytest.fixture(scope="module")
def texts():
    contexts = random_sequences(5, 1, 8, seed=5)
    return [ScoredText(tuple(c), t, row) for c, t, row in zip(contexts, TARGETS, ROWS, strict=True)]


@pytest.fixture(scope="module")
def alone(model, bank, texts):
    """The distributions (tokens, vocabulary) of each text, from embeddings with the prefix prepended."""
    found = []
    for text in texts:
        prefix = bank[text.row] if text.row >= 0 else None
        embeddings = prepended(model, [*text.prompt, *text.completion], prefix)
        with torch.no_grad():
            logits = model(inputs_embeds=embeddings).logits[0, -len(text.completion) - 1 : -1]
        found.append(torch.log_softmax(logits, -1))
    return found


def test_sums_are_those_of_each_completion_alone(model, bank, texts, alone):
    found = sum_log_probabilities(attach(model, bank), texts, batch_size=2)
    for text, value, wanted in zip(texts, found, alone, strict=True):
        assert value == pytest.approx(float(wanted.gather(1, torch.tensor(text.completion)[:, None]).sum()), abs=1e-4)


def test_distributions_come_text_after_text(model, bank, texts, alone):
    patched = attach(model, bank)
    with torch.no_grad(), backbone_of(patched).select(ROWS):
        found = log_probabilities(patched, texts)
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-4, rtol=1e-4)
