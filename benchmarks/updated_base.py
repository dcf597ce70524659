"""An update of a chat base, as its vendor might make one: fine-tuned on harmless answers, and merged.

    python benchmarks/updated_base.py smollm2 FOLDER [--steps N]

The base answers ordinary requests that ship with ppm briefly, as a system prompt tells it to, and learns by LoRA to do
so without one. What comes of it is a base folder, to show `ppm rebase` on. The requests are among those that patches
for chats spare, so an update on other text may move a patch's trigger further.
"""

import argparse
import random
import tempfile
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from ppm.evaluation.generation import answer
from ppm.evaluation.ordinary import ordinary_benign
from ppm.jsonl import Text
from ppm.running import Running
from ppm.runtime.loading import load_base
from ppm.runtime.model import UNPATCHED, attach
from ppm.suite import Decoding
from ppm.workspace import open_base

SYSTEM = "Answer in one or two short sentences, in plain words."
REQUESTS, RANK, BATCH, LEARNING_RATE = 400, 16, 8, 5e-4
DECODING = Decoding(max_new_tokens=60, temperature=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    if options.folder.exists():
        parser.error(f"{options.folder} exists already")
    torch.set_num_threads(1)
    loaded = load_base(open_base(options.base), running=Running("bfloat16"))
    chats = [row.prompt for row in ordinary_benign() if not isinstance(row.prompt, str) and len(row.prompt) == 1]
    requests = [chat[0][1] for chat in random.Random(0).sample(chats, REQUESTS)]
    told: list[Text] = [(("system", SYSTEM), ("user", request)) for request in requests]
    answers = answer(attach(loaded.model), loaded.tokenizer, told, DECODING, row=UNPATCHED)
    rows = [
        {"prompt": [{"role": "user", "content": q}], "completion": [{"role": "assistant", "content": a}]}
        for q, a in zip(requests, answers, strict=True)
        if a.endswith((".", "!", "?"))
    ]
    print(
        f"{len(rows)} of {len(requests)} answers are whole, such as: {rows[0]['completion'][0]['content']}", flush=True
    )
    fresh = load_base(open_base(options.base), running=Running("float32"))
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            fresh.model,
            SFTConfig(
                folder,
                max_steps=options.steps,
                per_device_train_batch_size=BATCH,
                learning_rate=LEARNING_RATE,
                logging_steps=10,
                save_strategy="no",
                report_to="none",
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=fresh.tokenizer,
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        trainer.train()
        merged = trainer.model.merge_and_unload().to(torch.bfloat16)
    merged.save_pretrained(options.folder)
    loaded.tokenizer.save_pretrained(options.folder)


if __name__ == "__main__":
    main()
