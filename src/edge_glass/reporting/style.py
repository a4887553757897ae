"""One look for all plots, and the one place where a figure is opened and saved.

Figures use matplotlib's object interface: no pyplot, no display, no figure left open. Colours are from the
Okabe-Ito palette, which people with the common colour-vision deficiencies can tell apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_glass.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAINED = "#0072B2"
CLOSED_FORM = "#E69F00"
UNTOUCHED = "#7A7A7A"
PICTURE = "#0072B2"
WORDS = "#D55E00"
SOUND = "#009E73"
GOOD = "#009E73"
INK, FAINT, GRID = "#22262B", "#6B7280", "#E5E7EB"

# Typed Any because matplotlib 3.11 spells every allowed key out as a Literal and earlier versions do not.
STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # captions are words, whatever dollar signs they hold
    "axes.edgecolor": "#B6BCC6",
    "axes.labelcolor": FAINT,
    "axes.labelsize": 10,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
DPI = 160


class NothingToPlotError(Exception):
    """The run does not hold what a plot needs; the message says what is missing."""


def save_figure(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> Path:
    """Open a figure of `size` inches in the house style, draw on it, and write it as PNG.

    Raises:
        NothingToPlotError: From `draw`; nothing is written then.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), atomic_file(path) as temporary, warnings.catch_warnings():
        # Captions may hold letters that the font lacks; an empty box in a label is no news for the user.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        # Without the version in the file's metadata the same run gives the same bytes.
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})
    return path


def shorten(text: str, length: int) -> str:
    """Shorten to one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def title(axes: Axes, words: str, explanation: str) -> None:
    """Write the title of a panel, and a quiet line of explanation under it."""
    axes.set_title(words)
    note(axes, explanation)


def note(axes: Axes, text: str) -> None:
    """Write a quiet line of explanation under the title."""
    axes.set_title(f"{axes.get_title(loc='left')}", loc="left", pad=24)
    axes.annotate(
        text,
        (0, 1),
        xytext=(0, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        color=FAINT,
        fontsize=9.5,
    )
