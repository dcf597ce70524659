"""Answers prompts with what is deployed, with the bare base, or with both on the same noise."""

from collections.abc import Sequence
from dataclasses import replace

from ppm.errors import ModelError, RequestError
from ppm.home import self_tests
from ppm.install.current import deployed
from ppm.jsonl import Text
from ppm.running import AUTO, UNSAID, Running
from ppm.serving.load import load_deployed
from ppm.suite import Decoding
from ppm.workspace import Workspace

__all__ = ["answer_prompts"]


def answer_prompts(
    workspace: Workspace,
    prompts: Sequence[str],
    *,
    base: str | None,
    env: str | None,
    sides: Sequence[str],
    chat: bool | None,
    decoding: Decoding,
    asked: Running = UNSAID,
) -> dict[str, list[str]]:
    """For each side, `patched` or `unpatched`, the answer to each prompt.

    Prompts are a user's messages in the base's chat template if `chat`, or if it is None and the base has one. Raises
    RequestError for an empty prompt, ModelError where a base or a prompt can't be answered.
    """
    for prompt in prompts:
        if not prompt.strip():
            raise RequestError("the prompt is empty", hint="give it some text to answer")
    if "patched" in sides:
        deployed(workspace.find_target(base, env)[1])  # before anything slow is imported
    workspace.progress("loading the model", 0, 1)
    from ppm.evaluation.generation import answer
    from ppm.runtime.model import UNPATCHED, attach

    if "patched" in sides:
        model, tokenizer = load_deployed(workspace, base, env=env, asked=asked)
    else:
        from ppm.runtime.loading import load_base

        found, kept = workspace.find_target(base, env)[0], self_tests(workspace.home)
        loaded = load_base(found, kept=kept, running=asked if asked.dtype else replace(asked, dtype=AUTO))
        model, tokenizer = attach(loaded.model, kept=loaded.kept), loaded.tokenizer
    workspace.progress("loading the model", 1, 1)
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if chat and not has_template:
        raise ModelError("the base model has no chat template", hint="leave --chat out")
    in_chat = has_template if chat is None else chat
    texts: list[Text] = [(("user", prompt),) if in_chat else prompt for prompt in prompts]
    rows = {"patched": 0, "unpatched": UNPATCHED}
    return {
        side: answer(model, tokenizer, texts, decoding, row=rows[side], progress=workspace.progress) for side in sides
    }
