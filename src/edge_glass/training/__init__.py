"""The training loop. It knows a `Task` and nothing of pictures, words or losses.

Names are imported when they are first used: listing the optimizers and trackers imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_glass.training.arguments import TrainingPlan, training_arguments
    from edge_glass.training.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
    from edge_glass.training.loop import MultimodalTrainer
    from edge_glass.training.task import Batch, Report, Task

_HOMES = {
    "Batch": "task",
    "MultimodalTrainer": "loop",
    "Report": "task",
    "Task": "task",
    "TrainingPlan": "arguments",
    "find_checkpoint": "checkpoint",
    "read_checkpoint": "checkpoint",
    "training_arguments": "arguments",
    "write_checkpoint": "checkpoint",
}

__all__ = [
    "Batch",
    "MultimodalTrainer",
    "Report",
    "Task",
    "TrainingPlan",
    "find_checkpoint",
    "read_checkpoint",
    "training_arguments",
    "write_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"edge_glass.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'edge_glass.training' has no attribute {name!r}")
