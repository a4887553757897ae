"""`edge-glass config`: checking and showing experiment files."""

from __future__ import annotations

from pathlib import Path

import click

from edge_glass.cli.base import OVERRIDES, Commands


@click.group("config", cls=Commands)
def config_group() -> None:
    """Look at experiment files."""


@config_group.command("check")
@click.argument("written", nargs=-1, required=True, metavar="FILE... [KEY=VALUE]...")
@click.option("--tiny", is_flag=True, help="Check what --tiny would run.")
@click.pass_context
def config_check(ctx: click.Context, written: tuple[str, ...], tiny: bool) -> None:
    """Check experiment files, or all of a folder, without loading a model.

    Data files that are not there yet are named once, at the end, and are no error.
    """
    from edge_glass.config import check_files, how_to_build

    overrides = [one for one in written if "=" in one and not Path(one).exists()]
    files = [one for one in written if one not in overrides]
    if not files:
        raise click.UsageError("expected at least one experiment file, got only KEY=VALUE")
    checked = check_files(files, overrides, tiny=tiny)
    for one in checked:
        click.echo(f"{one.file}: ok" if one.error is None else str(one.error))
    missing = [path for one in checked for path in one.missing]
    if missing:
        click.echo(how_to_build(missing))
    if any(one.error for one in checked):
        ctx.exit(2)


@config_group.command("show")
@click.argument("file", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="As --tiny would run it.")
def config_show(file: Path, overrides: tuple[str, ...], tiny: bool) -> None:
    """Print an experiment as resolved: base file, overrides and defaults applied."""
    from edge_glass.config import dump_config, load_config

    click.echo(dump_config(load_config(file, overrides, tiny=tiny)), nl=False)


@config_group.command("schema")
@click.argument("file", type=Path, default=Path("configs/schema.json"))
def config_schema(file: Path) -> None:
    """Write the JSON schema for editors."""
    from edge_glass.config import write_json_schema

    write_json_schema(file)
    click.echo(file)
