"""COCO's average precision: pycocotools against a naive one, and the draws against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.core.boxes import calculate_iou
from edge_glass.core.errors import ConfigError
from edge_glass.detection.measure import coco_map
from edge_glass.detection.measure.coco_map import coco_precision


def naive_map(boxes, labels, scores, true_boxes, true_labels, thresholds):
    """Lin et al. 2014, in loops: greedy matches, 101 recalls, mean over categories and thresholds."""
    precisions = []
    for name in sorted({label for picture in true_labels for label in picture}):
        found = sorted(
            (-score, picture, place)
            for picture, own in enumerate(scores)
            for place, score in enumerate(own)
            if labels[picture][place] == name
        )
        total = sum(label == name for picture in true_labels for label in picture)
        for threshold in thresholds:
            taken, hits, curve = set(), 0, []
            for rank, (_, picture, place) in enumerate(found, start=1):
                best, best_iou = None, threshold
                for at, label in enumerate(true_labels[picture]):
                    iou = calculate_iou(boxes[picture][place], true_boxes[picture][at])
                    if label == name and (picture, at) not in taken and iou >= best_iou:
                        best, best_iou = (picture, at), iou
                if best is not None:
                    taken.add(best)
                    hits += 1
                curve.append((hits / total, hits / rank))
            precisions.append(
                np.mean(
                    [
                        max((p for recall, p in curve if recall >= wanted), default=0.0)
                        for wanted in np.linspace(0, 1, 101)
                    ]
                )
            )
    return np.mean(precisions)


def scenes(generator: np.random.Generator, pictures: int, names=("dog", "cat", "pig")):
    """True boxes, and found ones: some near a true box, some anywhere; scores all different."""
    boxes, labels, scores, true_boxes, true_labels = [], [], [], [], []
    for _ in range(pictures):
        corners = generator.uniform(0, 50, (generator.integers(0, 4), 2))
        truth = np.concatenate([corners, corners + generator.uniform(10, 50, corners.shape)], axis=1)
        own = list(generator.choice(names, len(truth)))
        near = truth + generator.normal(0, 4, truth.shape)
        anywhere = np.array([[0, 0, 30, 30], [40, 40, 90, 90]])[: generator.integers(0, 3)]
        true_boxes.append(truth)
        true_labels.append(own)
        boxes.append(np.concatenate([near, anywhere]))
        labels.append([*own, *generator.choice([*names, "ghost"], len(anywhere))])
        scores.append(generator.uniform(0, 1, len(boxes[-1])))
    return boxes, labels, scores, true_boxes, true_labels


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_against_a_naive_one(seed, pictures):
    found = scenes(np.random.default_rng(seed), pictures)
    precision = coco_precision(*found)
    if precision is None:
        assert not any(found[4])
        return
    assert precision.values["map_50"] == pytest.approx(naive_map(*found, [0.5]))
    assert precision.values["map_75"] == pytest.approx(naive_map(*found, [0.75]))
    assert precision.values["map"] == pytest.approx(naive_map(*found, np.linspace(0.5, 0.95, 10)))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_draw_is_the_precision_of_the_drawn_pictures(seed, pictures):
    generator = np.random.default_rng(seed)
    found = scenes(generator, pictures)
    precision = coco_precision(*found)
    if precision is None:
        return
    counts = generator.multinomial(pictures, np.full(pictures, 1 / pictures), size=4)
    draws = precision.draws(np.concatenate([np.ones((1, pictures), dtype=int), counts]))
    for name, value in precision.values.items():
        assert draws[name][0] == pytest.approx(value)
    for at, row in enumerate(counts, start=1):
        rows = np.repeat(np.arange(pictures), row)
        of_drawn = coco_precision(*([column[picture] for picture in rows] for column in found))
        for name in precision.values:
            assert draws[name][at] == pytest.approx(of_drawn.values[name] if of_drawn else 0.0)


def test_by_hand():
    """Two true boxes; the surest found box is wrong, the second right, the other true box is missed."""
    boxes, truth = [[[50, 50, 60, 60], [0, 0, 10, 10]]], [[[0, 0, 10, 10], [20, 20, 40, 40]]]
    found = coco_precision(boxes, [["a", "a"]], [[0.9, 0.5]], truth, [["a", "a"]])
    # precision 1/2 up to recall 1/2: 51 of the 101 recalls
    assert found.values == pytest.approx(dict.fromkeys(("map", "map_50", "map_75"), 0.5 * 51 / 101))
    assert coco_precision(boxes, [["a", "a"]], [[0.5, 0.9]], truth, [["A ", "a"]]).values[
        "map"
    ] == pytest.approx(51 / 101)


def test_perfect_boxes_of_each_threshold():
    """IoU 0.81 with the only true box: right at 0.5 to 0.8, which are 7 of 10 thresholds."""
    found = coco_precision([[[0, 0, 9, 9]]], [["a"]], [[0.1]], [[[0, 0, 10, 10]]], [["a"]])
    assert found.values == pytest.approx({"map": 0.7, "map_50": 1.0, "map_75": 1.0})


def test_without_true_boxes_there_is_none():
    assert coco_precision([[[0, 0, 1, 1]]], [["a"]], [[0.5]], [[]], [[]]) is None


def test_without_found_boxes_it_is_0():
    found = coco_precision([[], []], [[], []], [[], []], [[[0, 0, 9, 9]], []], [["a"], []])
    assert found.values == {"map": 0.0, "map_50": 0.0, "map_75": 0.0}
    np.testing.assert_array_equal(found.draws(np.array([[1, 1], [0, 2]]))["map"], [0.0, 0.0])


def test_chunks_do_not_change_the_draws(monkeypatch):
    found = coco_precision(*scenes(np.random.default_rng(3), 12))
    counts = np.random.default_rng(0).integers(0, 3, (40, 12))
    whole = found.draws(counts)
    monkeypatch.setattr(coco_map, "CHUNK_BYTES", 300)
    for name, draws in found.draws(counts).items():
        np.testing.assert_array_equal(draws, whole[name])


def test_nothing_is_printed(capsys):
    coco_precision(*scenes(np.random.default_rng(0), 3))
    assert capsys.readouterr().out == ""


def test_without_pycocotools(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.coco", None)
    with pytest.raises(ConfigError, match=r"edge-glass\[detection\]"):
        coco_precision(*scenes(np.random.default_rng(0), 3))
