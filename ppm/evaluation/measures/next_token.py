"""Next token: what a judge makes of the model's probabilities of some words right after a prompt.

No text is written, so a prompt has one score; metrics and figures are those of completions.
"""

from collections.abc import Sequence

from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.measures.base import Answers, Attached, Task, register
from ppm.evaluation.measures.completions import Rates, valued
from ppm.jsonl import Prompt
from ppm.progress import Progress
from ppm.runtime.text import TextEncoder
from ppm.suite import Suite

__all__ = ["NextTokens"]


class NextTokens(Rates):
    """Probabilities of the next word."""

    def takes(self, scorer: Scorer) -> bool:
        """Whether the judge reads the model's probabilities."""
        return scorer.next_token is not None

    def count(self, task: Task) -> int:
        """One a prompt."""
        return len(task.prompts)

    def room(self, encoder: TextEncoder, suite: Suite, prompt: Prompt) -> int:
        """One: what stands in for the next token while its probabilities are asked for."""
        return 1

    def answers(self, attached: Attached, task: Task, rows: Sequence[int], progress: Progress) -> list[Answers]:
        """What the judge makes of each row's probabilities. Raises ModelError."""
        from ppm.evaluation.scoring import next_word_probabilities

        asked = task.scorer.next_token
        assert asked is not None
        ids = attached.prompts(task, self)
        prompts = [(row, prompt) for row in rows for prompt in ids]
        model, memory = attached.model, attached.memory
        found = iter(next_word_probabilities(model, attached.tokenizer, prompts, asked.groups, memory=memory))
        nothing: list[tuple[str, ...]] = [()] * len(task.prompts)
        made = [valued(task, [[asked.score(prompt, next(found))] for prompt in task.prompts], nothing) for _ in rows]
        progress("prompts", len(prompts), len(prompts))
        return made


register(NextTokens())
