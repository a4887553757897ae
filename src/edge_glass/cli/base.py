"""What the commands share: a group that keeps its order, and KEY=VALUE arguments."""

from __future__ import annotations

import click


class Commands(click.Group):
    """Lists commands in the order they are written, which is the order one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
