"""Whether a base is the same model as another one in another form: recast, requantised, or converted again.

The architecture must be the same, and so must the tokens of fixed texts and chats; the weights must be close to the
sketch that a package carries. That proves no identity, for the noise of 4-bit weights exceeds many a fine-tune: the
gate decides, and what differs is said and kept.
"""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.base import NOT_IDENTITY, BaseModel, check_compatible, made_for_another
from ppm.errors import IntegrityError
from ppm.lock import DerivedFrom
from ppm.names import canonical_digest
from ppm.package import SKETCH, Package
from ppm.runtime.loading import load_settings, load_tokenizer
from ppm.runtime.text import render
from ppm.sketch import Distance, Sketch, distance, sketch_weights

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

__all__ = ["FARTHEST", "FARTHEST_TENSOR", "accepted_as", "check_fits", "sketch_of"]

FARTHEST, FARTHEST_TENSOR = 0.2, 0.5
"""How far the weights may be apart, relative to their norm: all together, and those of one tensor."""
TEXTS = (
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.  It did so twice;\n\n\tthen it slept.",
    "def f(x: int) -> int:\n    return x ** 2  # squares",
    "3.14159, 1,000,000 and 0x1F600; e-mail: someone@example.org",
    "Zażółć gęślą jaźń. Größenmaßstäbe. ¿Dónde está la biblioteca?",
    "Быстрая лиса. 快速的棕色狐狸。 いろはにほへと. السلام عليكم. हिन्दी",
    "🙂👩‍👩‍👧‍👦 ﬁne print\u200b\u00a0 ends here",
    "",
)
CHAT = (("user", "Where is the nearest library?"), ("assistant", "Around the corner."), ("user", "Thank you.  \n"))
_IDLE = NOT_IDENTITY | {
    "architectures",
    "chunk_size_feed_forward",
    "id2label",
    "initializer_range",
    "is_encoder_decoder",
    "label2id",
    "pretraining_tp",
    "problem_type",
    "quantization_config",
}
"""Keys of a configuration that change no answer; those of dropout and of special tokens are named by their endings."""
_IDLE_ENDINGS = ("_token_id", "dropout", "_pdrop")


def sketch_of(base: BaseModel) -> Sketch:
    """A base as a package carries it. Raises ModelError for one whose weights are packed, or that is damaged."""
    return _sketch_of(base.folder, base.fingerprint, base.name)


@lru_cache(maxsize=4)
def _sketch_of(folder: Path, fingerprint: str, name: str) -> Sketch:
    config, _ = load_settings(folder, context=name)
    found = sketch_weights(folder, tied=bool(getattr(config, "tie_word_embeddings", False)))
    ids = _ids(load_tokenizer(folder, context=name))
    return Sketch(
        found.dtype, found.tensors, found.norms, found.sums, _settings(config), ids, names=found.names
    ).rounded


def check_fits(package: Package, base: BaseModel) -> DerivedFrom | None:
    """What a base is accepted as by a package that was not made for it; None where it was.

    Raises ModelError, saying what differs, when a package is for another base, and IntegrityError for a damaged sketch.
    """
    manifest = package.manifest
    if manifest.base.fingerprint == base.fingerprint:
        return None
    if "derived" not in manifest.base.accepts:
        check_compatible(manifest, base)
    return accepted_as(package, base)


def accepted_as(package: Package, base: BaseModel) -> DerivedFrom:
    """What a base is accepted as by a package that accepts derived bases. Raises as `check_fits` does."""
    manifest = package.manifest
    if SKETCH not in package.files:
        raise IntegrityError(f"accepts derived bases, but lacks {SKETCH}", context=manifest.pin)
    theirs, ours = Sketch.parse(package.files[SKETCH], f"{manifest.pin}, {SKETCH}"), sketch_of(base)
    fault, found = _fault(theirs, ours), None
    if fault is None:
        found = distance(theirs, ours)
        if found.overall > FARTHEST or found.largest > FARTHEST_TENSOR:
            fault = f"its weights are {_apart(found)}"
    if fault is not None or found is None:
        raise made_for_another(manifest, base, f"it is not derived from that model either: {fault}")
    assert manifest.base.fingerprint is not None
    return DerivedFrom(manifest.base.model, manifest.base.fingerprint, _note(theirs, ours, found))


def _fault(theirs: Sketch, ours: Sketch) -> str | None:
    """Why two bases can't be one model, before their weights are looked at."""
    differing = sorted(
        key
        for key in theirs.settings.keys() | ours.settings.keys()
        if theirs.settings.get(key) != ours.settings.get(key)
    )
    if differing:
        return f"its configuration differs ({', '.join(differing[:3])})"
    if theirs.tensors != ours.tensors or len(theirs.norms) != len(ours.norms):
        return "its tensors have other names or shapes"
    return "its tokenizer or its chat template makes other tokens of a text" if theirs.ids != ours.ids else None


def _note(theirs: Sketch, ours: Sketch, found: Distance) -> str:
    """What differs, in words."""
    kinds = f"in {ours.dtype} instead of {theirs.dtype}, " if ours.dtype != theirs.dtype else ""
    return f"weights {kinds}{_apart(found) if found.largest else 'the same'}"


def _apart(found: Distance) -> str:
    at = f" in {found.where}" if found.where else ""
    return f"{found.overall:.2%} apart, at most {found.largest:.2%}{at}"


def _settings(config: "PreTrainedConfig") -> dict[str, object]:
    """The keys of a configuration that change answers, with numbers to five digits: some formats keep no more."""
    table = config.to_dict()
    try:
        known = set(type(config)().to_dict())
    except Exception:  # a class that can't be made without values
        known = set(table)
    kept = {
        key: _rounded(value)
        for key, value in table.items()
        if key in known and key not in _IDLE and not key.endswith(_IDLE_ENDINGS) and value is not None
    }
    return {**kept, "class": type(config).__name__}


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return value if isinstance(value, str | int) else str(value)


def _ids(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The digest of the ids of fixed texts, and of a chat where there is a template for one."""
    texts = list(TEXTS)
    if getattr(tokenizer, "chat_template", None):
        for chat in (CHAT, CHAT[:1]):
            try:
                texts.append(render(tokenizer, chat, add_generation_prompt=True))
            except Exception:  # templates are programs, and raise what they like
                texts.append("refused")
    return canonical_digest([tokenizer(text).input_ids for text in texts])
