"""The evaluated split by modality: what is asked, what is found, and how many candidates there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from edge_glass.alignment.measure.archive import EvaluationArchive, load_archive
from edge_glass.alignment.measure.retrieval import DIRECTIONS, FUSED_DIRECTIONS, Direction
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.wording import SIDES

ENDS: dict[Direction, tuple[str, str]] = {
    direction: ends
    for (first, second), (there, back) in DIRECTIONS.items()
    for direction, ends in ((there, (first, second)), (back, (second, first)))
}
"""Direction → modality that asks, modality that is found."""
PAIR_WORDS = {
    "vision_text": "pictures and words",
    "audio_text": "sounds and words",
    "vision_audio": "pictures and sounds",
    "fused": "two together and the third",
}
BACK: frozenset[str] = frozenset(back for _, back in DIRECTIONS.values())
"""The second direction of every pair."""


def archive_of(run: RunFolder) -> EvaluationArchive | None:
    """Return embeddings, captions and thumbnails of the evaluated split, or None."""
    return run.evaluated(load_archive, ".npz")


def has_sounds(run: RunFolder) -> bool:
    """Say whether the evaluated split has sounds."""
    archive = archive_of(run)
    return archive is not None and archive.audio_embeddings is not None


def measured_sides(metrics: Iterable[str]) -> list[str]:
    """Return the directions that names such as `a2t_r10@128` speak of, as in `SIDES`, without the mean."""
    found = {name.partition("_")[0] for name in metrics}
    return [side for side in SIDES if side in found and side != "mean"]


def averaged_sides(metrics: Iterable[str]) -> list[str]:
    """Return the directions that the mean is over: between two modalities, without fused queries."""
    return [side for side in measured_sides(metrics) if side not in FUSED_DIRECTIONS.values()]


@dataclass(frozen=True)
class Side:
    """Items of one modality.

    Attributes:
        modality: `vision`, `text` or `audio`.
        vectors: float32 `[N, D]` of norm 1.
        groups: int64 `[N]`.
    """

    modality: str
    vectors: np.ndarray
    groups: np.ndarray


def side_of(archive: EvaluationArchive, modality: str) -> Side | None:
    """Return one modality of the split; None for sounds where there are none."""
    groups = _groups(archive, modality)
    vectors = {
        "vision": archive.image_embeddings,
        "text": archive.text_embeddings,
        "audio": archive.audio_embeddings,
    }[modality]
    return None if groups is None or vectors is None else Side(modality, unit(vectors), groups)


def candidates(archive: EvaluationArchive, direction: Direction) -> int:
    """Count the items that a query of this direction is compared with: those whose counterpart asks."""
    asks, found = (_groups(archive, modality) for modality in ENDS[direction])
    return 0 if asks is None or found is None else int(np.isin(found, asks).sum())


def unit(rows: np.ndarray) -> np.ndarray:
    """Return rows `[N, D]` with norm 1, float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    return np.asarray(truncate_and_normalize(tensor, tensor.shape[1]))


def _groups(archive: EvaluationArchive, modality: str) -> np.ndarray | None:
    groups = {"vision": archive.image_groups, "text": archive.text_groups, "audio": archive.audio_groups}
    return groups[modality]


def pairs_of(run: RunFolder) -> list[str]:
    """Return the pairs of modalities that were logged one by one; none in a run with a single pair."""
    start = "train/loss_clip_"
    found = {name.removeprefix(start) for row in run.metrics for name in row if name.startswith(start)}
    return [pair for pair in PAIR_WORDS if pair in found] + sorted(found - PAIR_WORDS.keys())
