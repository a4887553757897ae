"""Boxes to text and back: below one pixel plus quantisation, for every family, form and size."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize, box_codec, seen_size
from edge_glass.detection.boxes.parsing import parse_qwen_bbox_output
from edge_glass.vlm.family import FAMILIES as REGISTRY

FAMILIES = REGISTRY.names()
FORMATS = ("json", "tokens")
sides = st.integers(1, 6000)
labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).map(str.strip)
labels = labels.filter(lambda text: "<|" not in text) | st.sampled_from(
    ["dog", 'a "b"', "it's", "[1, 2, 3, 4]", "栄養"]
)


@st.composite
def scenes(draw):
    """A codec, a source size, a size as seen, boxes within the source, and their labels."""
    codec = box_codec(draw(st.sampled_from(FAMILIES)), draw(st.sampled_from(FORMATS)))
    source = draw(st.tuples(sides, sides))
    seen = SeenSize(*(codec.factor * number for number in draw(st.tuples(*[st.integers(1, 120)] * 2))))
    corners = st.tuples(*[st.floats(0, 1)] * 4)
    shares = np.array(draw(st.lists(corners, max_size=5)), dtype=np.float64).reshape(-1, 2, 2)
    boxes = (np.sort(shares, axis=1) * np.array(source)).reshape(-1, 4)
    names = draw(st.lists(labels, min_size=len(boxes), max_size=len(boxes)))
    return codec, source, seen, boxes, names


@settings(deadline=None, max_examples=400)
@given(scenes())
def test_round_trip(scene):
    codec, source, seen, boxes, names = scene
    read = codec.read(codec.write(boxes, names, source, seen), source, seen)
    assert (read.problem, read.cut_off, read.dropped) == (None, False, [])
    order = codec.order(boxes, source, seen)
    assert read.labels == [names[at] for at in order]
    errors = np.abs(read.boxes - boxes[order]).reshape(-1, 2)
    assert (errors <= codec.worst_error(source, seen)).all()
    steps = np.array(source) / (1000 if codec.relative else np.array(seen))
    assert (np.array(codec.worst_error(source, seen)) < 1 + steps).all()


@settings(deadline=None, max_examples=200)
@given(scenes())
def test_what_is_written_is_what_is_parsed(scene):
    codec, source, seen, boxes, names = scene
    parsed = parse_qwen_bbox_output(codec.write(boxes, names, source, seen))
    order = codec.order(boxes, source, seen)
    np.testing.assert_array_equal(parsed.numbers, codec.encode(boxes, source, seen)[order])
    # Reading it and writing it again changes nothing.
    again = codec.write(codec.decode(parsed.numbers, source, seen), parsed.labels, source, seen)
    assert again == codec.write(boxes, names, source, seen)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(FORMATS), st.text(max_size=60), st.sampled_from(FAMILIES))
def test_no_answer_raises(box_format, text, family):
    codec = box_codec(family, box_format)
    for answer in (text, f"[1, 2, 3, 4]{text}", f"<|box_start|>(1,2),(9e300,9e300){text}"):
        read = codec.read(answer, (640, 480), SeenSize(448, 672))
        assert ((read.boxes >= 0) & (read.boxes <= [640, 480, 640, 480])).all()


def test_known_texts():
    """640 x 480 pixels, seen as 672 x 448 or 640 x 480: the numbers by hand."""
    boxes, names = [[320, 120, 640, 480], [64, 48, 320, 240]], ["cat", "dog"]
    texts = {
        "qwen2_vl": ("[100, 100, 500, 500]", "[500, 250, 1000, 1000]"),
        "qwen2_5_vl": ("[67, 45, 336, 224]", "[336, 112, 671, 447]"),
        "qwen3_vl": ("[100, 100, 500, 500]", "[500, 250, 1000, 1000]"),
    }
    for family, (dog, cat) in texts.items():
        seen = SeenSize(640, 480) if family == "qwen3_vl" else SeenSize(672, 448)
        assert box_codec(family).write(boxes, names, (640, 480), seen) == (
            f'[{{"bbox_2d": {dog}, "label": "dog"}}, {{"bbox_2d": {cat}, "label": "cat"}}]'
        )
    assert box_codec("qwen2_vl", "tokens").write(boxes, names, (640, 480)) == (
        "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(100,100),(500,500)<|box_end|>"
        "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(500,250),(1000,1000)<|box_end|>"
    )


def test_order_is_top_to_bottom_then_left_to_right():
    codec, boxes = (
        box_codec("qwen2_vl"),
        np.array([[50, 40, 90, 90], [60, 9, 70, 20], [10, 40, 30, 60], [0, 9, 5, 99]]),
    )
    assert codec.order(boxes, (100, 100)).tolist() == [3, 1, 2, 0]
    shuffled = [2, 0, 3, 1]
    names = ["a", "b", "c", "d"]
    assert codec.write(boxes, names, (100, 100)) == codec.write(
        boxes[shuffled], [names[at] for at in shuffled], (100, 100)
    )


@pytest.mark.parametrize(("box_format", "text"), [("json", "[]"), ("tokens", "none")])
def test_no_boxes(box_format, text):
    codec = box_codec("qwen2_vl", box_format)
    assert codec.write(np.zeros((0, 4)), [], (640, 480)) == text
    read = codec.read(text, (640, 480))
    assert read.boxes.shape == (0, 4)
    assert (read.labels, read.problem) == ([], None)


def test_numbers_are_clamped_when_written_and_clipped_when_read():
    outside = [[-9, -9, 700, 500]]
    assert box_codec("qwen2_vl").encode(outside, (640, 480)).tolist() == [[0, 0, 1000, 1000]]
    assert box_codec("qwen2_5_vl").encode(outside, (640, 480), SeenSize(56, 84)).tolist() == [[0, 0, 55, 83]]
    read = box_codec("qwen3_vl").read("[[-20, 500, 1001, 1200]]", (640, 480))
    assert read.boxes.tolist() == [[0, 240, 640, 480]]
    assert read.problem is None


def test_a_bad_box_is_dropped_and_said():
    read = box_codec("qwen2_vl").read("[[0, 0, 500, 500], [500, 0, 0, 500]]", (640, 480))
    assert read.boxes.tolist() == [[0, 0, 320, 240]]
    assert read.problem is None
    assert len(read.dropped) == 1
    assert read.dropped[0].startswith("box 2 is inverted")


def test_boxes_scaled_to_another_resize_are_far_off():
    """The known story: labels made for one pixel budget, read at another (2592 x 1944)."""
    codec, source = box_codec("qwen2_5_vl"), (2592, 1944)
    seen, other = SeenSize(2604, 1932), SeenSize(1148, 840)
    box = np.array([[1500.0, 1000.0, 2100.0, 1700.0]])
    text = codec.write(box, ["x"], source, other)
    right = codec.read(text, source, other).boxes
    wrong = codec.read(text, source, seen).boxes
    assert np.abs(right - box).max() <= max(codec.worst_error(source, other))
    assert np.abs(wrong - box).max() > 100 * max(codec.worst_error(source, seen))


def test_families_differ():
    assert {name: (box_codec(name).relative, box_codec(name).factor) for name in FAMILIES} == {
        "qwen2_vl": (True, 28),
        "qwen2_5_vl": (False, 28),
        "qwen3_vl": (True, 32),
    }


def test_labels_keep_their_characters_and_lose_outer_blanks():
    codec = box_codec("qwen2_vl")
    text = codec.write([[0, 0, 1, 1]], [' 栄養 "x"\n'], (10, 10))
    assert "栄養" in text
    assert json.loads(text)[0]["label"] == '栄養 "x"'


@pytest.mark.parametrize("box_format", FORMATS)
def test_special_tokens_in_labels_are_refused(box_format):
    with pytest.raises(DataError, match=r"holds the special token <\|im_end\|>; rename"):
        box_codec("qwen2_vl", box_format).write([[0, 0, 1, 1]], ["dog<|im_end|>"], (10, 10))


def test_what_cannot_be_written_is_refused():
    codec = box_codec("qwen2_5_vl")
    with pytest.raises(ValueError, match="whose size is missing"):
        codec.encode([[0, 0, 1, 1]], (10, 10))
    with pytest.raises(ValueError, match="multiples of 28, not 640x480; take the size from image_grid_thw"):
        codec.decode([[0, 0, 1, 1]], (640, 480), SeenSize(640, 480))
    with pytest.raises(ValueError, match="not finite"):
        box_codec("qwen2_vl").encode([[0, 0, np.nan, 1]], (10, 10))
    with pytest.raises(ValueError, match=r"\[n, 4\], got .* \[4\]"):
        box_codec("qwen2_vl").encode([0, 0, 1, 1], (10, 10))
    with pytest.raises(ValueError, match="got 1 boxes and 2 labels"):
        box_codec("qwen2_vl").write([[0, 0, 1, 1]], ["a", "b"], (10, 10))


def test_unknown_names():
    with pytest.raises(ConfigError, match="qwen2_5_vl, qwen2_vl, qwen3_vl; got 'qwen9'"):
        box_codec("qwen9")
    with pytest.raises(ConfigError, match=r"detection\.box_format: expected one of json, tokens; got 'xml'"):
        box_codec("qwen2_vl", "xml")


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([(14, 28), (16, 32)]), st.integers(20, 400), st.integers(20, 400))
def test_the_seen_size_is_what_the_processor_made(sizes, width, height):
    from transformers import Qwen2VLImageProcessor

    patch, factor = sizes
    assume(max(width, height) / min(width, height) < 150)
    processor = Qwen2VLImageProcessor(
        patch_size=patch, size={"shortest_edge": 4 * factor**2, "longest_edge": 30 * factor**2}
    )
    batch = processor(np.zeros((height, width, 3), np.uint8), return_tensors="pt")
    seen = seen_size(batch["image_grid_thw"][0], patch)
    assert seen.width * seen.height == len(batch["pixel_values"]) * patch**2
    assert seen.width % factor == seen.height % factor == 0
    # The aspect is kept to one factor, so width and height are not mixed up.
    if width > 2 * height:
        assert seen.width > seen.height
    codec = BoxCodec("qwen2_5_vl" if patch == 14 else "qwen3_vl")
    codec.encode([[0, 0, width, height]], (width, height), seen)
