"""Add the adapters of a finished run to its model, and make sure that nothing changed."""

from __future__ import annotations

from pathlib import Path

from edge_glass.tasks.finding import find_model
from edge_glass.tasks.merged import Merged
from edge_glass.tasks.registry import task_kind

ROWS = 64


def merge(
    run: Path | str,
    output: Path | None = None,
    bound: float | None = None,
    rows: int = ROWS,
    progress: bool = True,
) -> Merged:
    """Write a run's language model with its adapters in the weights, as a plain Hugging Face folder.

    The merged model and the unmerged one answer the same test rows first; when they differ, nothing is
    written. Both compute in float32, whatever the weights are; the merged ones are rounded first as they
    will be saved.

    Args:
        run: A run folder of LoRA training.
        output: Where to; by default `merged` in the run folder.
        bound: Largest difference of logits allowed, as a share of the largest; by default 0.001, and 0.05 for
            bfloat16 weights or a run whose language model was quantised.
        rows: Test rows that both answer; 0 compares logits alone and needs no data.
        progress: Show progress bars.

    Raises:
        ConfigError: The run has no adapters, or `output` holds something else.
        CheckpointError: The run is not finished, or the merged model answers differently.
        DataError: The run's data are not there any more.

    Example:
        >>> edge_glass.merge("runs/easy_vqa_smollm2").lines()
    """
    found = find_model(run)
    return task_kind(found.task).merge(Path(run), output, bound, rows, progress)
