"""The log-probability of a box is that of the tokens it is written with."""

from __future__ import annotations

import numpy as np

from edge_glass.detection.boxes.parsing import parse_qwen_bbox_output
from edge_glass.detection.boxes.scores import box_log_probs


def test_each_box_has_the_mean_of_its_own_tokens():
    pieces = ["[{", '"bbox_2d": [', "1", "0, 2", "0, 30, 40]", ', "label": "a 7"}, ', '{"bbox_2d": [']
    pieces += ["5, 6, 7, 8", '], "label": "b"}]']
    probs = [-9.0, -9.0, -1.0, -2.0, -3.0, -9.0, -9.0, -0.5, -9.0]
    found = parse_qwen_bbox_output("".join(pieces))
    assert found.numbers.tolist() == [[10, 20, 30, 40], [5, 6, 7, 8]]
    means = box_log_probs(pieces, probs, found.spans)
    # Brackets belong to a box, and with them the tokens that hold them.
    assert np.allclose(means, [np.mean([-9, -1, -2, -3]), np.mean([-9, -0.5, -9])])


def test_exact_spans():
    means = box_log_probs(["a", "bc", "d", "e"], [-1.0, -2.0, -4.0, -8.0], [(1, 4), (4, 5), (0, 2)])
    assert means.tolist() == [-3.0, -8.0, -1.5]


def test_a_span_without_tokens_has_the_mean_of_all():
    assert box_log_probs(["a", "b"], [-1.0, -3.0], [(2, 2)]).tolist() == [-2.0]
    assert box_log_probs([], [], []).tolist() == []
