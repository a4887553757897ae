"""Weights & Biases."""

from __future__ import annotations

from accelerate.tracking import WandBTracker

from edge_glass.training.trackers import TrackedRun


def build(run: TrackedRun) -> WandBTracker:
    """Make the tracker of a run; it goes on where a run of the same id stands."""
    return WandBTracker(
        run.project,
        name=run.name,
        id=run.id,
        resume="allow",
        group=run.group,
        tags=list(run.tags) or None,
        dir=str(run.folder),
    )
