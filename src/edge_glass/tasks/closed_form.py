"""The closed form on a run's own features: a model that does not beat it has not earned its training."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from edge_glass.evaluation.metrics import retrieval_values
from edge_glass.evaluation.retrieval import RetrievalResult, retrieval_hits
from edge_glass.models.closed_form import CanonicalCorrelation
from edge_glass.tasks.alignment import AlignmentTask

logger = logging.getLogger(__name__)

REGULARIZATIONS = (0.03, 0.1, 0.3, 1.0)
MOST_ROWS = 20_000


def closed_form_retrieval(task: AlignmentTask) -> RetrievalResult:
    """Regularised CCA fitted on the training rows, its regularisation chosen on validation, measured on test.

    Measured at the trained model's dimensions, as far as the analysis has that many components.
    """
    x, y = task.pooled_features("train", MOST_ROWS)
    fitted = {strength: CanonicalCorrelation.fit(x, y, strength) for strength in REGULARIZATIONS}
    validation = {
        strength: retrieval_values(_measure(task, model, "val"))["mean_r1"]
        for strength, model in fitted.items()
    }
    best = max(validation, key=lambda strength: validation[strength])
    logger.info("closed form: regularisation %g chosen on validation", best)
    return _measure(task, fitted[best], "test")


def _measure(task: AlignmentTask, fitted: Any, split: str) -> RetrievalResult:
    embeddings = task.embed(task.model, split)
    x, y = task.pooled_features(split)
    images = fitted.project_x(x[embeddings.image_rows]).astype(np.float32)
    texts = fitted.project_y(y).astype(np.float32)
    dimensions = [dim for dim in task.model.dimensions if dim < images.shape[1]]
    return retrieval_hits(images, texts, embeddings.image_groups, embeddings.text_groups, dimensions)
