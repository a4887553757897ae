"""What is drawn of the space: pairs chosen from it, points in a plane, and small pictures at them."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edge_glass.alignment.measure.archive import EvaluationArchive
from edge_glass.alignment.report.sides import unit
from edge_glass.reporting.style import FAINT, NothingToPlotError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

Method = Literal["pca", "tsne"]
THUMBNAIL_PIXELS = 26


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
        seed: Seed of the draw.
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


def project(vectors: np.ndarray, method: Method) -> np.ndarray:
    """Map `[N, D]` to `[N, 2]`, the same on every call."""
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


def put_thumbnail(
    axes: Axes,
    data: bytes | None,
    position: tuple[float, ...],
    pixels: int = THUMBNAIL_PIXELS,
    below: bool = False,
) -> None:
    """Put a small picture at a point of the data; leave it out when it cannot be decoded."""
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
