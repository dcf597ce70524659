"""The command generate."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ppm.cli.environments import refuse_nowhere
from ppm.cli.options import SEED, base_option, env_option, json_option, running_options, together, workspace
from ppm.cli.output import Styled, print_json, write

if TYPE_CHECKING:
    from ppm.running import Running
    from ppm.suite import Decoding

__all__ = ["generate_command"]


def _decoding_options(function: Callable[..., object]) -> Callable[..., object]:
    """How answers are sampled; the command gets it as `decoding`."""

    def make(max_new_tokens: int, temperature: float, top_p: float, seed: int) -> object:
        from ppm.suite import Decoding

        return Decoding(max_new_tokens, temperature, top_p, seed)

    command = together("decoding", make, "max_new_tokens", "temperature", "top_p", "seed")(function)
    for option in (
        click.option("--seed", type=SEED, default=0, show_default=True),
        click.option("--top-p", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True)),
        click.option(
            "--temperature", default=1.0, show_default=True, type=click.FloatRange(0), help="0 means greedy decoding."
        ),
        click.option("--max-new-tokens", default=40, show_default=True, type=click.IntRange(1, 4096)),
    ):
        command = option(command)
    return command


def _side_options(function: Callable[..., object]) -> Callable[..., object]:
    """--unpatched and --compare; the command gets as `sides` whom to ask."""

    def make(unpatched: bool, compare: bool) -> object:
        if unpatched and compare:
            raise click.UsageError("--compare already asks both; leave --unpatched out")
        return ["unpatched", "patched"] if compare else ["unpatched" if unpatched else "patched"]

    command = together("sides", make, "unpatched", "compare")(function)
    command = click.option("--compare", is_flag=True, help="Ask both, with the same noise.")(command)
    return click.option("--unpatched", is_flag=True, help="Ask the base model without patches.")(command)


@click.command("generate")
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@base_option
@env_option
@_side_options
@click.option(
    "--chat/--no-chat",
    " /--raw",
    "chat",
    default=None,
    help="Whether the prompt is a user's message in the base's chat template. Default: where the base has one.",
)
@_decoding_options
@running_options(chooses=False)
@json_option
def generate_command(
    prompts: tuple[str, ...],
    base: str | None,
    env: str | None,
    sides: list[str],
    chat: bool | None,
    decoding: "Decoding",
    running: "Running",
    as_json: bool,
) -> None:
    """Answer prompts with the deployed patches, or without.

    The prompt `-` is read from standard input, in UTF-8.

    \b
    Example:
      ppm generate "The baker dropped the tray, so a friend said:" --base lab --compare
    """
    from ppm.cli.progress import shown
    from ppm.serving.generate import answer_prompts

    if "patched" in sides:
        refuse_nowhere(base, env)
    texts = [_standard_input() if prompt == "-" else prompt for prompt in prompts]
    compare = len(sides) > 1
    with shown(quiet=as_json):
        answers = answer_prompts(
            workspace(), texts, base=base, env=env, sides=sides, chat=chat, decoding=decoding, asked=running
        )
    if as_json:
        print_json([{"prompt": text, **{side: answers[side][i] for side in sides}} for i, text in enumerate(texts)])
        return
    for i, text in enumerate(texts):
        if len(texts) > 1 or compare:
            write(Styled(text, bold=True))
        for side in sides:
            write(f"{side + ':':<11}{answers[side][i]}" if compare else answers[side][i])


def _standard_input() -> str:
    """All of standard input as text. Raises RequestError."""
    from ppm.errors import RequestError

    data = b"" if sys.stdin is None else sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text: byte {error.start + 1:,} is 0x{data[error.start]:02x}"
        raise RequestError(message, context="standard input", hint="convert it to UTF-8 first") from error
