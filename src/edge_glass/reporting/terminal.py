"""Tables on the terminal."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
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
