"""What a detection model sees: its very pixels, boxes read back from its tokens, and faults by name."""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from box_rows import PROMPT, box_rows
from edge_glass.config.schema import ExperimentConfig
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import BoxCodec, box_codec
from edge_glass.detection.collators import Qwen2VLCollatorV1, Qwen2VLCollatorV2, planned_size
from edge_glass.detection.report.inspected_rows import seen_picture
from edge_glass.detection.report.inspection import detection_overview, inspected_detections
from edge_glass.reporting.inspection import InspectedSample, Inspection, chips
from edge_glass.reporting.terminal import as_text
from edge_glass.vlm.family import build_processor

BUDGET = (3136, 12_000)


class Made(NamedTuple):
    """Rows, their batch, and what made it."""

    processor: Any
    codec: BoxCodec
    rows: list[dict[str, Any]]
    batch: dict[str, Any]

    def samples(self, mask: str = "assistant_only", **changes: Any) -> list[InspectedSample]:
        batch = {**self.batch, **changes}
        return inspected_detections(batch, self.rows, self.processor, self.codec, split="train", mask=mask)

    def faults(self, **changes: Any) -> dict[str, str]:
        """What is wrong with the first row."""
        return {name: fault for name, fault in self.samples(**changes)[0].checks if fault is not None}


def make(family: str, box_format: str = "json", collator: type = Qwen2VLCollatorV2) -> Made:
    processor = build_processor(family, *BUDGET)
    codec = box_codec(family, box_format)
    rows = box_rows(codec, lambda width, height: planned_size(processor, width, height))
    return Made(processor, codec, rows, collator(processor, codec)(rows))


@pytest.fixture(scope="module")
def absolute() -> Made:
    return make("qwen2_5_vl")


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.mark.parametrize("family", ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"))
def test_pixels_are_those_the_model_is_given(family: str):
    """Read back from patches, against the processor's own resize: nothing is moved, mirrored or tinted."""
    processor = build_processor(family, *BUDGET)
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 256, (90, 130, 3), dtype=np.uint8))
    given = processor.image_processor(images=[picture], return_tensors="pt")
    found = seen_picture(given["pixel_values"], given["image_grid_thw"][0], processor.image_processor)
    width, height = planned_size(processor, 130, 90)
    wanted = picture.resize((width, height), Image.Resampling.BICUBIC)
    assert found.size == (width, height)
    assert np.abs(np.asarray(found, dtype=int) - np.asarray(wanted, dtype=int)).mean() < 1.0


@pytest.mark.parametrize(
    ("family", "box_format"), [("qwen2_vl", "tokens"), ("qwen2_5_vl", "json"), ("qwen3_vl", "json")]
)
def test_boxes_are_read_back_onto_the_seen_picture(family: str, box_format: str):
    made = make(family, box_format)
    for sample, row in zip(made.samples(), made.rows, strict=True):
        one = sample.inputs[0]
        assert all(fault is None for _, fault in sample.checks), sample.checks
        assert len(one.seen_boxes) == len(one.source_boxes) == len(row["labels"])
        source = sorted((box.left, box.top, box.width, box.height) for box in one.source_boxes)
        seen = sorted((box.left, box.top, box.width, box.height) for box in one.seen_boxes)
        assert np.allclose(source, seen, atol=1.6), "the same shares of the picture, but for rounding"
        assert {box.kind for box in one.seen_boxes} <= {"trained"}
        width, height = planned_size(made.processor, row["width"], row["height"])
        assert one.seen.size == (width, height) and one.seen_size == f"{width} × {height}"
        assert one.source_size == f"{row['width']} × {row['height']}"


def test_counts_and_texts(absolute: Made):
    for place, (sample, row) in enumerate(zip(absolute.samples(), absolute.rows, strict=True)):
        labels = absolute.batch["labels"][place]
        assert sample.trained_tokens == int((labels != NOT_TRAINED).sum())
        assert len(sample.tokens) == int(absolute.batch["attention_mask"][place].sum())
        merged = int(absolute.batch["image_grid_thw"][place].prod()) // 4
        assert sample.inputs[0].inside == merged and sample.prefix_tokens == 0
        shown = [chip for chip in chips(sample.tokens) if chip.token.text == "<|image_pad|>"]
        assert [chip.count for chip in shown] == [merged], "one chip for all of them"
        answer = "".join(t.text for t in sample.tokens if t.trained).removesuffix("<|im_end|>")
        assert answer == row["messages"][-1]["content"][0]["text"]
        assert sample.prompt.endswith("<|im_start|>assistant\n") and PROMPT in sample.prompt
        assert sample.prompt.count("<|image_pad|>") == 1
        assert sample.tokens[sample.prompt_tokens].trained
        assert not any(token.trained for token in sample.tokens[: sample.prompt_tokens])
    assert [sample.facts["boxes"] for sample in absolute.samples()] == ["1", "2", "3", "0"]
    assert absolute.samples()[3].facts["said"] == "nothing"


def test_all_words_trained_is_no_fault_where_it_is_wanted():
    made = make("qwen2_vl", collator=Qwen2VLCollatorV1)
    sample = made.samples(mask="all_tokens")[1]
    assert all(fault is None for _, fault in sample.checks)
    assert any(token.trained for token in sample.tokens[: sample.prompt_tokens])
    names = [name for name, _ in sample.checks]
    assert "nothing is trained before the answer" not in names
    fault = dict(made.samples()[1].checks)["nothing is trained before the answer"]
    assert fault is not None and fault.endswith("tokens before it are")


# Faults


def test_trained_picture_tokens(absolute: Made):
    labels = absolute.batch["labels"].clone()
    place = int((absolute.batch["input_ids"][0] == absolute.processor.image_token_id).nonzero()[0, 0])
    labels[0, place] = absolute.processor.image_token_id
    faults = absolute.faults(labels=labels)
    assert faults["each label is the id of its own token; none stands on the picture"].startswith("1 tokens")


def test_labels_of_other_tokens(absolute: Made):
    labels = absolute.batch["labels"].clone()
    labels[0] = labels[0].roll(1)
    faults = absolute.faults(labels=labels)
    assert (
        "are not the ids of their tokens"
        in faults["each label is the id of its own token; none stands on the picture"]
    )


def test_an_answer_that_is_not_trained_to_its_end(absolute: Made):
    labels = absolute.batch["labels"].clone()
    last = int((labels[0] != NOT_TRAINED).nonzero()[-1, 0])
    labels[0, last] = NOT_TRAINED
    assert "have no label" in absolute.faults(labels=labels)["the answer is trained to its end, the end too"]
    mask = absolute.batch["attention_mask"].clone()
    mask[0, last - 3 :] = 0
    faults = absolute.faults(attention_mask=mask)
    assert "cut off" in faults["the answer is trained to its end, the end too"]


def test_picture_tokens_that_are_missing(absolute: Made):
    ids = absolute.batch["input_ids"].clone()
    place = int((ids[0] == absolute.processor.image_token_id).nonzero()[0, 0])
    ids[0, place] = absolute.processor.tokenizer.pad_token_id
    faults = absolute.faults(input_ids=ids)
    assert faults["the picture has all of its tokens"].endswith("of 12")
    assert "the prompt is that of generation, token for token" in faults


@pytest.mark.parametrize("how", ["swapped", "scaled", "named", "missing"])
def test_boxes_that_are_not_those_of_the_row(absolute: Made, how: str):
    row = dict(absolute.rows[0])
    box = np.asarray(row["boxes"])
    if how == "swapped":
        row["boxes"] = box[:, [1, 0, 3, 2]]
    elif how == "scaled":
        row["boxes"] = box * 0.8
    elif how == "named":
        row["labels"] = ["dog"]
    else:
        row["boxes"], row["labels"] = np.concatenate([box, box]), ["cat", "cat"]
    made = absolute._replace(rows=[row, *absolute.rows[1:]])
    fault = made.faults()["the boxes that the trained tokens say are those of the row"]
    wanted = {"named": "they name cat; the row has dog", "missing": "the row has cat, cat"}
    assert wanted.get(how, "where the row has") in fault
    assert list(made.faults()) == ["the boxes that the trained tokens say are those of the row"]


# The page and the terminal


def test_the_page_lays_boxes_over_the_very_pixels(absolute: Made, tmp_path, read_page):
    samples = absolute.samples()
    config = ExperimentConfig.model_validate(
        {"name": "x", "task": "detection", "vlm": {"family": "qwen2_5_vl"}, "detection": {"prompt": "<b>"}}
    )
    overview = detection_overview(config, absolute.processor, absolute.codec, ["cat", "<i>"])
    page = read_page(Inspection(samples, [], "boxes", overview).write_page(tmp_path / "x.html"))
    source, seen = map(decoded, page.images()[:2])
    assert source.tobytes() == absolute.rows[0]["images"][0].tobytes()
    assert seen.tobytes() == samples[0].inputs[0].seen.tobytes()
    boxes = [str(a["class"]).split()[1] for _, a in page.tags if str(a.get("class")).startswith("box ")]
    assert boxes == ["truth", "trained", *["truth"] * 2, *["trained"] * 2, *["truth"] * 3, *["trained"] * 3]
    for words in (
        *("a picture becomes tokens among those of the words", "boxes that the trained tokens say"),
        *("12 picture tokens", "<|image_pad|> × 12", "scaled by 1.000 across", "✓ All checks hold"),
        *("pixels of the picture that is seen", "cat, <i>", "sides multiples of 28", "nutrition-table"),
    ):
        assert words in page.text, words
    assert "prefix" not in page.text.partition("</style>")[2]


def test_the_terminal_says_sizes_counts_and_boxes(absolute: Made):
    text = as_text(Inspection(absolute.samples(), []), width=160)
    assert "picture 60 × 140 → 56 × 140 → 10 tokens (scaled by 0.933 across and 1.000 down)" in text
    assert "<|vision_start|> <|image_pad|>×10 <|vision_end|>" in text
    assert '[[{" bbox _ 2 d ": ·[' in text and "<|im_end|>]" in text
    assert "said cat " in text
    assert "✓ the boxes that the trained tokens say are those of the row: 4 of 4 samples" in text
