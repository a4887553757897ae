"""Metrics of found boxes: by hand, with nothing left out of the denominator, and their bootstrap."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.config import ExperimentConfig
from edge_glass.config import metrics as table
from edge_glass.core.errors import ConfigError
from edge_glass.detection.measure import metrics as detection
from edge_glass.detection.measure.coco_map import COCO_METRICS
from edge_glass.detection.measure.metrics import (
    DETECTION_METRICS,
    DetectionSet,
    detection_values,
    estimate_detections,
    picture_scores,
)
from edge_glass.evaluation.intervals import resample_counts

WITHOUT_MAP = [name for name in DETECTION_METRICS if name not in COCO_METRICS]
UNIT = [[0, 0, 10, 10]]
HALF = [[0, 0, 10, 6]]  # IoU 0.6 with UNIT


def of(*pictures, **more) -> DetectionSet:
    """A set of (found boxes, true boxes), all of them dogs."""
    boxes, truth = (
        [np.array(one, dtype=float).reshape(-1, 4) for one in side] for side in zip(*pictures, strict=True)
    )
    names = [["dog"] * len(one) for one in boxes]
    given_set = {
        "labels": names,
        "scores": None,
        "true_labels": [["dog"] * len(one) for one in truth],
        "units": range(len(boxes)),
    }
    return DetectionSet(boxes=boxes, true_boxes=truth, **(given_set | more))


def test_by_hand():
    found = of(
        (UNIT, UNIT),  # 1
        (HALF, UNIT),  # 0.6
        (UNIT, []),  # 0: a ghost
        ([], UNIT),  # 0: missed
        ([], []),  # 1: nothing there, nothing found
        (UNIT + HALF, UNIT),  # 1/2: one too many
        ended=[True, True, False, True, True, True],
    )
    np.testing.assert_allclose(picture_scores(found), [1, 0.6, 0, 0, 1, 0.5])
    values = detection_values(found)
    assert list(values) == WITHOUT_MAP
    assert values == pytest.approx(
        {
            "mean_iou": 3.1 / 6,
            "precision_50": 3 / 5,
            "recall_50": 3 / 4,
            "f1_50": 2 * 3 / (5 + 4),
            "precision_75": 2 / 5,
            "recall_75": 2 / 4,
            "f1_75": 2 * 2 / (5 + 4),
            "unparsable": 0.0,
            "boxes_per_picture": 5 / 6,
            "never_ended": 1 / 6,
        }
    )


def test_labels_must_agree():
    found = of((UNIT, UNIT), (UNIT, UNIT), labels=[["cat"], [" DOG"]])
    np.testing.assert_array_equal(picture_scores(found), [0, 1])
    assert detection_values(found)["precision_50"] == 0.5


def test_unparsable_answers_stay_in_every_denominator():
    sound = of((UNIT, UNIT), (UNIT, UNIT))
    broken = replace(sound, parsed=[True, False])
    assert detection_values(sound)["mean_iou"] == 1.0
    assert detection_values(broken) == pytest.approx(
        {
            "mean_iou": 0.5,
            "precision_50": 1.0,
            "recall_50": 0.5,
            "f1_50": 2 / 3,
            "precision_75": 1.0,
            "recall_75": 0.5,
            "f1_75": 2 / 3,
            "unparsable": 0.5,
            "boxes_per_picture": 0.5,
        }
    )
    # Even where nothing is to be found: an answer that cannot be read does not say that.
    np.testing.assert_array_equal(picture_scores(of(([], []), parsed=[False])), [0])


def test_dropped_boxes_count_as_found_by_mistake():
    values = detection_values(of((UNIT, UNIT), dropped=[3]))
    assert (values["mean_iou"], values["precision_50"], values["recall_50"]) == (0.25, 0.25, 1.0)
    assert values["boxes_per_picture"] == 4.0


def test_repeating_a_right_box_does_not_pay():
    values = detection_values(of((UNIT * 10, UNIT)))
    assert (values["mean_iou"], values["precision_50"], values["recall_50"]) == (0.1, 0.1, 1.0)


@pytest.mark.parametrize(
    ("pictures", "precision", "recall", "f1"),
    [([([], [])], 1.0, 1.0, 1.0), ([(UNIT, [])], 0.0, 0.0, 0.0), ([([], UNIT)], 0.0, 0.0, 0.0)],
)
def test_shares_of_nothing(pictures, precision, recall, f1):
    values = detection_values(of(*pictures))
    assert (values["precision_50"], values["recall_50"], values["f1_50"]) == (precision, recall, f1)


def test_average_precision_needs_scores_and_true_boxes():
    found = of((UNIT, UNIT), (HALF, []))
    assert not set(COCO_METRICS) & set(detection_values(found))
    assert not set(COCO_METRICS) & set(detection_values(of((UNIT, []), scores=[[0.5]])))
    assert detection_values(replace(found, scores=[[0.9], [0.1]]))["map"] == pytest.approx(1.0)
    assert detection_values(replace(found, scores=[[0.1], [0.9]]))["map"] == pytest.approx(0.5)
    # An unparsable answer found nothing.
    unread = replace(found, scores=[[0.1], [0.9]], parsed=[True, False])
    assert detection_values(unread)["map"] == pytest.approx(1.0)


@st.composite
def splits(draw):
    """A set with units of several pictures, several labels, scores, unparsable and unended answers."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pictures = draw(st.integers(1, 7))
    columns: dict[str, list] = {"boxes": [], "labels": [], "scores": [], "true_boxes": [], "true_labels": []}
    for _ in range(pictures):
        truth = generator.integers(0, 3, (generator.integers(0, 3), 2)) * 10.0
        truth = np.concatenate([truth, truth + 10], axis=1)
        boxes = np.concatenate(
            [truth + generator.uniform(-3, 3, truth.shape), np.array(UNIT)[: generator.integers(0, 2)]]
        )
        columns["true_boxes"].append(truth)
        columns["true_labels"].append(list(generator.choice(["dog", "cat"], len(truth))))
        columns["boxes"].append(boxes.reshape(-1, 4))
        columns["labels"].append(list(generator.choice(["dog", "cat"], len(columns["boxes"][-1]))))
        columns["scores"].append(generator.uniform(0, 1, len(columns["boxes"][-1])))
    return DetectionSet(
        **columns,
        units=generator.integers(0, 3, pictures) * 7,
        parsed=list(generator.random(pictures) < 0.8),
        ended=list(generator.random(pictures) < 0.8),
        dropped=list(generator.integers(0, 2, pictures)),
    )


def picked(found: DetectionSet, rows) -> DetectionSet:
    names = ("boxes", "labels", "scores", "true_boxes", "true_labels", "units", "parsed", "ended", "dropped")
    return DetectionSet(**{name: [getattr(found, name)[row] for row in rows] for name in names})


@settings(deadline=None, max_examples=25)
@given(splits())
def test_a_draw_is_the_metric_of_the_drawn_pictures(found):
    estimates = estimate_detections(found, samples=6)
    assert {name: one.value for name, one in estimates.items()} == pytest.approx(detection_values(found))
    units = np.unique(found.units)
    counts = np.concatenate(list(resample_counts(len(units), 6, 0)))
    for at, row in enumerate(counts):
        rows = [
            picture
            for unit, times in zip(units, row, strict=True)
            for _ in range(times)
            for picture in np.flatnonzero(found.units == unit)
        ]
        values = detection_values(picked(found, rows))
        for name, estimate in estimates.items():
            # Where no true box was drawn there is no average precision; draws have 0 for it.
            assert estimate.draws[at] == pytest.approx(values.get(name, 0.0)), name


def test_estimates_are_paired_and_their_intervals_hold_the_value():
    generator = np.random.default_rng(0)
    truth = [np.array([[10.0, 10, 60, 60]])] * 60
    noise = [box + generator.normal(0, 12, (1, 4)) for box in truth]
    worse = of(*zip(noise, truth, strict=True), scores=[[0.5]] * 60)
    better = replace(worse, boxes=[0.7 * box + 0.3 * right for box, right in zip(noise, truth, strict=True)])
    trained, untouched = estimate_detections(better, samples=300), estimate_detections(worse, samples=300)
    for name in ("mean_iou", "f1_50", "f1_75", "map"):
        interval = untouched[name].interval()
        assert interval.low < interval.value < interval.high
        assert trained[name].minus(untouched[name]).low > 0, name
    assert estimate_detections(worse, ["f1_50"], samples=50).keys() == {"f1_50"}
    again = estimate_detections(worse, samples=300)["map"]
    np.testing.assert_array_equal(again.draws, untouched["map"].draws)


def test_many_boxes_do_not_take_long():
    """2,000 draws over 150 pictures with 100 boxes each, in seconds and bounded memory."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 400, (150, 100, 2))
    boxes = list(np.concatenate([corners, corners + 50], axis=2))
    found = of(*((own, own[:3] + 4) for own in boxes), scores=list(generator.random((150, 100))))
    start = time.process_time()
    assert len(estimate_detections(found)["map"].draws) == 2000
    assert time.process_time() - start < 15


def test_names_and_directions():
    rows = {row.name: row for row in table.DETECTION_METRICS}
    assert set(rows) == set(DETECTION_METRICS)
    assert {name for name, row in rows.items() if row.package} == set(COCO_METRICS)
    assert {name for name, row in rows.items() if row.higher_is_better is False} == {
        "unparsable",
        "never_ended",
    }
    assert rows["boxes_per_picture"].higher_is_better is None
    with pytest.raises(ValueError, match="unknown metric 'iou'; it is one of mean_iou, "):
        detection_values(of((UNIT, UNIT)), ["iou"])


def test_sets_must_fit_together():
    with pytest.raises(ValueError, match="1 pictures, but 2 true_labels"):
        of((UNIT, UNIT), true_labels=[["a"], ["b"]])
    with pytest.raises(ValueError, match="1 pictures, but 2 ended"):
        of((UNIT, UNIT), ended=[True, True])
    with pytest.raises(ValueError, match=r"\(1, 1\) boxes, but 2 and 1 labels"):
        detection_values(of((UNIT, UNIT), labels=[["dog", "dog"]]))


def test_without_pycocotools_the_rest_is_measured(monkeypatch):
    found = of((UNIT, UNIT), scores=[[0.5]])
    monkeypatch.setattr(detection.importlib.util, "find_spec", lambda name: None)
    assert not set(COCO_METRICS) & set(detection_values(found))
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(ConfigError, match=r"edge-glass\[detection\]"):
        detection_values(found, ["map"])


# What an experiment may name


def problems(name: str, primary: bool) -> list[str]:
    config = ExperimentConfig(name="x", task="detection")
    return [one.text for one in config.metric_problems(("evaluation",), name, primary=primary)]


@pytest.mark.parametrize("name", DETECTION_METRICS)
def test_primary_metrics_are_better_when_higher(name):
    assert problems(name, primary=False) == []
    refused = ("unparsable", "boxes_per_picture", "never_ended")
    assert (problems(name, primary=True) == []) == (name not in refused)


def test_unknown_metrics_and_missing_packages(monkeypatch):
    assert problems("mean_iuo", primary=False)[0].endswith("got 'mean_iuo'; did you mean mean_iou?")
    assert "mean_iou, f1_50, precision_50, " in problems("vqa_accuracy", primary=True)[0]
    monkeypatch.setattr(table.importlib.util, "find_spec", lambda name: None)
    assert problems("map_50", primary=True) == [
        "map_50 needs pycocotools, which is not installed; pip install 'edge-glass[detection]', "
        "or choose another metric"
    ]
    assert problems("mean_iou", primary=True) == []
