"""PEFT's prompt tuning: a joined bank as an adapter that `PeftModel.from_pretrained` loads.

PEFT puts its virtual tokens before everything else, so only a prefix that stands before BOS is exact there.
"""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save

from ppm.bank import Bank
from ppm.disk import disk_errors, make_folder, replace_file
from ppm.errors import IntegrityError, ModelError
from ppm.manifest import Placement
from ppm.runtime.export.base import Exported, Reading, check_joined
from ppm.runtime.tensors import prefix_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Peft"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TENSOR = "prompt_embeddings"


class Peft:
    """`adapter_config.json`, and one tensor `prompt_embeddings`, (virtual_tokens, hidden_size) in float32."""

    summary = "a prompt-tuning adapter for PEFT's PeftModel.from_pretrained"

    def check(self, bank: Bank, placement: Placement) -> None:
        check_joined(bank, "PEFT's prompt tuning")
        if placement != "before-bos":
            raise ModelError(
                "the prefix stands after the base's BOS, and PEFT puts virtual tokens before it",
                hint='use --to embeddings, or a patch whose manifest says placement = "before-bos"',
            )

    def write(self, bank: Bank, placement: Placement, folder: Path, *, base: str = "") -> list[Path]:
        self.check(bank, placement)
        prefix, paths = prefix_of(bank), [folder / CONFIG, folder / WEIGHTS]
        config = {
            "peft_type": "PROMPT_TUNING",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "inference_mode": True,
            "num_virtual_tokens": prefix.shape[0],
            "token_dim": prefix.shape[1],
            "num_transformer_submodules": 1,
            "prompt_tuning_init": "RANDOM",
        }
        with disk_errors("can't be written", folder):
            make_folder(folder)
            replace_file(paths[0], json.dumps(config, indent=2, ensure_ascii=False).encode() + b"\n")
            replace_file(paths[1], save({TENSOR: prefix}, metadata={"format": "pt"}))
        if not torch.equal(load_file(paths[1])[TENSOR], prefix):
            raise IntegrityError("does not hold what was written", context=str(paths[1]), hint="check the disk")
        return paths

    @torch.inference_mode()
    def answer(self, model: "PreTrainedModel", folder: Path, prompt: tuple[int, ...], tokens: int) -> Exported:
        from peft import PeftModel

        ids = torch.tensor([prompt], device=model.device)
        with warnings.catch_warnings():  # of position ids, which it makes itself, and of what transformers renames
            warnings.simplefilter("ignore")
            loaded = PeftModel.from_pretrained(model, str(folder)).eval()
            out = loaded.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=tokens,
                repetition_penalty=1.0,
                output_logits=True,
                return_dict_in_generate=True,
            )
        return out.logits[0][0].float(), tuple(int(token) for token in out.sequences[0, len(prompt) :])

    def reading(self, placement: Placement) -> Reading:
        return Reading(
            """from peft import PeftModel

patched = PeftModel.from_pretrained(model, ".").eval()
ids = torch.tensor([ids])
out = patched.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40)""",
            (
                "Ask one prompt at a time: in batches padded on the left PEFT puts the virtual tokens before the "
                "padding, so shorter prompts get other answers than alone.",
                "PEFT can't use a static cache here, and has no batches of patched and unpatched rows.",
            ),
        )
