"""Completion of commands and options by the shell."""

import click

from ppm.cli.output import write

__all__ = ["completion_command"]

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the script for completing ppm's commands in a shell.

    For bash, add `eval "$(ppm completion bash)"` to ~/.bashrc; for zsh the same in ~/.zshrc; for fish write it to
    ~/.config/fish/completions/ppm.fish.

    \b
    Example:
      ppm completion bash
    """
    from click.shell_completion import get_completion_class

    from ppm.cli.main import cli

    found = get_completion_class(shell)
    assert found is not None
    write(found(cli, {}, "ppm", "_PPM_COMPLETE").source())
