"""``wasme help [COMMAND …]``: the same as ``wasme COMMAND … --help``."""

from __future__ import annotations

import click

from wasme.cli.grammar import Group, at_least, command


@command("help", use="help [command]", args=at_least(0), help="Help about any command.")
def help_command(args: tuple[str, ...]) -> None:
    """Walk to the command that is asked about and print its help."""
    ctx = click.get_current_context().find_root()
    found: click.Command = ctx.command
    for name in args:
        if not isinstance(found, Group):
            break
        ctx.obj.context = ctx
        _, child, _ = found.resolve_command(ctx, [name])
        assert child is not None
        ctx = click.Context(child, parent=ctx, info_name=name, obj=ctx.obj)
        found = child
    click.echo(ctx.get_help())
