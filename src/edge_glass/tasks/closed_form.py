"""The closed form on a run's own features: where training may start, and what it has to beat."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

from edge_glass.evaluation.retrieval import RetrievalResult, retrieval_hits
from edge_glass.models.closed_form import CanonicalCorrelation
from edge_glass.models.normalization import FeatureNormalizer
from edge_glass.tasks.alignment import MOST_FITTED_ROWS, AlignmentTask

logger = logging.getLogger(__name__)

COMPONENTS = 1024


@dataclass(frozen=True)
class ClosedForm:
    """Regularised CCA fitted on the training rows, over normalised features."""

    vision_normalizer: FeatureNormalizer
    text_normalizer: FeatureNormalizer
    solution: CanonicalCorrelation


def fit_closed_form(task: AlignmentTask) -> ClosedForm:
    """Solve on the training rows; features are normalised as the towers do, or afresh where they do not."""
    x, y = task.pooled_features("train", MOST_FITTED_ROWS)
    vision = task.model.vision_tower.normalizer or _fitted(x)
    text = task.model.text_tower.normalizer or _fitted(y)
    strength = task.config.evaluation.closed_form_regularization
    solution = CanonicalCorrelation.fit(
        _normalized(vision, x), _normalized(text, y), strength, task.model.dimensions[0]
    )
    return ClosedForm(vision, text, solution)


def closed_form_retrieval(task: AlignmentTask, closed_form: ClosedForm) -> RetrievalResult:
    """Measured on the test split, at those dimensions of the model that it has components for."""
    embeddings = task.embed(task.model, "test")
    x, y = task.pooled_features("test")
    solution = closed_form.solution
    images = solution.project_x(_normalized(closed_form.vision_normalizer, x[embeddings.image_rows]))
    texts = solution.project_y(_normalized(closed_form.text_normalizer, y))
    dimensions = [dim for dim in task.model.dimensions if dim < images.shape[1]]
    return retrieval_hits(
        images.astype(np.float32),
        texts.astype(np.float32),
        embeddings.image_groups,
        embeddings.text_groups,
        dimensions,
    )


def start_from_closed_form(task: AlignmentTask, closed_form: ClosedForm) -> None:
    """Put the solution into the heads, so that training begins where the closed form ends."""
    solution = closed_form.solution
    task.model.vision_tower.projection.start_from(
        torch.from_numpy(solution.x_weights), torch.from_numpy(solution.x_mean)
    )
    task.model.text_tower.projection.start_from(
        torch.from_numpy(solution.y_weights), torch.from_numpy(solution.y_mean)
    )


def _fitted(features: np.ndarray) -> FeatureNormalizer:
    normalizer = FeatureNormalizer(features.shape[1], COMPONENTS)
    normalizer.fit(features)
    return normalizer


@torch.no_grad()
def _normalized(normalizer: FeatureNormalizer, features: np.ndarray) -> np.ndarray:
    device = normalizer.mean.device
    return normalizer(torch.from_numpy(features).to(device)).cpu().numpy()
