"""Show what a model receives: some samples of an experiment, before anything is trained."""

from __future__ import annotations

from pathlib import Path

from edge_glass.config.schema import ExperimentConfig
from edge_glass.experiment.folder import run_folder_of
from edge_glass.tasks.inspection import Inspection
from edge_glass.tasks.registry import task_kind


def inspect(config: ExperimentConfig, count: int = 8, split: str = "train") -> Inspection:
    """Return some rows of a split, evenly spread, as training (or measuring) gives them to the model.

    Encoders are loaded, for their transform and their tokens; of a language model only its tokenizer.

    Args:
        config: Of an instruction or detection experiment.
        count: How many; all when there are fewer.
        split: train, val or test. Training rows are augmented as in the first epoch.

    Raises:
        ConfigError: The experiment is of another task.
        DataError: The rows cannot be used.

    Example:
        >>> found = edge_glass.inspect(edge_glass.load_config("configs/easy_vqa_trm.yaml"), count=4)
        >>> found.samples[0].prompt
    """
    return task_kind(config.task).inspect(config, count, split)


def page_of(config: ExperimentConfig) -> Path:
    """Return where the page of an experiment goes."""
    return run_folder_of(config) / "inspect.html"
