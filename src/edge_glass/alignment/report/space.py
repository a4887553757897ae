"""Plot of the embeddings: where pictures, words and sounds lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_glass.alignment.measure.archive import EvaluationArchive
from edge_glass.alignment.report.sides import archive_of, unit
from edge_glass.alignment.report.thumbnails import put_thumbnail
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import PICTURE, SOUND, WORDS, NothingToPlotError, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Method = Literal["pca", "tsne"]
MAX_POINTS = 300


@dataclass(frozen=True)
class Pairs:
    """One picture and one caption of each drawn group; embeddings are unit vectors, float32 `[P, D]`.

    `sounds` `[P, D]` holds one sound of each group, or is None.
    """

    images: np.ndarray
    texts: np.ndarray
    captions: list[str]
    thumbnails: list[bytes | None]
    sounds: np.ndarray | None = None


def choose_pairs(
    archive: EvaluationArchive | None, limit: int, seed: int = 0, with_sounds: bool = False
) -> Pairs:
    """Draw at most `limit` groups at random (always the same ones) and take the first pair of each.

    Args:
        archive: The evaluated split.
        limit: Most groups.
        seed: Of the draw.
        with_sounds: Draw from groups that have a sound too, if there are three or more.

    Raises:
        NothingToPlotError: There are no embeddings, or fewer than three pairs.
    """
    if archive is None:
        raise NothingToPlotError("the run holds no embeddings (evaluation/*.npz)")
    pictures, words = _first_rows(archive.image_groups), _first_rows(archive.text_groups)
    sounds = _first_rows(archive.audio_groups) if with_sounds and archive.audio_groups is not None else {}
    groups = [group for group in pictures if group in words]
    if len(complete := [group for group in groups if group in sounds]) >= 3:
        groups = complete
    else:
        sounds = {}
    if len(groups) < 3:
        raise NothingToPlotError(
            f"the evaluated split holds {len(groups)} pair(s); three are the least to draw"
        )
    if len(groups) > limit:
        groups = sorted(np.random.default_rng(seed).choice(groups, size=limit, replace=False).tolist())
    rows, columns = [pictures[group] for group in groups], [words[group] for group in groups]
    images, texts = unit(archive.image_embeddings[rows]), unit(archive.text_embeddings[columns])
    heard = None
    if sounds and archive.audio_embeddings is not None:
        heard = unit(archive.audio_embeddings[[sounds[group] for group in groups]])
    if not all(np.isfinite(part).all() for part in (images, texts, heard) if part is not None):
        raise NothingToPlotError("the embeddings hold NaN: the model has diverged")
    captions, thumbnails = [archive.captions[c] for c in columns], [archive.thumbnails[row] for row in rows]
    return Pairs(images, texts, captions, thumbnails, heard)


def _first_rows(groups: np.ndarray) -> dict[int, int]:
    """Group → its first row, ascending."""
    found, first = np.unique(groups, return_index=True)
    return {int(group): int(row) for group, row in zip(found, first, strict=True)}


def draw_embedding_space(run: RunFolder, figure: Figure, method: Method = "pca") -> None:
    """Pictures, captions and sounds in one plane; lines join what belongs together."""
    pairs = choose_pairs(archive_of(run), MAX_POINTS, with_sounds=True)
    parts = [pairs.images, pairs.texts, *([] if pairs.sounds is None else [pairs.sounds])]
    points = np.split(project(np.concatenate(parts), method), len(parts))
    pictures, words = points[:2]
    axes = figure.subplots()
    axes.set_title(_title(run, pairs, "t-SNE" if method == "tsne" else "PCA"))
    note(axes, _closeness(pairs))
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
    archive = archive_of(run)
    left_out = archive is not None and archive.audio_embeddings is not None
    words = f"Pictures and words in one space ({method} of {count} pairs)"
    return f"{words}; fewer than three rows have a sound too" if left_out else words


def _closeness(pairs: Pairs) -> str:
    """Mean cosines of what belongs together, and how far the clouds stand apart."""

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


def project(vectors: np.ndarray, method: Method) -> np.ndarray:
    """`[N, D]` → `[N, 2]`, the same on every call."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    left, scale, axes = np.linalg.svd(centred, full_matrices=False)
    if method == "tsne":
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        perplexity = min(30.0, (len(vectors) - 1) / 3)
        tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=0)
        # Fifty principal axes first, as its authors advise; between unit vectors Euclid orders as cosines do.
        # One thread: a few hundred points gain nothing from more, and lose much on a busy machine.
        with threadpool_limits(1):
            return np.asarray(tsne.fit_transform(left[:, :50] * scale[:50]))
    plane = axes[:2]
    if len(plane) < 2:
        plane = np.vstack([plane, np.zeros((2 - len(plane), vectors.shape[1]))])
    # The sign of a principal axis is arbitrary; fixing it keeps pictures of two runs comparable.
    signs = np.sign(plane[np.arange(2), np.abs(plane).argmax(axis=1)])
    return centred @ (plane * np.where(signs == 0, 1, signs)[:, None]).T


def _join(axes: Axes, starts: np.ndarray, ends: np.ndarray, color: str, width: float) -> None:
    """Lines from `starts` to `ends`, `[P, 2]` each."""
    from matplotlib.collections import LineCollection

    lines = LineCollection(list(np.stack([starts, ends], axis=1)), colors=color, linewidths=width, zorder=1)
    axes.add_collection(lines)


def _spaced(points: np.ndarray, distance: float, limit: int) -> list[int]:
    """Rows, first come first served, that keep `distance` to one another: thumbnails must not overlap."""
    chosen: list[int] = []
    for row, point in enumerate(points):
        if len(chosen) == limit:
            break
        if not chosen or np.linalg.norm(points[chosen] - point, axis=1).min() > distance:
            chosen.append(row)
    return chosen
