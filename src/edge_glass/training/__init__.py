"""The training loop. It knows a `Task` and nothing of pictures, words or losses."""

from edge_glass.training.arguments import TrainingPlan, training_arguments
from edge_glass.training.checkpoint import find_checkpoint, read_checkpoint, write_checkpoint
from edge_glass.training.task import Batch, Report, Task
from edge_glass.training.trainer import MultimodalTrainer

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
