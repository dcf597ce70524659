"""Whether a prefix stands in front of a model's prompts exactly: tried on the model at hand, not looked up by name.

Answers with a prefix from the cache are compared with those to the prefix's embeddings in front of the prompt: alone,
beside a longer prompt on either side of the padding, in cached decoding, and far from the prefix, as padding has it.
The model is left as it was. What came out is kept for models of the same configuration.
"""

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import EnvironmentStateError, ModelError
from ppm.manifest import Placement
from ppm.runtime.arrangements.isolated import Isolated
from ppm.runtime.arrangements.joined import Joined
from ppm.runtime.backbone import UNPATCHED
from ppm.runtime.rows import Row
from ppm.runtime.shell import backbone_of, bos_of, shell
from ppm.version import __version__

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["KINDS", "LENGTHS", "PREFIX", "VERSION", "Trial", "prove", "prove_apart", "settled"]

VERSION = 2
"""Of the test: what an older one found is tried again."""
KINDS = (
    "a prefix needs causal attention with a key-value cache that it can stand in, and positions that do not count "
    "padding, as Llama, Mistral, Qwen, Gemma, GPT-2, OPT and most others have; state-space models and hybrids with "
    "recurrent or convolution layers do not (docs/architectures.md)"
)
KEPT = 64
LENGTHS = (8, 4, 3)
"""Tokens of the prompts that are tried, one more than the cache is filled with."""
PREFIX = 3
LARGE_GAP = 2**14
SMALL = 2**20
"""Buffers of no more values are copied and put back; no architecture changes a larger one in its forward pass."""
_verdicts: OrderedDict[str, str | None] = OrderedDict()
_trying = threading.Lock()
"""Held while a model is tried: two trials of one model would each put back what the other had changed."""


def prove(model: "PreTrainedModel", placement: Placement, *, kept: Path | None = None) -> None:
    """Raises ModelError unless a prefix at `placement` is exact on this model.

    The first model of a configuration is tried, in about the time of a hundred tokens; for others what came out is
    remembered; that one is exact is kept in the folder `kept` too, where one is given, for the next process: by the
    architecture and its whole configuration, dtype, device, kind of attention, placement, and the versions of the
    test, ppm, transformers and torch. A folder that can't be written is none.
    """
    key = _key(model, placement)
    with _trying:
        if key not in _verdicts:
            _verdicts[key] = None if _held(kept, key) else _tried(model, placement)
            while len(_verdicts) > KEPT:
                _verdicts.popitem(last=False)
        fault = _verdicts[key]
        if fault is None and not _held(kept, key):  # what failed may have failed for want of memory
            _keep(kept, key)
    if fault is not None:
        raise ModelError(
            f"ppm can't put a prefix in front of this architecture ({type(model).__name__}): {fault}",
            context=str(getattr(model, "name_or_path", "") or "the base model"),
            hint=KINDS,
        )


def prove_apart(model: "PreTrainedModel", placement: Placement) -> None:
    """Raises ModelError unless several blocks side by side do the same in either order, as by their positions they do.

    Tried once for a configuration, in a pass over three short prompts. Where the distance of a key is counted in
    columns (ALiBi), the first block of several would stand farther from the text than alone.
    """
    if not settled(model, placement, "apart", lambda: _same_in_either_order(model, placement)):
        raise ModelError(
            f"several isolated blocks are not exact on this architecture ({type(model).__name__}): their order counts",
            context=str(getattr(model, "name_or_path", "") or "the base model"),
            hint="use routed, where a prompt meets one block, or distilled",
        )


def settled(model: "PreTrainedModel", placement: Placement, kind: str, exact: Callable[[], bool]) -> bool:
    """Whether some trial comes out exact, which is asked once for a configuration; the model is left as it was."""
    key = f"{kind}: {_key(model, placement)}"
    with _trying:
        if key not in _verdicts:
            with _undisturbed(model):
                _verdicts[key] = None if exact() else kind
            while len(_verdicts) > KEPT:
                _verdicts.popitem(last=False)
        return _verdicts[key] is None


def _same_in_either_order(model: "PreTrainedModel", placement: Placement) -> bool:
    trial = Trial(model, placement)
    if trial.lead and trial.bos is None:
        return True  # which is told when the prefix is first used
    other = trial.table(trial.ids(PREFIX, 9)).detach().float().clone()
    own = trial.prefix.float().clone()
    patched = shell(
        model, [Row((own, other), Isolated()), Row((other, own), Isolated()), Row((own,), Joined())], placement
    )
    backbone = backbone_of(patched)
    backbone.warned = True
    with backbone.select([0, 1, 2]):
        first, second, alone = patched(input_ids=trial.cases[0].ids.expand(3, -1)).logits[:, -1].float()
    return bool((first - second).abs().max() <= trial.tolerance(first, alone))


def _tried(model: "PreTrainedModel", placement: Placement) -> str | None:
    """What is wrong with a prefix on this model, in words; None where it is exact."""
    try:
        with _undisturbed(model):
            return Trial(model, placement).fault()
    except (ModelError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:  # of whatever kind: architectures fail in as many ways as there are
        if _keeps_states(model):
            return "some of its layers keep a running state, where a prefix needs keys and values"
        detail = str(error).strip().splitlines()
        return f"its layers don't take one ({type(error).__name__}{f': {detail[0][:160]}' if detail else ''})"


def _keeps_states(model: "PreTrainedModel") -> bool:
    """Whether the cache that transformers has for a model holds recurrent or convolution states."""
    try:
        layers = transformers.DynamicCache(config=model.config).layers
    except Exception:  # a configuration that says nothing of its layers
        return False
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers)


@dataclass(frozen=True)
class _Case:
    """A prompt (T,), and what the model says after each of its tokens, (T, V), with the prefix prepended.

    What it says after a BOS that stands before the prefix is what it says after the prefix.
    """

    ids: torch.Tensor
    row: int
    wanted: torch.Tensor


class Trial:
    """One model with a short prefix of its own embeddings, and a few short prompts."""

    def __init__(self, model: "PreTrainedModel", placement: Placement) -> None:
        self.model = model
        table = model.get_input_embeddings()
        self.table = table
        self.vocabulary = table.num_embeddings
        config = model.config.get_text_config()
        named = (getattr(config, f"{name}_token_id", None) for name in ("pad", "eos"))
        self.bos = bos_of(model)
        self.lead = 1 if placement == "after-bos" else 0
        self.special = {i for i in (*named, self.bos) if isinstance(i, int)}
        # A learned prefix is no entry of the vocabulary either.
        self.prefix = ((table(self.ids(PREFIX, 0)) + table(self.ids(PREFIX, 5))) / 2**0.5).detach()
        blocks = (self.prefix.float().clone(),)
        self.patched = shell(model, [Row(blocks, Joined())], placement)
        self.backbone = backbone_of(self.patched)
        self.backbone.warned = True  # of windows, which is for the user's own prompts
        bare = [self._wanted(self._prompt(0), UNPATCHED)]
        self.cases = [
            _Case(self._prompt(index), row, self._wanted(self._prompt(index), row))
            for index, row in enumerate((0, 0, UNPATCHED))
        ]
        effect = float((self.cases[0].wanted - bare[0]).abs().max())
        scale = float(bare[0].abs().max())
        self.allowed = self._rounding(effect, scale)

    def _rounding(self, effect: float, scale: float) -> float:
        """How much rounding may do: a fault shifts what the prefix does, rounding all that the model says."""
        step = torch.finfo(self.table.weight.dtype).eps
        return effect * max(1e-3, 20 * step) + scale * max(1e-5, 4 * step)

    def tolerance(self, first: torch.Tensor, second: torch.Tensor) -> float:
        """How much rounding may do where two prefixes make so much of a difference in logits."""
        return self._rounding(float((first - second).abs().max()), float(first.abs().max()))

    def ids(self, count: int, offset: int) -> torch.Tensor:
        """Token ids spread over the vocabulary, without special ones."""
        usable = max(self.vocabulary - 4, 1)
        ids: list[int] = []
        step = 0
        while len(ids) < count:
            token = 3 + (offset * 31 + step * 7919 + step * step * 13) % usable
            step += 1
            if token < self.vocabulary and (token not in self.special or step > 8 * count):
                ids.append(token)
        return torch.tensor(ids, device=self.table.weight.device)

    def _prompt(self, index: int) -> torch.Tensor:
        ids = self.ids(LENGTHS[index], index + 1)
        if self.lead and self.bos is not None:
            ids[0] = self.bos
        return ids

    def _wanted(self, ids: torch.Tensor, row: int) -> torch.Tensor:
        embeds = self.table(ids)
        if row != UNPATCHED:
            embeds = torch.cat([embeds[: self.lead], self.prefix.to(embeds.dtype), embeds[self.lead :]])
        return self._said(self.model(inputs_embeds=embeds[None], use_cache=False).logits)[0, -len(ids) :]

    @staticmethod
    def _said(logits: torch.Tensor) -> torch.Tensor:
        return logits.detach().float()

    def fault(self) -> str | None:
        """The first comparison that does not come out even, in words."""
        if self.lead and self.bos is None:
            return None  # which is told when the prefix is first used
        tries: dict[str, Callable[[], bool]] = {
            "alone": self._alone,
            "beside a longer prompt, padded on the left, and in cached decoding": lambda: self._batch("left"),
            "beside a longer prompt, padded on the right": lambda: self._batch("right"),
            "behind much padding": self._far,
        }
        for name, exact in tries.items():
            if not exact():
                return f"{name}, it answers differently than to the prefix's embeddings in front of the prompt"
        return None

    def _agrees(self, found: torch.Tensor, case: _Case, token: int) -> bool:
        error = (self._said(found) - case.wanted[token]).abs().max()
        return bool(error <= self.allowed)  # which no error that is not a number is

    def _alone(self) -> bool:
        case = self.cases[1]
        with self.backbone.select([case.row]):
            logits = self.patched(input_ids=case.ids[None]).logits[0]
        return logits.shape[0] == len(case.ids) and all(
            self._agrees(logits[token], case, token) for token in (0, -2, -1)
        )

    def _batch(self, side: str) -> bool:
        """All prompts together but for their last tokens; those follow in the cache where they stand in one column."""
        width = max(LENGTHS) - 1
        device = self.table.weight.device
        ids = torch.full((len(self.cases), width), self.bos or 0, device=device)
        mask = torch.zeros_like(ids)
        ends = []
        for index, case in enumerate(self.cases):
            length = len(case.ids) - 1
            start = width - length if side == "left" else 0
            ids[index, start : start + length] = case.ids[:-1]
            mask[index, start : start + length] = 1
            ends.append(start + length - 1)
        with self.backbone.select([case.row for case in self.cases]):
            output = self.patched(input_ids=ids, attention_mask=mask, use_cache=True)
            if not all(
                self._agrees(output.logits[i, end], c, -2)
                for i, (end, c) in enumerate(zip(ends, self.cases, strict=True))
            ):
                return False
            if side == "right":
                return True
            last = torch.stack([case.ids[-1:] for case in self.cases])
            mask = torch.cat([mask, torch.ones_like(last)], dim=1)
            output = self.patched(input_ids=last, attention_mask=mask, past_key_values=output.past_key_values)
        return all(self._agrees(output.logits[i, -1], case, -1) for i, case in enumerate(self.cases))

    def _far(self) -> bool:
        """A prompt behind more columns of padding than any window has, which cost nothing: they are never computed."""
        case, gap = self.cases[1], _gap(self.model.config.to_dict())
        with self.backbone.select([case.row]):
            cache = self.backbone.cache_for(None, 1, case.ids.device)
            for layer in cache.layers:
                if layer.is_initialized:
                    layer.keys, layer.values = (
                        torch.cat([x, x.new_zeros(*x.shape[:2], gap, x.shape[3])], dim=2)
                        for x in (layer.keys, layer.values)
                    )
            mask = torch.ones(1, gap + len(case.ids), dtype=torch.long, device=case.ids.device)
            mask[:, :gap] = 0
            output = self.patched(input_ids=case.ids[None], attention_mask=mask, past_key_values=cache)
        return self._agrees(output.logits[0, -1], case, -1)


def _gap(config: Mapping[str, object]) -> int:
    """More columns than any window, chunk, block or scale in a configuration has."""
    found = [2 * PREFIX + max(LENGTHS)]
    for key, value in config.items():
        if isinstance(value, Mapping):
            found.append(_gap(value))
        elif re.search("window|chunk|block_size|local|span|scale", str(key)) and isinstance(value, int):
            found.append(value + max(LENGTHS))
    return max(min(size, LARGE_GAP) for size in found)


@contextmanager
def _undisturbed(model: "PreTrainedModel") -> Iterator[None]:
    """In evaluation mode and without gradients; modes, buffers, attributes and random numbers are put back."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    before = [{k: dict(v) if k == "_buffers" else v for k, v in module.__dict__.items()} for module in modules]
    buffers = [(b, b.clone()) for b in model.buffers() if b.numel() <= SMALL and b.device.type != "meta"]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    try:
        # Nor in inference mode, where a prefix's changes can't be noticed.
        with torch.random.fork_rng(devices=sorted(devices, key=str)), torch.inference_mode(False), torch.no_grad():
            for module in modules:
                module.training = False
            yield
    finally:
        for module, kept, mode in zip(modules, before, modes, strict=True):
            for name in module.__dict__.keys() - kept.keys():
                del module.__dict__[name]
            module.__dict__.update(kept)
            module.training = mode
        with torch.no_grad():
            for buffer, values in buffers:
                if not torch.equal(buffer, values):
                    buffer.copy_(values)


def _key(model: "PreTrainedModel", placement: Placement) -> str:
    """What the outcome depends on."""
    table = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    how = getattr(model.config, "_attn_implementation", None)
    versions = (VERSION, __version__, transformers.__version__, torch.__version__)
    where = (str(model.dtype), model.device.type, how, placement, *versions)
    text = json.dumps([f"{type(model).__module__}.{type(model).__qualname__}", table, where], default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _path(folder: Path, key: str) -> Path:
    return folder / f"self-test-{key[:32]}.json"


def _held(folder: Path | None, key: str) -> bool:
    """Whether the folder says that models of this key are exact."""
    try:
        return folder is not None and json.loads(_path(folder, key).read_bytes()) == {"exact": key}
    except (OSError, ValueError):
        return False


def _keep(folder: Path | None, key: str) -> None:
    if folder is not None:
        with suppress(EnvironmentStateError), disk_errors("can't be written", folder):  # losing it costs a second
            make_folder(folder)
            replace_file(_path(folder, key), json.dumps({"exact": key}).encode() + b"\n")
