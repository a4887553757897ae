"""Plots of the embeddings: where pictures and words lie, and what is similar to what."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.evaluation.archive import EvaluationArchive
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.style import FAINT, PICTURE, WORDS, NothingToPlotError, note, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)
Method = Literal["pca", "tsne"]
MAX_POINTS = 300
MAX_MATRIX = 24
MAX_HISTOGRAM = 1000
THUMBNAIL_PIXELS = 26


@dataclass(frozen=True)
class Pairs:
    """One picture and one caption of each drawn group; embeddings are unit vectors, float32 `[P, D]`."""

    images: np.ndarray
    texts: np.ndarray
    captions: list[str]
    thumbnails: list[bytes | None]


def choose_pairs(archive: EvaluationArchive | None, limit: int, seed: int = 0) -> Pairs:
    """Draw at most `limit` groups at random (always the same ones) and take the first pair of each.

    Raises:
        NothingToPlotError: There are no embeddings, or fewer than three pairs.
    """
    if archive is None:
        raise NothingToPlotError("the run holds no embeddings (evaluation/*.npz)")
    _, image_first = np.unique(archive.image_groups, return_index=True)
    text_groups, text_first = np.unique(archive.text_groups, return_index=True)
    place = {int(group): int(row) for group, row in zip(text_groups, text_first, strict=True)}
    rows = [int(row) for row in image_first if int(archive.image_groups[row]) in place]
    if len(rows) < 3:
        raise NothingToPlotError(
            f"the evaluated split holds {len(rows)} pair(s); three are the least to draw"
        )
    if len(rows) > limit:
        rows = sorted(np.random.default_rng(seed).choice(rows, size=limit, replace=False).tolist())
    columns = [place[int(archive.image_groups[row])] for row in rows]
    images, texts = _unit(archive.image_embeddings[rows]), _unit(archive.text_embeddings[columns])
    if not (np.isfinite(images).all() and np.isfinite(texts).all()):
        raise NothingToPlotError("the embeddings hold NaN: the model has diverged")
    return Pairs(
        images, texts, [archive.captions[c] for c in columns], [archive.thumbnails[row] for row in rows]
    )


def draw_embedding_space(run: RunFolder, figure: Figure, method: Method = "pca") -> None:
    """Pictures and captions in one plane, each pair joined by a line."""
    pairs = choose_pairs(run.archive, MAX_POINTS)
    count = len(pairs.images)
    points = project(np.concatenate([pairs.images, pairs.texts]), method)
    pictures, words = points[:count], points[count:]
    axes = figure.subplots()
    name = "t-SNE" if method == "tsne" else "PCA"
    axes.set_title(f"Pictures and words in one space ({name} of {count} pairs)")
    cosine = float((pairs.images * pairs.texts).sum(axis=1).mean())
    gap = float(np.linalg.norm(pairs.images.mean(axis=0) - pairs.texts.mean(axis=0)))
    note(axes, f"a line joins a picture to its caption · mean cosine of pairs {cosine:.2f} · "
               f"distance between the two clouds' centres {gap:.2f}")  # fmt: skip
    spread = np.ptp(points, axis=0).max() or 1.0
    shown = _spaced(pictures, 0.07 * spread, 60)
    _join(axes, pictures, words, color="#DDE0E6", width=0.6)
    _join(axes, pictures[shown], words[shown], color="#8FA3B8", width=1.0)
    axes.scatter(pictures[:, 0], pictures[:, 1], s=20, color=PICTURE, label="picture", zorder=2, linewidths=0)
    axes.scatter(
        words[:, 0], words[:, 1], s=22, color=WORDS, marker="^", label="caption", zorder=2, linewidths=0
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.margins(0.05)
    axes.legend(
        loc="upper right", ncols=2, bbox_to_anchor=(1.0, 1.0), frameon=True, framealpha=0.9, edgecolor="none"
    )
    for row in shown:
        _put_thumbnail(axes, pairs.thumbnails[row], tuple(pictures[row]))


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


def draw_similarity_matrix(run: RunFolder, figure: Figure) -> None:
    """Cosines of a few pictures with a few captions, and of all right and wrong pairs as histograms."""
    pairs = choose_pairs(run.archive, MAX_MATRIX)
    order = np.argsort(project(np.concatenate([pairs.images, pairs.texts]), "pca")[: len(pairs.images), 0])
    similarities = pairs.texts[order] @ pairs.images[order].T
    count = len(order)
    left, right = figure.subplots(1, 2, width_ratios=[1.45, 1.0])
    left.set_title("Words (rows) against pictures (columns)")
    limit = max(float(np.abs(similarities).max()), 1e-6)
    low = -limit if similarities.min() < -0.05 else min(0.0, float(similarities.min()))
    shown = left.imshow(similarities, cmap="cividis", vmin=low, vmax=limit)
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
        _put_thumbnail(left, pairs.thumbnails[index], (column, 1.017 * count - 0.5), 13, below=True)
    left.set_xlabel("best when brightest on the diagonal · dots: best caption of each picture", labelpad=24)
    bar = figure.colorbar(shown, ax=left, fraction=0.035, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("cosine")
    _draw_histogram(run, right)


def _draw_histogram(run: RunFolder, axes: Axes) -> None:
    pairs = choose_pairs(run.archive, MAX_HISTOGRAM)
    similarities = pairs.texts @ pairs.images.T
    same = np.eye(len(similarities), dtype=bool)
    ends = (float(similarities.min()), float(similarities.max()) + 1e-6)
    bins = np.linspace(*ends, 45)
    axes.set_title(f"Right and wrong pairs ({len(similarities)} pictures)")
    for values, color, label in (
        (similarities[~same], "#9AA1AC", "wrong pairs"),
        (similarities[same], PICTURE, "right pairs"),
    ):
        axes.hist(values, bins=bins.tolist(), density=True, color=color, alpha=0.65, label=label)
        axes.axvline(values.mean(), color=color, linewidth=1.6, linestyle=(0, (4, 2)))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("cosine (dashed: means)")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.18)
    axes.legend(loc="upper left")


def _unit(rows: np.ndarray) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    return np.asarray(truncate_and_normalize(tensor, tensor.shape[1]))


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


def _put_thumbnail(
    axes: Axes,
    data: bytes | None,
    position: tuple[float, ...],
    pixels: int = THUMBNAIL_PIXELS,
    below: bool = False,
) -> None:
    """A small picture at a point of the data; left out when it cannot be decoded."""
    if data is None:
        return
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        logger.debug("a thumbnail cannot be decoded: %s", error)
        return
    box = AnnotationBbox(
        OffsetImage(np.asarray(picture), zoom=pixels / max(picture.size)),
        (position[0], position[1]),
        frameon=not below,
        pad=0.15,
        box_alignment=(0.5, 1.0) if below else (0.5, 0.5),
        bboxprops={"edgecolor": FAINT, "linewidth": 0.5, "boxstyle": "round,pad=0.1"},
        zorder=3,
        annotation_clip=False,
    )
    axes.add_artist(box)
