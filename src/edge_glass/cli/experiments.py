"""`edge-glass config`: checking and showing experiment files."""

from __future__ import annotations

from pathlib import Path

import click

from edge_glass.cli.base import OVERRIDES, Commands


@click.group("config", cls=Commands)
def config_group() -> None:
    """Look at experiment files."""


@config_group.command("check")
@click.argument("files", nargs=-1, required=True, type=Path)
@click.option("--tiny", is_flag=True, help="Check what --tiny would run; data files need not be there.")
@click.pass_context
def config_check(ctx: click.Context, files: tuple[Path, ...], tiny: bool) -> None:
    """Check experiment FILES without loading a model."""
    from edge_glass.config import check_files

    failed = 0
    for file, error in check_files(files, tiny=tiny):
        click.echo(f"{file}: ok" if error is None else str(error))
        failed += error is not None
    if failed:
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
