"""TensorBoard: files in the run folder's `tensorboard`, under the names of `metrics.jsonl`."""

from __future__ import annotations

from typing import Any

from accelerate.tracking import TensorBoardTracker

from edge_glass.training.trackers import TrackedRun


class Curves(TensorBoardTracker):
    """Writes curves only: settings stand in `config.yaml`, and here they would be one more file of events."""

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Write nothing."""


def build(run: TrackedRun) -> Curves:
    """Make the tracker of a run."""
    return Curves("tensorboard", str(run.folder))
