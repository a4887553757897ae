"""Trackio. It knows runs by their name, which is therefore the id."""

from __future__ import annotations

from accelerate.tracking import TrackioTracker

from edge_glass.training.trackers import TrackedRun


def build(run: TrackedRun) -> TrackioTracker:
    """Make the tracker of a run; it goes on where a run of the same id stands."""
    return TrackioTracker(run.project, name=run.id, group=run.group, resume="allow")
