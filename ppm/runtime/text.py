"""The one way from text to tokens: training, evaluation, generation, teachers and serving all come through here.

A prompt is a plain text, or a chat that the base's template renders. What follows it, an answer, is tokenised so that
`prompt + answer` begins with exactly the tokens that the model sees when it is asked. Needs no torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ppm.base import BaseModel
from ppm.errors import ModelError
from ppm.jsonl import Text
from ppm.runtime.loading import BASE_HINT, LoadedBase, load_settings, load_tokenizer

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

__all__ = [
    "TEXT_VERSION",
    "TextEncoder",
    "continuation",
    "encode",
    "encoder_of",
    "encoder_of_folder",
    "join",
    "render",
    "rendered_tokens",
    "stop_tokens",
    "width_of",
]

TEXT_VERSION = 1
"""Counts up whenever the same text may become other tokens, so that nothing kept from before is used."""
TODAY = datetime(2024, 7, 26)
"""The date for templates that write today's, so that a prompt is the same tomorrow; Llama 3's own stand-in."""
CLOCK = "strftime_now"
"""What transformers offers to templates that want to know the date."""


def encode(tokenizer: "PreTrainedTokenizerBase", text: Text, *, where: str = "") -> tuple[int, ...]:
    """The token ids of a plain prompt, or of a chat with its generation prompt.

    An end token that the tokenizer puts after every text is left out: an answer is to follow. A chat that ends in an
    assistant's turn is continued there. `where` names the prompt in errors. Raises ModelError when the base has no
    chat template, the template refuses the messages, or the prompt comes out empty.
    """
    ids = (
        _plain(tokenizer, text)
        if isinstance(text, str)
        else rendered_tokens(tokenizer, _rendered(tokenizer, text, where))
    )
    if not ids:
        raise ModelError(
            "a prompt has no tokens",
            context=where,
            hint="the model has no beginning-of-sequence token; give a longer prompt",
        )
    return ids


def continuation(tokenizer: "PreTrainedTokenizerBase", prompt: Text, text: str) -> tuple[int, ...]:
    """The token ids of a text right after a prompt, without anything that ends it."""
    return _after(tokenizer, prompt, join(prompt, text), "")


def join(prompt: Text, answer: str) -> str:
    """The answer with the space that sets it off from a plain prompt, or from a turn that it continues."""
    before = prompt if isinstance(prompt, str) else prompt[-1][1] if _continues(prompt) else ""
    if not before or before[-1].isspace() or answer[:1].isspace():
        return answer
    return f" {answer}"


def stop_tokens(tokenizer: "PreTrainedTokenizerBase", generation: "GenerationConfig | None") -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's end token and those of the model's generation configuration."""
    declared = generation.eos_token_id if generation is not None else None
    listed: Iterable[int | None] = declared if isinstance(declared, list) else [declared]
    return frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)


@dataclass(frozen=True)
class TextEncoder:
    """How a base reads texts, with what limits it: so many embeddings, and a context of so many tokens, if it says so.

    `stops` are the tokens that end an answer.
    """

    tokenizer: "PreTrainedTokenizerBase"
    embeddings: int
    context: int | None
    stops: frozenset[int]

    @property
    def end(self) -> tuple[int, ...]:
        """The token that ends a text, or nothing where the base has none."""
        own = self.tokenizer.eos_token_id
        return () if own is None else (int(own),)

    @property
    def has_template(self) -> bool:
        """Whether the base has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def prompt(self, text: Text, where: str = "") -> tuple[int, ...]:
        """`encode`, and each token is one that the model has an embedding for. Raises ModelError."""
        return self.known(encode(self.tokenizer, text, where=where), where)

    def continuation(self, prompt: Text, text: str, where: str = "") -> tuple[int, ...]:
        """The token ids of a text right after a prompt, without anything that ends it. Raises ModelError."""
        return self.known(_after(self.tokenizer, prompt, join(prompt, text), where), where)

    def answer(self, prompt: Text, answer: str, where: str = "") -> tuple[int, ...]:
        """The token ids of an answer after a prompt, with what ends it.

        After a chat that is what the template ends an assistant's turn with, if the model stops there; else the end
        token. Raises ModelError: a token without an embedding, or nothing that ends a text.
        """
        if isinstance(prompt, str):
            ids = _after(self.tokenizer, prompt, join(prompt, answer), where)
            ended = ids[-1:] == self.end
        else:
            ids = _after(self.tokenizer, prompt, _turn(self.tokenizer, prompt, answer, where), where)
            ended = not self.stops.isdisjoint(ids)
        if not self.end:
            raise ModelError(
                "an answer can't end: the base model's tokenizer has no end token",
                context=where,
                hint="set eos_token in its tokenizer_config.json",
            )
        return self.known(ids if ended else (*ids, *self.end), where)

    def ending(self, prompt: Text) -> tuple[int, ...]:
        """What ends an answer that the base wrote itself: the token that it stops at after such a prompt."""
        if isinstance(prompt, str):
            return self.end
        tail = self.answer(prompt, "x") if self.end else ()
        return next(((token,) for token in tail if token in self.stops), self.end)

    def check_room(self, tokens: int, where: str = "") -> None:
        """Raises ModelError when so many tokens, the prefix included, are more than the context holds."""
        if self.context is not None and tokens > self.context:
            raise ModelError(
                f"takes {tokens} tokens with the prefix, but the base model's context has room for {self.context}",
                context=where,
                hint="shorten the text, lower max_new_tokens, or use fewer virtual tokens",
            )

    def known(self, ids: tuple[int, ...], where: str = "") -> tuple[int, ...]:
        """The token ids. Raises ModelError when the model has no embedding for one of them."""
        beyond = max(ids, default=0)
        if beyond >= self.embeddings:
            raise ModelError(
                f"holds {self.tokenizer.convert_ids_to_tokens(beyond)!r}, token {beyond} of the tokenizer, and the "
                f"model has embeddings for {self.embeddings} tokens only",
                context=where,
                hint="take it out of the text, or give the model the embeddings that its tokenizer needs",
            )
        return ids


def encoder_of(base: LoadedBase) -> TextEncoder:
    """How a base in memory reads texts."""
    return TextEncoder(
        base.tokenizer,
        int(base.model.get_input_embeddings().num_embeddings),
        _context(base.model.config),
        stop_tokens(base.tokenizer, base.model.generation_config),
    )


def encoder_of_folder(base: BaseModel) -> TextEncoder:
    """How a base on disk reads texts; its weights are not read. Raises ModelError."""
    tokenizer = load_tokenizer(base.folder, context=base.name, hint=BASE_HINT)
    config, generation = load_settings(base.folder, context=base.name, hint=BASE_HINT)
    embeddings = int(config.get_text_config().vocab_size)
    return TextEncoder(tokenizer, embeddings, _context(config), stop_tokens(tokenizer, generation))


def width_of(base: BaseModel) -> int:
    """How wide a base's embeddings are, from its configuration. Raises ModelError."""
    config, _ = load_settings(base.folder, context=base.name, hint=BASE_HINT)
    text = config.get_text_config()
    return int(getattr(text, "word_embed_proj_dim", None) or text.hidden_size)


def _context(config: "PreTrainedConfig") -> int | None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(limit) if limit else None


def _continues(prompt: Text) -> bool:
    """Whether a chat ends in an assistant's turn, which an answer goes on with."""
    return not isinstance(prompt, str) and prompt[-1][0] == "assistant"


def rendered_tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """The token ids of a text that holds its special tokens already, as a rendered chat does."""
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def _plain(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """The tokens of a text with what the tokenizer puts before it, and without what it puts after it."""
    encoded = tokenizer(text, return_special_tokens_mask=True)
    ids, added = tuple(encoded.input_ids), encoded.special_tokens_mask  # what the text itself holds is not marked
    if not all(added):
        return ids[: max(i for i, special in enumerate(added) if not special) + 1]
    end = tokenizer.eos_token_id
    while ids and ids[-1] == end and (len(ids) > 1 or end != tokenizer.bos_token_id):
        ids = ids[:-1]
    return ids


def _after(tokenizer: "PreTrainedTokenizerBase", prompt: Text, text: str, where: str) -> tuple[int, ...]:
    """The tokens of a text that stands right after a prompt.

    They are those that the two together have; where the prompt's last tokens would merge with the text, the text has
    tokens of its own, as the prompt's are what the model is given.
    """
    before = encode(tokenizer, prompt, where=where)
    if isinstance(prompt, str):
        together = _plain(tokenizer, prompt + text)
    else:
        together = rendered_tokens(tokenizer, _rendered(tokenizer, prompt, where) + text)
    return together[len(before) :] if together[: len(before)] == before else rendered_tokens(tokenizer, text)


def _turn(tokenizer: "PreTrainedTokenizerBase", prompt: Text, answer: str, where: str) -> str:
    """What follows a rendered chat when the assistant answers: the answer, as the template writes and ends it."""
    assert not isinstance(prompt, str)
    given = join(prompt, answer)
    if _continues(prompt):
        conversation = (*prompt[:-1], ("assistant", prompt[-1][1] + given))
    else:
        conversation = (*prompt, ("assistant", answer))
    start = _rendered(tokenizer, prompt, where)
    try:
        whole = render(tokenizer, conversation, add_generation_prompt=False)
    except Exception:  # a template that shows no assistant's turn: the answer stands as it is
        return given
    if whole.startswith(start):
        return whole[len(start) :]
    # The generation prompt is no beginning of the conversation: only what ends the turn is taken from it.
    _, found, tail = whole.rpartition(answer.strip()) if answer.strip() else ("", "", "")
    return given + (tail if found else "")


def _rendered(tokenizer: "PreTrainedTokenizerBase", chat: tuple[tuple[str, str], ...], where: str) -> str:
    """A chat up to where the answer begins. Raises ModelError, whatever the template raises."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("the base model has no chat template", context=where, hint="use plain prompts with it")
    try:
        if _continues(chat):
            return render(tokenizer, chat, continue_final_message=True)
        return render(tokenizer, chat, add_generation_prompt=True)
    except Exception as error:  # templates are programs, and raise what they like
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(
            f"the base's chat template refuses the messages: {reason}",
            context=where,
            hint="use the roles that it accepts, in the order it expects",
        ) from error


def render(tokenizer: "PreTrainedTokenizerBase", chat: tuple[tuple[str, str], ...], **options: bool) -> str:
    """A chat by the tokenizer's template, on a day that stays the same; `options` are those of transformers.

    Raises whatever the template does.
    """
    messages = [{"role": role, "content": content} for role, content in chat]
    template = tokenizer.get_chat_template()
    fixed = _on_a_fixed_day(template) if CLOCK in template else template
    return str(tokenizer.apply_chat_template(messages, tokenize=False, chat_template=fixed, **options))


def _on_a_fixed_day(template: str) -> str:
    """The template with a clock of its own that stands still; functions can't be handed to it from outside."""
    letters = [f"%{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdDeFHIjmMpRSTuUwWxXyY"]
    steps = "".join(f" | replace({letter!r}, {TODAY.strftime(letter)!r})" for letter in letters)
    # The line break after a block is dropped, and so the template begins a line of its own, as it did.
    return "{%- macro " + CLOCK + "(format) -%}{{ format" + steps + " }}{%- endmacro %}\n" + template
