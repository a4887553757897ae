"""IoU and matching of boxes: by hand, and against naive ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.core.boxes import calculate_iou, iou_matrix, match_boxes, plain_label

coordinates = st.integers(0, 12)
some_boxes = st.lists(st.tuples(*[coordinates] * 4), max_size=4)
names = st.sampled_from(["dog", "Dog", "cat"])


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 50 / 150),
        ([0, 0, 10, 10], [2, 3, 6, 8], 20 / 100),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),
        ([0, 0, 10, 10], [20, 20, 30, 30], 0.0),
        ([0.5, 0, 1, 1], [0, 0, 1, 1], 0.5),
        ([3, 3, 3, 9], [3, 3, 3, 9], 0.0),
        ([0, 0, 10, 10], [3, 3, 3, 9], 0.0),
        ([9, 9, 1, 1], [1, 1, 9, 9], 0.0),
        ([9, 9, 1, 1], [9, 9, 1, 1], 0.0),
    ],
)
def test_iou_by_hand(first, second, iou):
    assert calculate_iou(first, second) == pytest.approx(iou)
    assert calculate_iou(second, first) == pytest.approx(iou)


def test_box_order_hides_in_large_boxes():
    """The known story: a box of a nearly square picture read as y, x, y, x is still at IoU 0.96."""
    box = [40, 60, 1950, 1970]
    assert calculate_iou(box, [box[1], box[0], box[3], box[2]]) > 0.95
    assert calculate_iou([100, 900, 300, 1200], [900, 100, 1200, 300]) == 0.0


@settings(deadline=None)
@given(some_boxes, some_boxes)
def test_iou_of_whole_numbers_counts_pixels(first, second):
    def pixels(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    found = iou_matrix(first, second)
    assert found.shape == (len(first), len(second))
    for row, a in enumerate(first):
        for column, b in enumerate(second):
            shared, all_of_them = pixels(a) & pixels(b), pixels(a) | pixels(b)
            assert found[row, column] == pytest.approx(len(shared) / max(len(all_of_them), 1))


@settings(deadline=None, max_examples=200)
@given(some_boxes, some_boxes, st.data(), st.sampled_from([0.0, 0.3, 0.5]))
def test_matching_against_all_ways_to_match(boxes, true_boxes, data, threshold):
    labels = data.draw(st.lists(names, min_size=len(boxes), max_size=len(boxes)))
    true_labels = data.draw(st.lists(names, min_size=len(true_boxes), max_size=len(true_boxes)))
    found = match_boxes(boxes, labels, true_boxes, true_labels, threshold)
    assert len(set(found.found)) == len(set(found.true)) == len(found.iou)
    iou = iou_matrix(boxes, true_boxes)
    for row, column, value in zip(*found, strict=True):
        assert value == iou[row, column] >= max(threshold, 1e-12)
        assert labels[row].lower() == true_labels[column].lower()
    # None stands for "no true box": every way to give each found box a true one or none.
    places = [*range(len(true_boxes)), *[None] * len(boxes)]
    best = (0.0, 0.0)
    for way in set(permutations(places, len(boxes))):
        pairs = [
            iou[row, column]
            for row, column in enumerate(way)
            if column is not None
            and labels[row].lower() == true_labels[column].lower()
            and iou[row, column] >= max(threshold, 1e-12)
        ]
        best = max(best, (len(pairs) if threshold else 0.0, sum(pairs)))
    assert (len(found.iou) if threshold else 0.0, found.iou.sum()) == pytest.approx(best)


def test_a_threshold_prefers_more_pairs_to_more_iou():
    """Found A fits true 1 perfectly and true 2 a little; found B fits only true 1, by half."""
    found, true = [[0, 0, 10, 10], [0, 0, 10, 5.5]], [[0, 0, 10, 10], [0, 5, 10, 15.5]]
    both = ["x", "x"]
    assert match_boxes(found, both, true, both, 0.3).true.tolist() == [1, 0]
    assert match_boxes(found, both, true, both, 0.55).true.tolist() == [0]
    assert match_boxes(found, both, true, both).iou.sum() == pytest.approx(1.0 + 5 / 155)


def test_labels_are_compared_without_case_and_blanks():
    assert plain_label("  Nutrition\n TABLE ") == plain_label("nutrition table")
    box = [[0, 0, 1, 1]]
    assert len(match_boxes(box, ["STRASSE"], box, ["Straße"]).iou) == 1
    assert len(match_boxes(box, [""], box, ["dog"]).iou) == 0


def test_nothing_matches_nothing():
    for boxes, true in (([], []), ([[0, 0, 1, 1]], []), ([], [[0, 0, 1, 1]])):
        found = match_boxes(boxes, ["a"] * len(boxes), true, ["a"] * len(true), 0.5)
        assert len(found.iou) == 0
    assert iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_what_is_no_box_is_refused():
    with pytest.raises(ValueError, match=r"\[n, 4\], got .* \[1, 3\]"):
        calculate_iou([0, 0, 1], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="not finite"):
        calculate_iou([0, 0, float("nan"), 1], [0, 0, 1, 1])
    with pytest.raises(ValueError, match="1 and 2 labels"):
        match_boxes([[0, 0, 1, 1]], ["a"], [[0, 0, 1, 1]], ["a", "b"])
