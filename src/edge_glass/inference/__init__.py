"""Load a finished model and use it."""

from pathlib import Path

from edge_glass.alignment.use.search import AlignmentModel, Hit
from edge_glass.detection.use.detect import DetectModel
from edge_glass.instruction.use.answer import AnswerModel
from edge_glass.tasks.finding import find_model

__all__ = ["AlignmentModel", "AnswerModel", "DetectModel", "Hit", "load_finished"]


def load_finished(folder: str | Path) -> AlignmentModel | AnswerModel | DetectModel:
    """The model of a run folder, a model folder or what `merge` wrote, by the task it was trained for.

    Raises:
        CheckpointError: There is no finished model, or it is broken.
    """
    task = find_model(folder).task
    if task == "detection":
        return DetectModel(folder)
    return AnswerModel(folder) if task == "instruction" else AlignmentModel(folder)
