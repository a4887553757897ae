"""What the numbers of a detection run mean, in sentences."""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from edge_glass.detection.measure.archive import DetectionRecord
from edge_glass.detection.report.matching import Centres, centres, detections_of
from edge_glass.reporting.run_folder import RunFolder, number
from edge_glass.reporting.style import shorten
from edge_glass.reporting.wording import format_count

ENOUGH_PAIRS: Final = 20  # below, a line through them says nothing
CLOSE: Final = 0.8  # correlation above which two coordinates go together
APART: Final = 0.5
SCALED: Final = 0.12  # a slope that is off 1 by more is another scale
FEW: Final = 0.6  # mean IoU above which the convention cannot be wrong
REASONS: Final = 3


def found_sentence(run: RunFolder) -> str | None:
    """How much of what is there is found, and how much of what is drawn is right; now and before."""
    metrics, before = run.results.get("metrics") or {}, run.results.get("baseline") or {}
    names = ("recall_50", "precision_50")
    now = [number(metrics, name) for name in names]
    then = [number(before, name) for name in names]
    if now[0] is None or now[1] is None:
        return None
    boxes = sum(len(record.true_boxes) for record in detections_of(run))
    counted = f"{format_count(boxes)} " if boxes else ""
    earlier = ""
    if then[0] is not None and then[1] is not None:
        earlier = f" Before training these were {100 * then[0]:.1f} and {100 * then[1]:.1f}."
    return (
        f"Of the {counted}boxes on the pictures of the {run.split} split, {100 * now[0]:.1f} in a hundred "
        f"are found, overlapping by half or more; of the boxes that the model draws, {100 * now[1]:.1f} in a "
        f"hundred are right.{earlier}"
    )


def problems_sentence(run: RunFolder) -> str | None:
    """How many answers cannot be read, and why; None where all can or nothing is known."""
    reasons = Counter(shorten(one.problem or "", 90) for one in detections_of(run) if one.unparsable)
    if not reasons:
        return None
    count, total = sum(reasons.values()), len(detections_of(run))
    said = ", ".join(f"{reason} ({times:,})" for reason, times in reasons.most_common(REASONS))
    more = ", …" if len(reasons) > REASONS else ""
    return f"{count:,} of {total:,} answers cannot be read and count as nothing found: {said}{more}."


def convention_sentence(run: RunFolder) -> str | None:
    """Whether coordinates follow the truth in another convention: swapped, or scaled; None where not."""
    for untouched, whose in ((False, "The model's boxes"), (True, "Before training, the model's boxes")):
        mean = _mean_iou(detections_of(run), untouched)
        if mean is None or mean > FEW:
            return None
        if (found := _convention(centres(detections_of(run), untouched))) is not None:
            return f"{whose} {found}."
    return None


def _convention(pairs: Centres) -> str | None:
    """What is wrong with coordinates that follow the truth, in words."""
    if len(pairs) < ENOUGH_PAIRS or (pairs.true.std(axis=0) < 1e-3).any():
        return None
    if (pairs.found.std(axis=0) < 1e-3).any():
        return None
    cross = np.corrcoef(pairs.found.T, pairs.true.T)[:2, 2:]
    if min(cross[0, 1], cross[1, 0]) > CLOSE and max(cross[0, 0], cross[1, 1]) < APART:
        return "stand where x and y are swapped: compare dataset.box_spec with the data set's own description"
    if min(cross[0, 0], cross[1, 1]) < CLOSE:
        return None
    # Through the origin: a resize scales, it does not shift.
    slopes = (pairs.found * pairs.true).sum(axis=0) / (pairs.true**2).sum(axis=0)
    if np.abs(slopes - 1).max() <= SCALED:
        return None
    return (
        f"follow the true ones at {slopes[0]:.2f} times their x and {slopes[1]:.2f} times their y: "
        "coordinates of another resize, or of another model family"
    )


def _mean_iou(records: list[DetectionRecord], untouched: bool) -> float | None:
    values = [one.untouched_iou if untouched else one.iou for one in records]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
