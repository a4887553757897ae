"""Examples as conversations, without their pictures and with them."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest
from PIL import Image

from box_rows import PROMPT, box_example, box_row
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.boxes.codec import SeenSize, box_codec
from edge_glass.detection.data.conversations import (
    _has_image,
    convert_to_conversation_format,
    keep_with_images,
    restore_images_in_conversations,
)

RELATIVE = box_codec("qwen2_vl")
ABSOLUTE = box_codec("qwen2_5_vl")


def test_a_conversation_has_the_question_with_a_place_for_the_picture_and_the_answer() -> None:
    example = box_example(1, (200, 100), 1)
    example["boxes"] = np.array([[20.0, 10.0, 100.0, 50.0]])
    row = convert_to_conversation_format(example, RELATIVE, prompt=PROMPT, system_prompt="You find things.")
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][0]["content"] == [{"type": "text", "text": "You find things."}]
    assert row["messages"][1]["content"] == [{"type": "image"}, {"type": "text", "text": PROMPT}]
    answer = json.loads(row["messages"][2]["content"][0]["text"])
    assert answer == [{"bbox_2d": [100, 100, 500, 500], "label": "cat"}]
    assert (row["id"], row["labels"], row["width"], row["height"]) == ("row-1", ["cat"], 200, 100)
    assert row["boxes"].dtype == np.float64
    assert "image" not in row and "images" not in row
    json.dumps(row["messages"])  # it can be stored


def test_a_prompt_has_no_answer_and_no_system_turn_is_invented() -> None:
    row = convert_to_conversation_format(box_example(1, (200, 100)), RELATIVE, prompt=PROMPT, answer=False)
    assert [turn["role"] for turn in row["messages"]] == ["user"]


def test_box_tokens_are_written_where_they_are_asked_for() -> None:
    row = convert_to_conversation_format(box_example(1, (200, 100)), box_codec("qwen2_vl", "tokens"))
    assert "<|box_start|>(" in row["messages"][-1]["content"][0]["text"]


def test_pixels_of_the_seen_picture_need_its_size() -> None:
    example = box_example(1, (200, 100), 1)
    example["boxes"] = np.array([[20.0, 10.0, 100.0, 50.0]])
    with pytest.raises(ConfigError, match=r"qwen2_5_vl writes boxes as pixels of the picture it sees"):
        convert_to_conversation_format(example, ABSOLUTE)
    convert_to_conversation_format(example, ABSOLUTE, answer=False)  # nothing is written
    row = convert_to_conversation_format(example, ABSOLUTE, SeenSize(112, 56))
    answer = json.loads(row["messages"][-1]["content"][0]["text"])
    assert answer == [{"bbox_2d": [11, 6, 56, 28], "label": "cat"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["cat"]}, "row row-1: 2 boxes but 1 labels"),
        ({"labels": ["cat", "<|im_end|>"]}, "the label holds '<|im_end|>'"),
        ({"boxes": [[10.0, 10.0, 5.0, 20.0], [1.0, 1.0, 9.0, 9.0]]}, "row row-1: .* is inverted"),
        ({"boxes": [[10.0, 10.0, np.nan, 20.0], [1.0, 1.0, 9.0, 9.0]]}, "row row-1: .* finite"),
        ({"boxes": [[10.0, 10.0, 90.0, 190.0], [1.0, 1.0, 9.0, 9.0]]}, "row row-1: .* outside"),
    ],
)
def test_what_cannot_be_taught_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    example = box_example(1, (200, 100)) | change
    with pytest.raises(DataError, match=message.replace("|", r"\|")):
        convert_to_conversation_format(example, RELATIVE)


def test_prompts_are_complete_texts() -> None:
    with pytest.raises(ConfigError, match=r"\{categories\}"):
        convert_to_conversation_format(box_example(1, (200, 100)), RELATIVE, prompt="Find {categories}.")
    with pytest.raises(DataError, match="the prompt holds"):
        convert_to_conversation_format(box_example(1, (200, 100)), RELATIVE, prompt="<|image_pad|> Find.")


def test_pictures_are_put_where_their_placeholders_stand() -> None:
    rows = [box_row(box_example(number, (40 + number, 30)), RELATIVE) for number in range(3)]
    restored = restore_images_in_conversations(
        [row["messages"] for row in rows], [row["images"] for row in rows]
    )
    for row, conversation in zip(rows, restored, strict=True):
        first, second = conversation[0]["content"]
        assert first == {"type": "image", "image": row["images"][0]}
        assert first["image"] is row["images"][0]
        assert second == {"type": "text", "text": PROMPT}
        assert row["messages"][0]["content"][0] == {"type": "image"}  # the stored one has not changed


def test_what_an_arrow_table_adds_is_taken_away() -> None:
    picture = Image.new("RGB", (8, 8))
    stored = [
        {
            "role": "user",
            "content": [
                {"type": "image", "text": None, "image": None},
                {"type": "text", "text": "Find.", "image": None},
            ],
        },
        {"role": "assistant", "content": "[]"},
    ]
    (restored,) = restore_images_in_conversations([stored], [picture])
    assert restored == [
        {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "Find."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "[]"}]},
    ]
    assert "None" not in str([part for turn in restored for part in turn["content"] if "text" in part])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "1 conversations but pictures for 0"),
        ([[]], "has 1 places for pictures but 0 pictures"),
        ([[Image.new("RGB", (8, 8))] * 2], "1 places for pictures but 2"),
        ([None], "its picture is None, not a PIL picture"),
        (["None"], "its picture is 'None'"),
    ],
)
def test_every_placeholder_gets_one_picture(images: list[Any], message: str) -> None:
    row = box_row(box_example(0, (40, 30)), RELATIVE)
    with pytest.raises(DataError, match=message):
        restore_images_in_conversations([row["messages"]], images)


def test_a_part_that_is_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="neither text nor picture"):
        restore_images_in_conversations(
            [[{"role": "user", "content": [{"type": "text", "text": None}]}]], [[]]
        )


def test_rows_without_a_picture_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    picture = Image.new("RGB", (8, 8))
    with_picture = [
        {"image": picture},
        {"images": [picture]},
        {"images": None, "image": picture},
        {"image": {"bytes": b"x", "path": None}},
    ]
    without = [
        {},
        {"image": None},
        {"image": "None"},
        {"images": []},
        {"images": [None]},
        {"image": {"bytes": None, "path": None}},
    ]
    assert all(map(_has_image, with_picture))
    assert not any(map(_has_image, without))
    with caplog.at_level(logging.WARNING):
        kept, dropped = keep_with_images([*without, *with_picture])
    assert kept == with_picture and dropped == len(without)
    assert "6 of 10 rows have no picture" in caplog.text
