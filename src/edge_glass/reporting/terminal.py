"""Tables on the terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def as_text(*renderables: Any, width: int = 110) -> str:
    """Rich renderables as text: with colours on a terminal, plain in a file."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, force_terminal=False).print(*renderables, sep="\n")
    return "\n".join(line.rstrip() for line in buffer.getvalue().rstrip().splitlines())


def table(first: str, right: Sequence[str] = (), left: Sequence[str] = ()) -> Table:
    """A table without lines: a first column, then numbers, then words."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column(first, no_wrap=True)
    for name in right:
        shown.add_column(name, justify="right", no_wrap=True)
    for name in left:
        shown.add_column(name)
    return shown


def cell(entry: Mapping[str, float] | None) -> str | Text:
    """A number with its 95 % interval."""
    # As Text: in plain strings brackets are markup.
    return Text(f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]") if entry else "-"


def assets_table(rows: Iterable[Any]) -> str:
    """Assets with size, licence and source."""
    shown = table("name", right=("download", "unpacked"), left=("here", "licence", "from", "what"))
    for row in rows:
        sizes = (_mebibytes(row.download_size), _mebibytes(row.size))
        shown.add_row(
            row.name, *sizes, "yes" if row.fetched else "no", row.licence, row.source, row.description
        )
    return as_text(shown, width=180)


def cache_table(entries: Iterable[tuple[Mapping[str, Any], int, int]]) -> str:
    """Cached features: what they are, how many, how large."""
    shown = table("encoder", right=("samples", "size"), left=("dtype", "kept as", "transform"))
    for about, samples, size in entries:
        encoder = str(about.get("encoder", "?"))[:12]
        shown.add_row(
            encoder,
            f"{samples:,}",
            _mebibytes(size),
            str(about.get("dtype", "?")),
            str(about.get("pooling", "?")),
            str(about.get("transform", "?")),
        )
    return as_text(shown, width=150)


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
