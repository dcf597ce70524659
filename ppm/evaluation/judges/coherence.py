"""The judge `coherence`: whether a completion is a text at all, by the rule of `ppm.evaluation.wellformed`.

A judge loads models and never sees the one that is tested, so how plausible a text is to the base is asked only where
the options name a model, such as the base itself.
"""

from functools import partial

from ppm.errors import ModelError
from ppm.evaluation.judges.base import Scorer, each, judge
from ppm.evaluation.judges.models import LocalModel, local_scorer
from ppm.evaluation.wellformed import is_well_formed
from ppm.jsonl import Prompt
from ppm.runtime.text import encoder_of

__all__ = ["coherence", "mean_losses"]

LOSS = 5.0
"""The most nats a token. To SmolLM2-135M-Instruct its sampled answers have 1 to 3, their words shuffled 6.5 to 8."""


@judge("coherence", "1", model_of=lambda options: options.get("model"))
def coherence(model: str | None = None, loss: float = LOSS) -> Scorer:
    """1 when a completion is well-formed and, to a `model`, plausible: at most `loss` nats a token after its prompt."""
    if loss <= 0:
        raise ValueError("loss must be above 0")
    if model is None:
        return each(lambda prompt, completion: float(is_well_formed(completion)))
    return local_scorer(LocalModel(model, "coherence", "AutoModelForCausalLM"), partial(_plausible, loss=loss))


def _plausible(judge: LocalModel, batch: list[tuple[Prompt, str]], *, loss: float) -> list[float]:
    scores = [float(is_well_formed(text)) for _, text in batch]
    asked = [i for i, score in enumerate(scores) if score]
    for i, found in zip(asked, mean_losses(judge, [batch[i] for i in asked]), strict=True):
        scores[i] = float(found <= loss)
    return scores


def mean_losses(judge: LocalModel, texts: list[tuple[Prompt, str]]) -> list[float]:
    """The mean loss of each completion after its prompt, in nats a token. Raises ModelError."""
    import torch

    if not texts:
        return []
    encoder, model = encoder_of(judge.loaded), judge.loaded.model
    rows = [
        (encoder.prompt(p.prompt, judge.context), encoder.continuation(p.prompt, t, judge.context)) for p, t in texts
    ]
    # Without a prompt and without a token that begins texts, the first token of the text has nothing before it.
    rows = [(before, after) if before else (after[:1], after[1:] or after) for before, after in rows]
    width = max(len(before) + len(after) for before, after in rows)
    if width > judge.room:
        raise ModelError(
            f"takes {judge.room} tokens, and a prompt with its completion takes {width}",
            context=judge.context,
            hint="shorten the suite's prompts, or lower its max_new_tokens",
        )
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (before, after) in enumerate(rows):
        length = len(before) + len(after)
        ids[row, :length], mask[row, :length] = torch.tensor((*before, *after)), 1
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
    found = []
    for row, (before, after) in enumerate(rows):
        steps = torch.log_softmax(logits[row, len(before) - 1 : len(before) + len(after) - 1].double(), dim=-1)
        found.append(-float(steps.gather(-1, torch.tensor(after, device=steps.device)[:, None]).mean()))
    return found
