"""What one field cannot tell alone: checks across fields, of files and of installed packages.

Each check takes a whole config and returns the problems it sees. They run before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_glass.config.checks import (
    alignment,
    answers,
    common,
    data,
    detection,
    detection_data,
    metrics,
    unread,
)
from edge_glass.config.checks.metrics import metric_problems
from edge_glass.config.problems import Problem
from edge_glass.config.schema import ExperimentConfig

__all__ = ["metric_problems", "problems_across"]

Check = Callable[[ExperimentConfig], Iterator[Problem]]

TASK_CHECKS: dict[str, tuple[Check, ...]] = {
    "alignment": (
        alignment.matryoshka,
        alignment.loss_weights,
        alignment.batch,
        alignment.accumulation,
        alignment.closed_form,
        alignment.modalities,
        alignment.pooling,
    ),
    "instruction": (
        answers.prefix_pooling,
        answers.prefix_fusion,
        answers.blindness,
        answers.comparisons,
        answers.decoder_sizes,
        answers.decoder_on_gpu,
        answers.generation,
    ),
    "detection": (
        detection.collator,
        detection.prompt,
        detection.categories,
        detection.trained_part,
        detection.pixel_budget,
        detection.model_sizes,
        detection.precision,
        detection.model_on_gpu,
        answers.generation,
    ),
}
SETTING_CHECKS: tuple[Check, ...] = (
    common.optimizer,
    common.optimizer_kind,
    common.tracker_kinds,
    metrics.metric_names,
    common.precision,
    common.split_shares,
    unread.unread_options,
)
PACKAGE_CHECKS: tuple[Check, ...] = (
    common.tracker_packages,
    answers.decoder_packages,
    detection.model_packages,
)
FILE_CHECKS: tuple[Check, ...] = (
    data.data_source,
    detection_data.detection_source,
    data.data_files,
)


def problems_across(config: ExperimentConfig, *, surroundings: bool, packages: bool = True) -> list[Problem]:
    """Return all problems of a valid-looking config.

    Args:
        config: the experiment.
        surroundings: also look for data files and packages; never done for tiny configs, which need neither.
        packages: False leaves out the packages, which only training needs.
    """
    checks = TASK_CHECKS[config.task] + SETTING_CHECKS
    if surroundings and not config.tiny:
        checks += FILE_CHECKS + (PACKAGE_CHECKS if packages else ())
    return [problem for check in checks for problem in check(config)]
