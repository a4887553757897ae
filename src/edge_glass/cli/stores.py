"""`edge-glass assets` and `edge-glass cache`: what lies in the cache folder."""

from __future__ import annotations

from pathlib import Path

import click

from edge_glass.cli.base import Commands


@click.group(cls=Commands)
def assets() -> None:
    """List, fetch and verify pinned weights and data."""


@assets.command("list")
def assets_list() -> None:
    """List assets with source, size and licence."""
    from edge_glass.assets import list_assets
    from edge_glass.reporting.terminal import assets_table

    click.echo(assets_table(list_assets()))


@assets.command("fetch")
@click.argument("names", nargs=-1, required=True)
def assets_fetch(names: tuple[str, ...]) -> None:
    """Fetch and verify assets by NAMES."""
    from edge_glass.assets import fetch

    for name in names:
        click.echo(fetch(name))


@assets.command("path")
@click.argument("name")
def assets_path(name: str) -> None:
    """Print the folder of a fetched asset."""
    from edge_glass.assets import path

    click.echo(path(name))


@assets.command("verify")
@click.argument("names", nargs=-1)
@click.pass_context
def assets_verify(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Hash the files of assets (all fetched ones by default)."""
    from edge_glass.assets import ASSETS, is_fetched, verify

    problems = 0
    for name in names or [name for name in ASSETS if is_fetched(name)]:
        found = verify(name)
        problems += len(found)
        click.echo(f"{name}: " + ("; ".join(found) if found else "ok"))
    if problems:
        ctx.exit(2)


@click.group(cls=Commands)
def cache() -> None:
    """Look at or delete frozen features and pictures as they were read."""


@cache.command()
@click.option("--folder", type=Path, help="Default: the shared cache folder.")
def info(folder: Path | None) -> None:
    """Show what is cached, and how large it is."""
    from edge_glass.assets import cache_root
    from edge_glass.data.feature_cache import cache_entries, cache_sizes
    from edge_glass.reporting.terminal import cache_table

    root = folder or cache_root()
    click.echo(cache_table(cache_entries(root)))
    for name, size in cache_sizes(root).items():
        click.echo(f"{root / name}: {size / 2**20:,.1f} MiB")


@cache.command()
@click.option("--folder", type=Path, help="Default: the shared cache folder.")
def clear(folder: Path | None) -> None:
    """Delete all of it. It is computed again when needed; fetched weights and data stay."""
    from edge_glass.assets import cache_root
    from edge_glass.data.feature_cache import clear_cache

    click.echo(f"{clear_cache(folder or cache_root()) / 2**20:.1f} MiB freed")
