from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_glass.detection.boxes.spec import BoxSpec, as_boxes, box_problem, clip_boxes, swap_axes

SIDES = st.integers(1, 6000)
SHARES = st.floats(-0.5, 1.5, allow_nan=False)
BOXES = st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), min_size=0, max_size=5)

# One box in a picture of 200 x 100: x 20 to 80, y 10 to 60.
WRITTEN = {
    "yxyx_relative": (0.1, 0.1, 0.6, 0.4),
    "xyxy_relative": (0.1, 0.1, 0.4, 0.6),
    "xyxy": (20, 10, 80, 60),
    "xywh": (20, 10, 60, 50),
    "xywh_relative": (0.1, 0.1, 0.3, 0.5),
    "cxcywh_relative": (0.25, 0.35, 0.3, 0.5),
}


@pytest.mark.parametrize("spec", list(BoxSpec))
def test_every_spec_means_what_it_says(spec: BoxSpec) -> None:
    assert set(WRITTEN) == {one.value for one in BoxSpec}
    pixels = spec.to_pixels([WRITTEN[spec]], 200, 100)
    assert pixels.dtype == np.float64
    np.testing.assert_allclose(pixels, [[20, 10, 80, 60]], atol=1e-12)
    np.testing.assert_allclose(spec.from_pixels([[20, 10, 80, 60]], 200, 100), [WRITTEN[spec]], atol=1e-12)


@given(spec=st.sampled_from(BoxSpec), shares=BOXES, width=SIDES, height=SIDES)
def test_to_pixels_undoes_from_pixels(spec: BoxSpec, shares: list, width: int, height: int) -> None:
    boxes = as_boxes(shares) * [width, height, width, height]
    back = spec.to_pixels(spec.from_pixels(boxes, width, height), width, height)
    assert back.shape == boxes.shape
    np.testing.assert_allclose(back, boxes, rtol=0, atol=1e-9 * max(width, height))


@given(spec=st.sampled_from(BoxSpec), raw=BOXES, width=SIDES, height=SIDES)
def test_from_pixels_undoes_to_pixels(spec: BoxSpec, raw: list, width: int, height: int) -> None:
    numbers = as_boxes(raw)
    back = spec.from_pixels(spec.to_pixels(numbers, width, height), width, height)
    np.testing.assert_allclose(back, numbers, rtol=0, atol=1e-9)


@given(shares=BOXES, width=SIDES, height=SIDES)
def test_float32_costs_less_than_a_hundredth_of_a_pixel(shares: list, width: int, height: int) -> None:
    spec, boxes = BoxSpec.YXYX_RELATIVE, as_boxes(shares) * [width, height, width, height]
    stored = spec.from_pixels(boxes, width, height).astype(np.float32)
    np.testing.assert_allclose(spec.to_pixels(stored, width, height), boxes, rtol=0, atol=0.01)


def test_the_worked_example_of_the_wrong_order() -> None:
    """Read in the wrong order a box lands elsewhere; `swap_axes` is that other reading."""
    raw, width, height = [(0.1, 0.2, 0.5, 0.9)], 400, 200
    wrong = BoxSpec.XYXY_RELATIVE.to_pixels(raw, width, height)
    right = BoxSpec.YXYX_RELATIVE.to_pixels(raw, width, height)
    assert not np.allclose(wrong, right)
    np.testing.assert_allclose(swap_axes(wrong, width, height, relative=True), right)
    np.testing.assert_allclose(swap_axes(right, width, height, relative=True), wrong)
    np.testing.assert_allclose(swap_axes([[1, 2, 3, 4]], width, height, relative=False), [[2, 1, 4, 3]])


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 4)), np.zeros((4, 0)), ()])
def test_no_boxes(nothing: object) -> None:
    assert BoxSpec.XYWH.to_pixels(nothing, 3, 3).shape == (0, 4)
    assert clip_boxes(nothing, 3, 3).shape == (0, 4)


@pytest.mark.parametrize("bad", [[1, 2, 3, 4], [[1, 2, 3]], [[1, 2, 3, 4, 5]], [[[1, 2, 3, 4]]]])
def test_other_than_four_numbers_a_box_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="four numbers"):
        BoxSpec.XYXY.to_pixels(bad, 10, 10)


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((math.nan, 0, 5, 5), "four finite numbers"),
        ((0, 0, math.inf, 5), "four finite numbers"),
        ((50, 10, 20, 40), "inverted"),
        ((20, 40, 50, 10), "inverted"),
        ((20, 10, 20, 40), "no area"),
        ((20, 10, 40, 10), "no area"),
        ((-10, 10, 40, 40), "outside of its picture of 640x480"),
        ((600, 10, 700, 40), "outside"),
        ((700, 10, 800, 40), "outside"),
        ((10, 10, 20, 490), "outside"),
        ((-3, 10, 0, 40), "outside"),  # within what is allowed, but nothing of it is left
    ],
)
def test_boxes_that_cannot_be_right_say_why(box: tuple, says: str) -> None:
    problem = box_problem(box, 640, 480)
    assert problem is not None and says in problem and problem.startswith("the box (")


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (0.5, 0.5, 0.6, 0.6), (-6.4, -4.8, 646.4, 484.8)])
def test_boxes_that_are_right_or_overshoot_a_little(box: tuple) -> None:
    assert box_problem(box, 640, 480) is None
    left, top, right, bottom = clip_boxes([box], 640, 480)[0]
    assert 0 <= left < right <= 640 and 0 <= top < bottom <= 480


def test_a_pixel_too_far_is_allowed_in_small_pictures() -> None:
    assert box_problem((-1, -1, 21, 11), 20, 10) is None
    assert box_problem((-1.01, 0, 5, 5), 20, 10) is not None


@given(shares=st.tuples(SHARES, SHARES, SHARES, SHARES), width=SIDES, height=SIDES)
def test_a_usable_box_lies_in_its_picture_once_clipped(shares: tuple, width: int, height: int) -> None:
    box = np.array(shares) * [width, height, width, height]
    clipped = clip_boxes([box], width, height)[0]
    if box_problem(box, width, height) is None:
        assert clipped[0] < clipped[2] and clipped[1] < clipped[3]
        assert np.abs(clipped - box).max() <= max(1.0, 0.01 * max(width, height)) + 1e-9
    assert (clipped >= 0).all() and (clipped <= [width, height, width, height]).all()
