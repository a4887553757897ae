"""Pictures, captions and sounds in one plane, by PCA; lines join what belongs together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_glass.alignment.report.sides import archive_of, has_sounds
from edge_glass.alignment.report.space import Method, Pairs, choose_pairs, project, put_thumbnail
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import PICTURE, SOUND, WORDS, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEADING = "Embedding space"
READING = (
    "Short lines mean that a picture and its words lie close. Two separate clouds are a modality gap. Two "
    "dimensions show only a part of the space."
)
SIZE = (11, 7.4)
ORDER = 40
MAX_POINTS = 300


def more(run: RunFolder) -> str:
    """Say where sounds stand, in runs that have them."""
    return "The same goes for sounds." if has_sounds(run) else ""


def draw(run: RunFolder, figure: Figure, method: Method = "pca") -> None:
    """See the module; `method` says how the plane is found."""
    pairs = choose_pairs(archive_of(run), MAX_POINTS, with_sounds=True)
    parts = [pairs.images, pairs.texts, *([] if pairs.sounds is None else [pairs.sounds])]
    points = np.split(project(np.concatenate(parts), method), len(parts))
    pictures, words = points[:2]
    axes = figure.subplots()
    title(axes, _title(run, pairs, "t-SNE" if method == "tsne" else "PCA"), _closeness(pairs))
    spread = np.ptp(np.concatenate(points), axis=0).max() or 1.0
    shown = _spaced(pictures, 0.07 * spread, 60)
    _join(axes, pictures, words, color="#DDE0E6", width=0.6)
    _join(axes, pictures[shown], words[shown], color="#8FA3B8", width=1.0)
    for heard in points[2:]:
        _join(axes, pictures, heard, color="#D3E8E0", width=0.6)
    looks = (("picture", PICTURE, "o", 20), ("caption", WORDS, "^", 22), ("sound", SOUND, "s", 18))
    for cloud, (label, color, marker, size) in zip(points, looks, strict=False):
        axes.scatter(
            cloud[:, 0], cloud[:, 1], s=size, color=color, marker=marker, label=label, zorder=2, linewidths=0
        )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.margins(0.05)
    axes.legend(
        loc="upper right", ncols=3, bbox_to_anchor=(1.0, 1.0), frameon=True, framealpha=0.9, edgecolor="none"
    )
    for row in shown:
        put_thumbnail(axes, pairs.thumbnails[row], tuple(pictures[row]))


def _title(run: RunFolder, pairs: Pairs, method: str) -> str:
    count = len(pairs.images)
    if pairs.sounds is not None:
        return f"Pictures, words and sounds in one space ({method} of {count} rows)"
    words = f"Pictures and words in one space ({method} of {count} pairs)"
    return f"{words}; fewer than three rows have a sound too" if has_sounds(run) else words


def _closeness(pairs: Pairs) -> str:
    """Say the mean cosines of what belongs together, and how far the clouds stand apart."""

    def cosine(x: np.ndarray, y: np.ndarray) -> float:
        return float((x * y).sum(axis=1).mean())

    def gap(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0)))

    if pairs.sounds is None:
        return (
            "a line joins a picture to its caption · "
            f"mean cosine of pairs {cosine(pairs.images, pairs.texts):.2f} · "
            f"distance between the two clouds' centres {gap(pairs.images, pairs.texts):.2f}"
        )
    ends = (
        ("picture–words", pairs.images, pairs.texts),
        ("sound–words", pairs.sounds, pairs.texts),
        ("picture–sound", pairs.images, pairs.sounds),
    )
    cosines = ", ".join(f"{name} {cosine(x, y):.2f}" for name, x, y in ends)
    gaps = ", ".join(f"{gap(x, y):.2f}" for _, x, y in ends)
    return f"lines join a picture to its caption and its sound · mean cosine {cosines} · centres apart {gaps}"


def _join(axes: Axes, starts: np.ndarray, ends: np.ndarray, color: str, width: float) -> None:
    """Draw lines from `starts` to `ends`, `[P, 2]` each."""
    from matplotlib.collections import LineCollection

    lines = LineCollection(list(np.stack([starts, ends], axis=1)), colors=color, linewidths=width, zorder=1)
    axes.add_collection(lines)


def _spaced(points: np.ndarray, distance: float, limit: int) -> list[int]:
    """Choose rows, first come first served, at a `distance` to one another: thumbnails must not overlap."""
    chosen: list[int] = []
    for row, point in enumerate(points):
        if len(chosen) == limit:
            break
        if not chosen or np.linalg.norm(points[chosen] - point, axis=1).min() > distance:
            chosen.append(row)
    return chosen
