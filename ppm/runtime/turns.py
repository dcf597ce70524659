"""Where a base's chat template puts what its user says, in tokens: what a trigger reads, found in any rendered chat.

Told from chats that are rendered for the purpose. It goes with the patch as short runs of token ids, so that a prompt
is read alike wherever it comes from: an audit, `ppm generate`, or a call of the model on ids alone. With them go the
tokens that end a sentence.
"""

from collections.abc import Sequence
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from ppm.bank_table import MAX_SENTENCE_ENDS, MAX_TURN_TOKENS, Turn
from ppm.errors import PpmError
from ppm.runtime.text import encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["turn_of"]

SAID = ("Tell me more.", "why", "7", "(a)", "Zürich!")
"""Texts that begin and end in different ways, so that what is around them all is the template's."""
STOPS = frozenset(".?!:;\n…。？！：；؟۔।։")
"""What ends a sentence, or a line."""
AROUND = " \t\r\"'`*_)]}»”’」』）"
"""What may stand after it in the same token."""
LONGEST_END = 4
"""How many characters a token that ends a sentence has at most: packages name all of them."""
Chat = tuple[tuple[str, str], ...]


def turn_of(tokenizer: "PreTrainedTokenizerBase") -> Turn | None:
    """The tokens before and after a user's turn; None where a base has no chat template, or one without them."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    first = [_ids(tokenizer, (("user", said),)) for said in SAID]
    later = [_ids(tokenizer, (("user", "Hello"), ("assistant", "Hi."), ("user", said))) for said in SAID]
    if not all(first):
        return None
    opening = _shared([_shared(first), *([_shared(later)] if all(later) else [])], from_end=True)
    closing = _shared(first, from_end=True)
    # A vocabulary of few words may know none of what was said.
    while opening and opening[-1] == tokenizer.unk_token_id:
        opening = opening[:-1]
    while closing and closing[0] == tokenizer.unk_token_id:
        closing = closing[1:]
    opening, closing = opening[-MAX_TURN_TOKENS:], closing[:MAX_TURN_TOKENS]
    return Turn(tuple(opening), tuple(closing), _ends(tokenizer)) if opening and closing else None


def _ends(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """The tokens that end a sentence, rising; of very many, those that come first in the vocabulary."""
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    found = (token for token, text in enumerate(texts) if token not in special and _ends_sentence(text))
    return tuple(islice(found, MAX_SENTENCE_ENDS))


def _ends_sentence(text: str) -> bool:
    bare = text.rstrip(AROUND)
    return len(text) <= LONGEST_END and ("\n" in text or (bool(bare) and bare[-1] in STOPS))


def _ids(tokenizer: "PreTrainedTokenizerBase", chat: Chat) -> tuple[int, ...]:
    try:
        return encode(tokenizer, chat)
    except PpmError:  # a template that wants other roles, or none of this order
        return ()


def _shared(rows: Sequence[Sequence[int]], *, from_end: bool = False) -> list[int]:
    """The tokens that all rows begin with, or end in."""
    if from_end:
        return _shared([row[::-1] for row in rows])[::-1]
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*rows, strict=False))
    return [tokens[0] for tokens in alike]
