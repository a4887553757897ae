"""Rows of pictures with boxes as batches, by each of the three collators."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from box_rows import PROMPT, box_example, box_row, box_rows
from edge_glass.config.sections.detection import VlmSizeConfig
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize, box_codec, seen_size
from edge_glass.detection.collators import (
    Qwen2VLCollatorV1,
    Qwen2VLCollatorV2,
    Qwen2VLCollatorV3,
    empty_batch,
    planned_size,
    prompt_batch,
    token_counts,
    token_kinds,
)
from edge_glass.vlm.family import build_processor, build_vlm

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
V1, V2, V3 = Qwen2VLCollatorV1, Qwen2VLCollatorV2, Qwen2VLCollatorV3
SIZE = VlmSizeConfig(width=32, layers=1, heads=2, vision_width=32, vision_layers=1, vision_heads=2)

Rows = list[dict[str, Any]]


def own_processor(family: str = "qwen2_vl", most: int = 64 * 784) -> Any:
    return build_processor(family, 4 * 784, most)


processor_of = functools.cache(own_processor)  # tests that change one make their own


def seen_by(processor: Any) -> Callable[[int, int], SeenSize]:
    return functools.partial(planned_size, processor)


def rows_of(family: str = "qwen2_vl", box_format: str = "json") -> tuple[Any, BoxCodec, Rows]:
    processor, codec = processor_of(family), box_codec(family, box_format)
    return processor, codec, box_rows(codec, seen_by(processor))


def trained_texts(processor: Any, batch: dict[str, Any]) -> list[str]:
    pairs = zip(batch["input_ids"], batch["labels"], strict=True)
    return [processor.tokenizer.decode(ids[labels != -100]) for ids, labels in pairs]


def answers(rows: Rows) -> list[str]:
    return [row["messages"][-1]["content"][0]["text"] for row in rows]


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype, name
        assert torch.equal(values, other[name]), name


@pytest.mark.parametrize("collator", [V2, V3])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_and_its_end_are_trained_and_nothing_else(family: str, collator: Any) -> None:
    processor, codec, rows = rows_of(family)
    batch = collator(processor, codec)(rows)
    assert trained_texts(processor, batch) == [text + "<|im_end|>" for text in answers(rows)]


@pytest.mark.parametrize("collator", [V1, V2, V3])
def test_all_tokens_trains_all_words_but_never_the_picture(collator: Any) -> None:
    processor, codec, rows = rows_of()
    batch = collator(processor, codec, mask="all_tokens")(rows)
    assert trained_texts(processor, batch) == [
        f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n{text}<|im_end|>\n"
        for text in answers(rows)
    ]


@pytest.mark.parametrize("mask", ["assistant_only", "all_tokens"])
@pytest.mark.parametrize("box_format", ["json", "tokens"])
@pytest.mark.parametrize("family", FAMILIES)
def test_v3_gives_bit_for_bit_what_v2_gives(family: str, box_format: str, mask: str) -> None:
    processor, codec, rows = rows_of(family, box_format)
    assert_equal(V2(processor, codec, mask)(rows), V3(processor, codec, mask)(rows))


def test_v3_knows_several_prompts_and_system_turns() -> None:
    processor, codec, _ = rows_of()
    rows = [
        box_row(box_example(0, (90, 60)), codec),
        box_row(box_example(1, (90, 60)), codec, prompt="Where is the cat?"),
        box_row(box_example(2, (90, 60)), codec, system_prompt="You find things."),
        box_row(box_example(3, (60, 90)), codec, prompt="Where is the cat?"),
    ]
    assert_equal(V2(processor, codec)(rows), V3(processor, codec)(rows))


def test_real_templates_with_a_system_turn_of_their_own_work() -> None:
    """Qwen2-VL's and Qwen2.5-VL's published template writes one where there is none."""
    processor, codec = own_processor(), box_codec("qwen2_vl")
    processor.chat_template = (
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "{% endif %}" + processor.chat_template
    )
    rows = box_rows(codec)
    two, three = V2(processor, codec)(rows), V3(processor, codec)(rows)
    assert_equal(two, three)
    assert trained_texts(processor, three) == [text + "<|im_end|>" for text in answers(rows)]
    assert "You are a helpful assistant." in processor.tokenizer.decode(three["input_ids"][0])


def test_an_end_token_that_also_pads_is_still_trained() -> None:
    processor, codec = own_processor(), box_codec("qwen2_vl")
    processor.tokenizer.pad_token = "<|im_end|>"
    rows = box_rows(codec)
    for collator in (V1(processor, codec), V2(processor, codec), V3(processor, codec)):
        batch = collator(rows)
        assert (batch["attention_mask"][3] == 0).any()
        assert [text.rstrip("\n")[-10:] for text in trained_texts(processor, batch)] == ["<|im_end|>"] * 4


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    processor, codec = own_processor(), box_codec("qwen2_vl")
    processor.chat_template = processor.chat_template.replace(
        "{% for message in messages %}", "{{ messages | length }} turns{% for message in messages %}", 1
    )
    rows = box_rows(codec)
    with pytest.raises(ConfigError, match="writes a prompt in another way"):
        V2(processor, codec)(rows)
    with pytest.raises(ConfigError, match="prompt, answer and end one after the other"):
        V3(processor, codec)(rows)


@pytest.mark.parametrize("collator", [V1, V2, V3])
@pytest.mark.parametrize("family", FAMILIES)
def test_batches_have_the_form_that_the_models_take(family: str, collator: Any) -> None:
    processor, codec, rows = rows_of(family)
    batch = collator(processor, codec)(rows)
    length = batch["input_ids"].shape[1]
    for name in ("input_ids", "attention_mask", "mm_token_type_ids", "labels"):
        assert batch[name].shape == (4, length) and batch[name].dtype == torch.int64
    images = processor.image_processor
    assert batch["image_grid_thw"].shape == (4, 3)
    assert batch["pixel_values"].dtype == torch.float32
    assert len(batch["pixel_values"]) == batch["image_grid_thw"].prod(dim=1).sum()
    pictured = batch["image_grid_thw"].prod(dim=1) // images.merge_size**2
    assert torch.equal((batch["input_ids"] == processor.image_token_id).sum(dim=1), pictured)
    assert torch.equal(batch["mm_token_type_ids"].sum(dim=1), pictured)
    assert batch["attention_mask"][:, 0].all()  # padded on the right
    model = build_vlm(family, SIZE, processor, seed=0)
    with torch.no_grad():
        assert model(**batch).loss.isfinite()


@pytest.mark.parametrize("collator", [V1, V2, V3])
def test_no_rows_are_an_empty_batch_of_the_same_form(collator: Any) -> None:
    processor, codec, rows = rows_of()
    batch, empty = collator(processor, codec)(rows), collator(processor, codec)([])
    assert empty.keys() == batch.keys()
    for name, values in empty.items():
        assert values.dtype == batch[name].dtype and values.dim() == batch[name].dim()
        assert len(values) == 0
    assert empty["pixel_values"].shape[1] == batch["pixel_values"].shape[1]
    assert empty["image_grid_thw"].shape == (0, 3)
    assert prompt_batch(processor, []).keys() == empty_batch(processor).keys() - {"labels"}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_generated_from_is_what_stands_before_the_answer_in_training(family: str) -> None:
    processor, codec, rows = rows_of(family)
    whole, prompts = V3(processor, codec)(rows), prompt_batch(processor, rows)
    assert "labels" not in prompts
    assert prompts["attention_mask"][:, -1].all()  # padded on the left
    for row in range(4):
        prompt = prompts["input_ids"][row][prompts["attention_mask"][row].bool()]
        start = int((whole["labels"][row] != -100).nonzero()[0, 0])
        assert torch.equal(whole["input_ids"][row, :start], prompt)
    assert torch.equal(whole["pixel_values"], prompts["pixel_values"])
    asked = box_rows(codec, seen_by(processor), answer=False)
    assert_equal(prompts, prompt_batch(processor, asked))


def test_one_shot_of_a_row_does_not_depend_on_its_batch() -> None:
    processor, codec, rows = rows_of()
    together = V3(processor, codec)(rows)
    for number, row in enumerate(rows):
        alone = V3(processor, codec)([row])
        length = alone["input_ids"].shape[1]
        assert torch.equal(alone["input_ids"][0], together["input_ids"][number, :length])
        assert torch.equal(alone["labels"][0], together["labels"][number, :length])


def test_v1_can_only_train_all_words() -> None:
    processor, codec, _ = rows_of()
    with pytest.raises(ConfigError, match=r"v1 can only train all_tokens.*take detection.collator v2 or v3"):
        V1(processor, codec, mask="assistant_only")


@pytest.mark.parametrize("collator", [V1, V2, V3])
def test_processor_and_codec_are_of_one_family(collator: Any) -> None:
    with pytest.raises(
        ConfigError, match="as qwen3_vl does, which has a Qwen3VLProcessor; this is a Qwen2VL"
    ):
        collator(processor_of(), box_codec("qwen3_vl"))
    with pytest.raises(ConfigError, match="it is one of assistant_only, all_tokens"):
        collator(processor_of(), box_codec("qwen2_vl"), mask="answers")


@pytest.mark.parametrize("collator", [V1, V2, V3])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "row row-1: one picture was expected"),
        ({"images": [None]}, "row row-1: .* not a PIL picture"),
        ({"images": [Image.new("L", (60, 140))]}, "row row-1: the picture is L; convert it to RGB"),
        ({"images": [Image.new("RGB", (140, 60))]}, "row row-1: .*60×140 but the picture has 140×60.*EXIF"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "row row-1: there speak user;"),
    ],
)
def test_rows_that_cannot_be_used_are_named(collator: Any, change: dict[str, Any], message: str) -> None:
    processor, codec, rows = rows_of()
    rows[1] = rows[1] | change
    with pytest.raises(DataError, match=message):
        collator(processor, codec)(rows)


@pytest.mark.parametrize("collator", [V1, V2, V3])
def test_a_picture_that_the_model_cannot_take_is_named(collator: Any) -> None:
    processor, codec, rows = rows_of()
    rows[2] = box_row(box_example(7, (1, 250), 0), codec)
    with pytest.raises(DataError, match="row row-7: a picture of 1×250 is more than 200 times"):
        collator(processor, codec)(rows)
    rows[2] = box_row(box_example(7, (2, 250), 0), codec)
    assert len(collator(processor, codec)(rows)["labels"]) == 4


@pytest.mark.parametrize("collator", [V1, V2, V3])
def test_collators_travel_to_data_workers(collator: Any) -> None:
    processor, codec, rows = rows_of()
    made = collator(processor, codec)
    made(rows)
    assert_equal(pickle.loads(pickle.dumps(made))(rows), made(rows))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seen_size_is_known_from_the_header(family: str) -> None:
    processor = processor_of(family)
    sizes = [(30, 30), (112, 84), (1000, 700), (29, 1000), (57, 55), (640, 480), (3, 300)]
    planned = [planned_size(processor, *size) for size in sizes]
    images = [Image.new("RGB", size) for size in sizes]
    grids = processor.image_processor(images=images, return_tensors="pt")["image_grid_thw"]
    assert planned == [seen_size(grid, processor.image_processor.patch_size) for grid in grids]
    assert token_counts(sizes, processor).tolist() == (grids.prod(dim=1) // 4).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_over_budget_a_picture_is_shrunk_and_nothing_is_cut(family: str) -> None:
    processor, codec = processor_of(family), box_codec(family)
    rows = box_rows(codec, seen_by(processor), sizes=[(60, 60), (90, 60), (300, 200), (90, 90)])
    free = V3(processor, codec)(rows)
    lengths = free["attention_mask"].sum(dim=1)
    most = int(lengths.max()) - 20
    assert (lengths > most).tolist() == [False, False, True, False]
    batch = V3(processor, codec, max_tokens=most)(rows)  # reads every box back
    assert (batch["attention_mask"].sum(dim=1) <= most).all()
    small = lengths <= most
    assert torch.equal(batch["image_grid_thw"][small], free["image_grid_thw"][small])
    shrunk = batch["image_grid_thw"].prod(dim=1) < free["image_grid_thw"].prod(dim=1)
    assert torch.equal(shrunk, ~small)
    texts, given = trained_texts(processor, batch), [text + "<|im_end|>" for text in answers(rows)]
    boxed = torch.tensor([len(row["boxes"]) > 0 for row in rows])
    rewritten = torch.tensor([one != other for one, other in zip(texts, given, strict=True)])
    assert torch.equal(rewritten, shrunk & boxed & torch.tensor(not codec.relative))
    # the same pictures in the same order as each by itself
    singles = [V3(processor, codec, max_tokens=most)([row])["pixel_values"] for row in rows]
    assert torch.equal(torch.cat(singles), batch["pixel_values"])


def test_a_pixel_budget_holds_for_every_picture() -> None:
    processor, codec = processor_of("qwen2_5_vl"), box_codec("qwen2_5_vl")
    rows = box_rows(codec, seen_by(processor))
    batch = V3(processor, codec, pixel_budget=8 * 784)(rows)
    assert (batch["image_grid_thw"].prod(dim=1) * 14 * 14 <= 8 * 784).all()


def test_what_cannot_fit_is_refused_by_name() -> None:
    processor, codec, rows = rows_of()
    with pytest.raises(DataError, match=r"row row-\d: its words alone are \d+ tokens"):
        V3(processor, codec, max_tokens=20)(rows)
    words = (
        int(V3(processor, codec)(rows[:1])["attention_mask"].sum()) - token_counts([(112, 84)], processor)[0]
    )
    with pytest.raises(DataError, match=r"row row-0: its picture of 112×84 would have to be shrunk to 2352"):
        V3(processor, codec, max_tokens=words + 3)(rows[:1])  # the processor makes 4 tokens at least


def test_a_picture_is_not_decoded_before_its_row_is_known_to_fit(tmp_path: Path) -> None:
    processor, codec = processor_of(), box_codec("qwen2_vl")
    example = box_example(0, (300, 200), 0)
    example["image"].save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "broken.jpg").write_bytes(content[: len(content) // 2])
    row = box_row(example | {"image": Image.open(tmp_path / "broken.jpg")}, codec)
    with pytest.raises(DataError, match="words alone"):
        V3(processor, codec, max_tokens=16)([row])
    with pytest.raises(OSError, match="truncated"):
        V3(processor, codec)([row])


def test_kinds_of_rows_are_about_equally_long() -> None:
    generator = np.random.default_rng(0)
    counts = generator.choice([16, 17, 20, 64, 66, 256, 1000], size=400)
    kinds = token_kinds(counts, at_least=8, spread=1.3)
    assert kinds.shape == (400,) and len(np.unique(kinds)) == 4
    for kind in np.unique(kinds):
        group = counts[kinds == kind]
        assert len(group) >= 8 and group.max() <= 1.3 * group.min()
    assert len(np.unique(token_kinds(counts, at_least=300))) == 1
    assert len(np.unique(token_kinds(np.array([5, 500]), at_least=2))) == 1
    assert len(token_kinds(np.zeros(0, dtype=np.int64), at_least=4)) == 0
