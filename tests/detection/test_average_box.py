"""The guess without a picture."""

from __future__ import annotations

import numpy as np

from edge_glass.detection.measure.baselines import average_box


def test_the_median_of_the_shares_and_the_most_frequent_label():
    boxes = [np.array([[0, 0, 50, 20]]), np.array([[10, 0, 20, 10], [20, 10, 40, 40]]), np.zeros((0, 4))]
    labels = [["cat"], ["dog", "cat"], []]
    middle, label = average_box(boxes, labels, [(100, 20), (40, 40), (7, 9)])
    assert label == "cat"
    assert np.allclose(middle, [0.25, 0.0, 0.5, 1.0])


def test_without_boxes_the_whole_picture():
    middle, label = average_box([np.zeros((0, 4))], [[]], [(5, 5)])
    assert middle.tolist() == [0, 0, 1, 1] and label == ""
