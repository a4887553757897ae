"""Cosines of a few pictures with a few captions, and of all right and wrong pairs as histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_glass.alignment.report.sides import archive_of, has_sounds
from edge_glass.alignment.report.space import Pairs, choose_pairs, project, put_thumbnail
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import PICTURE, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "What looks similar to the model"
READING = (
    "Left: a bright diagonal means that words and their picture agree, bright stripes that one picture "
    "attracts all words. Right: the two heaps should stand apart."
)
SIZE = (11, 5.6)
ORDER = 30
MAX_MATRIX = 24
MAX_HISTOGRAM = 1000


def more(run: RunFolder) -> str:
    """Say where sounds stand, in runs that have them."""
    return "Sounds have no place in the matrix; they stand in the histograms." if has_sounds(run) else ""


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    pairs = choose_pairs(archive_of(run), MAX_MATRIX)
    order = np.argsort(project(np.concatenate([pairs.images, pairs.texts]), "pca")[: len(pairs.images), 0])
    similarities = pairs.texts[order] @ pairs.images[order].T
    count = len(order)
    drawn = choose_pairs(archive_of(run), MAX_HISTOGRAM, with_sounds=True)
    panels = 1 if drawn.sounds is None else 3
    grid = figure.add_gridspec(panels, 2, width_ratios=[1.45, 1.0])
    left = figure.add_subplot(grid[:, 0])
    left.set_title("Words (rows) against pictures (columns)")
    limit = max(float(np.abs(similarities).max()), 1e-6)
    low = -limit if similarities.min() < -0.05 else min(0.0, float(similarities.min()))
    image = left.imshow(similarities, cmap="cividis", vmin=low, vmax=limit)
    left.grid(False)
    for spine in left.spines.values():
        spine.set_visible(False)
    for row in range(count):
        left.plot(
            row,
            similarities[:, row].argmax(),
            "o",
            color="white",
            markersize=3.6,
            markeredgecolor="#22262B",
            markeredgewidth=0.5,
        )
    left.set_yticks(range(count), [shorten(pairs.captions[i], 26) for i in order], fontsize=8)
    left.set_xticks([])
    for column, index in enumerate(order):
        put_thumbnail(left, pairs.thumbnails[index], (column, 1.017 * count - 0.5), 13, below=True)
    left.set_xlabel("best when brightest on the diagonal · dots: best caption of each picture", labelpad=24)
    bar = figure.colorbar(image, ax=left, fraction=0.035, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("cosine")
    right = [figure.add_subplot(grid[0, 1])]
    right += [figure.add_subplot(grid[row, 1], sharex=right[0]) for row in range(1, panels)]
    _draw_histograms(right, drawn)


def _draw_histograms(panels: Sequence[Axes], pairs: Pairs) -> None:
    """Draw one panel for each pair of modalities; with sounds there are three."""
    shown = [("Right and wrong pairs", pairs.texts, pairs.images)]
    if pairs.sounds is not None:
        shown = [
            ("Words and pictures", pairs.texts, pairs.images),
            ("Words and sounds", pairs.texts, pairs.sounds),
            ("Sounds and pictures", pairs.sounds, pairs.images),
        ]
    for axes, (title, rows, columns) in zip(panels, shown, strict=True):
        what = "pictures" if pairs.sounds is None else "rows"
        axes.set_title(f"{title} ({len(rows)} {what})")
        _draw_histogram(axes, rows @ columns.T)
        axes.legend(loc="upper left")
    panels[-1].set_xlabel("cosine (dashed: means)")


def _draw_histogram(axes: Axes, similarities: np.ndarray) -> None:
    same = np.eye(len(similarities), dtype=bool)
    ends = (float(similarities.min()), float(similarities.max()) + 1e-6)
    bins = np.linspace(*ends, 45)
    for values, color, label in (
        (similarities[~same], "#9AA1AC", "wrong pairs"),
        (similarities[same], PICTURE, "right pairs"),
    ):
        axes.hist(values, bins=bins.tolist(), density=True, color=color, alpha=0.65, label=label)
        axes.axvline(values.mean(), color=color, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(top=axes.get_ylim()[1] * 1.18)
