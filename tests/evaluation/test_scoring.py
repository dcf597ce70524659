"""Log-probabilities of given completions: the same in a mixed batch as for each text alone."""

import pytest
import torch
from runtime.architectures import prepended, random_prefixes, random_sequences, tiny_model
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ppm.errors import ModelError
from ppm.evaluation.scoring import ScoredText, log_probabilities, next_word_probabilities, sum_log_probabilities
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


def sentencepiece(pieces):
    """A tokenizer that puts a space before every text, as Llama's does."""
    vocabulary = [("<unk>", -10.0), *((piece, -2.0) for piece in pieces)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def byte_level():
    """A tokenizer that has the space in the word, as GPT-2's does."""
    letters = ["\u0120", "\u010a", "\u00e2", "\u0122", "\u013e", *'ABSeh:.("Qzbra']
    merges = [("\u0120", "A"), ("\u0120", "B"), ("h", "e"), ("\u0120", "he"), ("S", "he"), ("\u0120", "She")]
    vocabulary = {token: i for i, token in enumerate(["<unk>", *letters, *map("".join, merges)])}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def words_only():
    made = Tokenizer(models.WordLevel({"<unk>": 0, ":": 1, "A": 2, "B": 3, "he": 4, "She": 5}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


MARKS = ["\n", "\u2581", ":", ".", "(", '"', "\u201c", "Q"]


@pytest.mark.parametrize(
    ("tokenizer", "tokens"),
    [
        (sentencepiece([*MARKS, "A", "B", "\u2581A", "\u2581B", "he", "\u2581he", "\u2581She", "She"]),
         {"A": ["A", "\u2581A"], "B": ["B", "\u2581B"], "he": ["he", "\u2581he"], "she": ["She", "\u2581She"]}),
        (byte_level(),
         {"A": ["A", "\u0120A"], "B": ["B", "\u0120B"], "he": ["he", "\u0120he"], "she": ["She", "\u0120She"]}),
        (words_only(), {"A": ["A"], "B": ["B"], "he": ["he"], "she": ["She"]}),
    ],
    ids=["sentencepiece", "byte-level", "words"],
)  # fmt: skip
def test_a_word_counts_in_every_spelling_that_is_a_token_after_a_text(model, tokenizer, tokens):
    vocabulary = tokenizer.get_vocab()
    prompt = (3, 4, 5)
    patched = attach(model)
    [found] = next_word_probabilities(patched, tokenizer, [(UNPATCHED, prompt)], [tuple(tokens)])
    with torch.no_grad():
        whole = torch.softmax(model(torch.tensor([prompt])).logits[0, -1].double(), -1)
    for word, pieces in tokens.items():
        assert found[word] == pytest.approx(sum(float(whole[vocabulary[piece]]) for piece in pieces), abs=1e-6)


def test_a_group_without_a_word_of_one_token_is_told(model):
    with pytest.raises(ModelError, match="splits zebra"):
        next_word_probabilities(attach(model), words_only(), [(UNPATCHED, (3,))], [("A",), ("zebra",)])
