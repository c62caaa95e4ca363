"""Groups that run a daemon when no sub-command is named, as the original's ``cache`` and ``operator`` did."""

from __future__ import annotations

import click

from wasme.cli.grammar import Command, Group, Invocation, show_help
from wasme.cli.words import name_at, normalise


class DaemonGroup(Group):
    """Only the words of the table are commands; with any other, and with none, the fallback runs: the daemon."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find out which is meant."""
        daemon = self.get_command(ctx, self.fallback)
        assert isinstance(daemon, Command)
        at = name_at(args, daemon.known())
        if ctx.resilient_parsing or (at is not None and args[at] in self.list_commands(ctx)):
            return super().parse_args(ctx, args)
        ctx.ensure_object(Invocation).context = ctx
        if "--help=true" in normalise(args, {**self.known(), **daemon.known()})[0]:
            show_help(ctx)
        return click.Group.parse_args(self, ctx, ["--", self.fallback, *args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The daemon under its inner name, which nobody types."""
        if args[0] == self.fallback:
            return "", self.get_command(ctx, self.fallback), args[1:]
        return super().resolve_command(ctx, args)
