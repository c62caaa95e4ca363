"""``wasme completion SHELL``: the script that makes the shell complete wasme's commands and flags."""

from __future__ import annotations

import click

from wasme.cli.grammar import close_matches, command, exactly
from wasme.errors import UsageError

_SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    use="completion bash|zsh|fish",
    args=exactly(1),
    help="Print the completion script for bash, zsh or fish.",
    examples="""
        eval "$(wasme completion bash)"              # in ~/.bashrc
        eval "$(wasme completion zsh)"               # in ~/.zshrc
        wasme completion fish > ~/.config/fish/completions/wasme.fish
    """,
)
def completion(args: tuple[str, ...]) -> None:
    """Print the script."""
    from click.shell_completion import get_completion_class

    shell = args[0]
    made = get_completion_class(shell) if shell in _SHELLS else None
    if made is None:
        raise UsageError(
            f'no completion for "{shell}"', hint=close_matches(shell, _SHELLS) or f"one of {', '.join(_SHELLS)}"
        )
    root = click.get_current_context().find_root().command
    click.echo(made(root, {}, "wasme", "_WASME_COMPLETE").source())
