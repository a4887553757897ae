"""What a batch teaches is read back and compared with its rows' boxes: the faults that raise no error."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from box_rows import box_example, box_row, box_rows
from edge_glass.core.errors import DataError
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize, box_codec
from edge_glass.detection.collators import (
    Qwen2VLCollatorV1,
    Qwen2VLCollatorV2,
    Qwen2VLCollatorV3,
    check_detection_labels,
    planned_size,
)
from edge_glass.vlm.family import build_processor

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
COLLATORS = (Qwen2VLCollatorV1, Qwen2VLCollatorV2, Qwen2VLCollatorV3)

processor_of = functools.cache(functools.partial(build_processor, min_pixels=4 * 784, max_pixels=64 * 784))


class SwappedCodec(BoxCodec):
    """Writes y before x, as a data set's own order does."""

    def encode(self, boxes: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        return super().encode(boxes, source, seen)[:, [1, 0, 3, 2]]


def made(family: str = "qwen2_vl", mask: str = "assistant_only") -> tuple[Any, ...]:
    """What `check_detection_labels` takes; a batch that is right."""
    processor, codec = processor_of(family), box_codec(family)
    rows = box_rows(codec, functools.partial(planned_size, processor))
    return Qwen2VLCollatorV2(processor, codec, mask)(rows), processor, rows, codec, mask


def refused(
    message: str, batch: dict[str, Any], processor: Any, rows: Any, codec: BoxCodec, mask: str
) -> None:
    with pytest.raises(DataError, match=message):
        check_detection_labels(batch, processor, rows, codec, mask)


@pytest.mark.parametrize("mask", ["assistant_only", "all_tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_right_batches_pass(family: str, mask: str) -> None:
    check_detection_labels(*made(family, mask))


@pytest.mark.parametrize("collator", COLLATORS)
@pytest.mark.parametrize("family", FAMILIES)
def test_boxes_in_another_order_are_caught_by_every_collator(family: str, collator: Any) -> None:
    processor = processor_of(family)
    rows = box_rows(SwappedCodec(family), functools.partial(planned_size, processor))
    with pytest.raises(DataError, match=r"row row-0: its answer says .* once x and y are swapped"):
        collator(processor, box_codec(family))(rows)


@pytest.mark.parametrize("collator", COLLATORS)
def test_boxes_scaled_to_another_resize_are_caught_by_every_collator(collator: Any) -> None:
    """Labels made under another pixel budget than the model's: their boxes lie elsewhere."""
    processor, other = processor_of("qwen2_5_vl"), build_processor("qwen2_5_vl", 16 * 784, 2048 * 784)
    codec = box_codec("qwen2_5_vl")
    rows = box_rows(codec, functools.partial(planned_size, other), sizes=[(60, 50), (112, 84)])
    with pytest.raises(
        DataError, match=r"row row-0: .* written for another size than the 56×56 the model sees"
    ):
        collator(processor, codec)(rows)
    rows = box_rows(codec, lambda width, height: SeenSize(280, 196), sizes=[(280, 196), (400, 300)])
    with pytest.raises(DataError, match=r"row row-1: .* another size than the 252×168 the model sees"):
        collator(processor, codec)(
            [box_row(box_example(0, (112, 84)), codec, lambda *_: SeenSize(112, 84)), rows[1]]
        )


def test_boxes_of_another_family_are_caught() -> None:
    batch, processor, rows, _, mask = made("qwen2_5_vl")
    refused("row row-0: its answer says", batch, processor, rows, box_codec("qwen2_vl"), mask)


def test_a_prompt_that_is_trained_is_caught() -> None:
    batch, processor, rows, codec, _ = made(mask="all_tokens")
    refused("row row-0 trains 19 tokens before its answer", batch, processor, rows, codec, "assistant_only")
    batch, processor, rows, codec, mask = made()
    start = int((batch["labels"][2] != -100).nonzero()[0, 0])
    batch["labels"][2, start - 1] = batch["input_ids"][2, start - 1]
    refused("row row-2 trains 1 tokens before its answer", batch, processor, rows, codec, mask)


@pytest.mark.parametrize("mask", ["assistant_only", "all_tokens"])
def test_a_row_that_is_cut_is_caught(mask: str) -> None:
    batch, processor, rows, codec, _ = made(mask=mask)
    words = ("input_ids", "attention_mask", "labels")
    length = int(batch["attention_mask"].sum(dim=1).max())
    shorter = {name: batch[name][:, : length - 3] for name in words}
    refused("row row-2: its answer is cut", batch | shorter, processor, rows, codec, mask)
    shorter = {name: batch[name][:, :12] for name in words}
    if mask == "all_tokens":
        refused(
            r"row row-0 has \d+ of its picture's 12 tokens", batch | shorter, processor, rows, codec, mask
        )
    else:
        refused("row row-0 has nothing to learn", batch | shorter, processor, rows, codec, mask)


def change_label(batch: dict[str, Any], processor: Any, what: str) -> None:
    """Spoil the labels of row 1."""
    ids, labels = batch["input_ids"][1], batch["labels"][1]
    trained = (labels != -100).nonzero()[:, 0]
    match what:
        case "nothing":
            labels[:] = -100
        case "padding":
            labels[-1] = ids[-1]
            assert batch["attention_mask"][1, -1] == 0
        case "picture":
            at = int((ids == processor.image_token_id).nonzero()[0, 0])
            labels[at] = ids[at]
        case "marker":
            at = int((ids == processor.tokenizer.convert_tokens_to_ids("<|vision_start|>")).nonzero()[0, 0])
            labels[at] = ids[at]
        case "end":
            labels[trained[-1]] = -100
        case "hole":
            labels[trained[5]] = -100
        case "shifted":
            labels[:-1] = labels[1:].clone()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", "row row-1 has nothing to learn"),
        ("padding", "row row-1 has labels on padding"),
        ("picture", "row row-1 has labels on the picture's tokens or markers"),
        ("marker", "row row-1 has labels on the picture's tokens or markers"),
        ("end", "row row-1: the token that ends its answer has no label"),
        ("hole", "row row-1: a part of its answer has no label"),
        ("shifted", "row row-1 has labels that are not the ids of their tokens"),
    ],
)
def test_labels_in_wrong_places_are_caught(what: str, message: str) -> None:
    batch, processor, rows, codec, mask = made()
    change_label(batch, processor, what)
    refused(message, batch, processor, rows, codec, mask)


def test_answers_of_other_rows_are_caught() -> None:
    batch, processor, rows, codec, mask = made()
    other = [box_row(box_example(number + 10, (112, 84), 1), codec) for number in range(2)]
    pair = Qwen2VLCollatorV2(processor, codec)(other)
    refused("row row-11: its answer says", pair, processor, other[::-1], codec, mask)
    refused("3 rows, but 4 rows of labels", batch, processor, rows[:3], codec, mask)


def test_a_box_too_few_and_another_name_are_caught() -> None:
    batch, processor, rows, codec, mask = made()
    less = rows[1] | {"boxes": rows[1]["boxes"][:1], "labels": rows[1]["labels"][:1]}
    refused("row row-1: its answer names", batch, processor, [rows[0], less, *rows[2:]], codec, mask)
    renamed = rows[1] | {"labels": ["cat", "dog"]}
    refused("row row-1: its answer names", batch, processor, [rows[0], renamed, *rows[2:]], codec, mask)


def test_boxes_with_exchanged_names_are_caught() -> None:
    batch, processor, rows, codec, mask = made()
    renamed = rows[1] | {"labels": rows[1]["labels"][::-1]}
    refused("row row-1: its answer says", batch, processor, [rows[0], renamed, *rows[2:]], codec, mask)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    family=st.sampled_from(FAMILIES),
    box_format=st.sampled_from(["json", "tokens"]),
    size=st.tuples(st.integers(20, 400), st.integers(20, 400)),
    corners=st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=5),
    labels=st.lists(
        st.sampled_from(["cat", "nutrition-table", "a 'b' \"c\"", "größe, 50 %", "x1"]), min_size=5
    ),
    most=st.sampled_from([None, 180]),
)
def test_what_v3_makes_of_any_row_is_read_back(
    family: str, box_format: str, size: Any, corners: Any, labels: Any, most: int | None
) -> None:
    """The check within the collator finds no fault with any row that can be written."""
    processor, codec = processor_of(family), box_codec(family, box_format)
    found = np.sort(np.array(corners, dtype=np.float64).reshape(-1, 2, 2), axis=1)
    found[:, 1] = np.maximum(found[:, 1], found[:, 0] + 1e-3)
    boxes = found.reshape(-1, 4) * [*size, *size]
    example = box_example(0, size, 0) | {"boxes": boxes, "labels": labels[: len(boxes)]}
    row = box_row(example, codec, functools.partial(planned_size, processor))
    try:
        batch = Qwen2VLCollatorV3(processor, codec, max_tokens=most)([row])
    except DataError as error:
        assert most is not None and ("words alone" in str(error) or "be shrunk" in str(error))
        return
    assert most is None or batch["input_ids"].shape[1] <= most
    assert torch.equal(batch["labels"] != -100, batch["labels"] == batch["input_ids"])
