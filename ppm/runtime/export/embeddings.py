"""Plain embeddings: a joined bank as one safetensors matrix, to be put in front of a prompt's own embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ppm.bank import Bank
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import IntegrityError
from ppm.manifest import Placement
from ppm.runtime.export.base import Exported, Reading, check_joined
from ppm.runtime.tensors import prefix_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["FILE", "Embeddings", "read_embeddings"]

FILE = "prefix.safetensors"
TENSOR = "prefix"


class Embeddings:
    """One tensor `prefix`, (virtual_tokens, hidden_size) in float32; the file's metadata say where it stands."""

    summary = "one safetensors matrix of embeddings, to be put in front of a prompt's"

    def check(self, bank: Bank, placement: Placement) -> None:
        check_joined(bank, "embeddings")

    def write(self, bank: Bank, placement: Placement, folder: Path, *, base: str = "") -> list[Path]:
        self.check(bank, placement)
        prefix, path = prefix_of(bank), folder / FILE
        with disk_errors("can't be written", path):
            make_folder(folder)
            replace_file(path, save({TENSOR: prefix}, metadata={"placement": placement}))
        found, where = read_embeddings(path)
        if where != placement or not torch.equal(found, prefix):
            raise IntegrityError("does not hold what was written", context=str(path), hint="check the disk")
        return [path]

    @torch.inference_mode()
    def answer(self, model: "PreTrainedModel", folder: Path, prompt: tuple[int, ...], tokens: int) -> Exported:
        prefix, placement = read_embeddings(folder / FILE)
        embedded = model.get_input_embeddings()
        lead = 1 if placement == "after-bos" else 0
        made: list[int] = []
        first = None
        for _ in range(tokens):
            text = embedded(torch.tensor((*prompt, *made), device=model.device))
            whole = torch.cat([text[:lead], prefix.to(text), text[lead:]])[None]
            logits = model(inputs_embeds=whole).logits[0, -1].float()
            first = logits if first is None else first
            made.append(int(logits.argmax()))
        assert first is not None
        return first, tuple(made)

    def reading(self, placement: Placement) -> Reading:
        lead = 1 if placement == "after-bos" else 0
        where = "after its first token, which is the base's BOS" if lead else "before its first token"
        return Reading(
            f"""from safetensors.torch import load_file

prefix = load_file("{FILE}")["{TENSOR}"]
text = model.get_input_embeddings()(torch.tensor(ids))
embeds = torch.cat([text[:{lead}], prefix.to(text), text[{lead}:]])[None]
out = model.generate(inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
                     do_sample=False, max_new_tokens=40)""",
            (
                f"The matrix stands {where}, in units of what the model's embedding layer returns: scale nothing.",
                "In a batch, pad on the left, before the prefix, and mask the padding out.",
            ),
        )


def read_embeddings(path: Path) -> tuple[torch.Tensor, Placement]:
    """What `Embeddings` wrote: the matrix (virtual_tokens, hidden_size), and where it stands. Raises IntegrityError."""
    try:
        with safe_open(path, "pt") as stream:
            tensor, metadata = stream.get_tensor(TENSOR), stream.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"is not a file of embeddings ({error})", context=str(path)) from error
    placement = metadata.get("placement")
    if tensor.ndim != 2 or placement not in ("before-bos", "after-bos"):
        raise IntegrityError("is not a file of embeddings written by ppm", context=str(path))
    return tensor, placement
