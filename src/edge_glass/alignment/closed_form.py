"""The closed form on a run's own features: where training may start, and what it has to beat."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch

from edge_glass.alignment.measure.retrieval import RetrievalResult
from edge_glass.alignment.model.cca import LinearMap, fit_shared_space
from edge_glass.alignment.task import MOST_FITTED_ROWS, AlignmentTask, SplitEmbeddings, retrieval_between
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.features import ItemRef
from edge_glass.encoders.normalization import FeatureNormalizer

logger = logging.getLogger(__name__)

COMPONENTS = 1024


@dataclass(frozen=True)
class ClosedForm:
    """Linear maps of normalised features into one space, solved on the training rows.

    Attributes:
        normalizers: Modality → what its pooled features go through first.
        maps: Modality → its linear map.
    """

    normalizers: dict[str, FeatureNormalizer]
    maps: dict[str, LinearMap]


def fit_closed_form(task: AlignmentTask) -> ClosedForm | None:
    """Solve on the training rows; features are normalised as the towers do, or afresh where they do not.

    Returns:
        None, with a line in the log, where fewer than two rows have words and pictures (or words and sounds).

    Raises:
        DataError: There are so few, and training is to start from the solution.
    """
    for name in task.model.modalities:
        if name != "text" and _different_items(task, name) < 2:
            reason = f"{task.splits['train'].source}: no two different rows have both {name} and text"
            if task.config.training.warm_start == "closed_form":
                raise DataError(f"{reason}; set training.warm_start to none")
            logger.warning("the closed form is not measured: %s", reason)
            return None
    normalizers = {
        name: tower.normalizer or _fitted(task.pooled(name, task.places("train", name)[:MOST_FITTED_ROWS]))
        for name, tower in task.model.towers.items()
    }
    evaluation = task.config.evaluation
    strengths = {
        "vision": evaluation.closed_form_regularization[0],
        "text": evaluation.closed_form_regularization[1],
        "audio": evaluation.closed_form_audio_regularization,
    }

    def paired(first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        places = _paired_places(task, first, second)
        return tuple(  # type: ignore[return-value]
            _normalized(normalizers[name], task.pooled(name, rows[:MOST_FITTED_ROWS]))
            for name, rows in zip((first, second), places, strict=True)
        )

    maps = fit_shared_space(paired, task.model.modalities, strengths, task.model.dimensions[0])
    return ClosedForm(normalizers, maps)


def _different_items(task: AlignmentTask, name: str) -> int:
    """Count the different items in rows with words: of the modality, or of the words if fewer."""
    sides = zip((name, "text"), _paired_places(task, name, "text"), strict=True)
    return min(
        len({place.table.keys(side)[place.row][place.take] for place in places}) for side, places in sides
    )


def _paired_places(task: AlignmentTask, first: str, second: str) -> tuple[list[ItemRef], list[ItemRef]]:
    """Return every take of the training rows that have both, with the row's first item of the other."""
    table = task.splits["train"]
    keys = table.keys(first), table.keys(second)
    both = [row for row in range(len(table)) if keys[0][row] and keys[1][row]]
    takes = [(row, take) for row in both for take in range(len(keys[0][row]) if first == "audio" else 1)]
    return [ItemRef(table, row, take) for row, take in takes], [ItemRef(table, row) for row, _ in takes]


def closed_form_retrieval(
    task: AlignmentTask, closed_form: ClosedForm, embedded: SplitEmbeddings
) -> RetrievalResult:
    """Measure it on the test split, at those dimensions of the model that it has components for.

    Args:
        task: The task.
        closed_form: Fitted on its training rows.
        embedded: Any embeddings of the test split: they say what is asked for.
    """
    solved = {}
    for name, part in embedded.items():
        places = [ItemRef(task.splits["test"], row) for row in part.rows]
        vectors = _normalized(closed_form.normalizers[name], task.pooled(name, places))
        solved[name] = replace(part, vectors=closed_form.maps[name].project(vectors).astype(np.float32))
    full = next(iter(solved.values())).vectors.shape[1]
    dimensions = [dim for dim in task.model.dimensions if dim < full]
    return retrieval_between(solved, task.model.pairs, dimensions)


def start_from_closed_form(task: AlignmentTask, closed_form: ClosedForm) -> None:
    """Put the solution into the heads, so that training begins where the closed form ends.

    Raises:
        ConfigError: A pooling is learned: the solution is of features that stay as they are.
    """
    for name, tower in task.model.towers.items():
        if tower.pooling.learned:
            raise ConfigError(
                f"training.warm_start: expected none with a learned pooling ({name}_encoder); got closed_form"
            )
        solved = closed_form.maps[name]
        tower.projection.start_from(torch.from_numpy(solved.weights), torch.from_numpy(solved.offset))


def _fitted(features: np.ndarray) -> FeatureNormalizer:
    normalizer = FeatureNormalizer(features.shape[1], COMPONENTS)
    normalizer.fit(features)
    return normalizer


@torch.no_grad()
def _normalized(normalizer: FeatureNormalizer, features: np.ndarray) -> np.ndarray:
    device = normalizer.mean.device
    return normalizer(torch.from_numpy(features).to(device)).cpu().numpy()
