"""The three collators inside TRL's own trainer, with data sets of `datasets`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from box_rows import box_example, box_rows
from edge_glass.config.sections.detection import VlmSizeConfig
from edge_glass.detection.boxes.codec import box_codec
from edge_glass.detection.collators import (
    Qwen2VLCollatorV1,
    Qwen2VLCollatorV2,
    Qwen2VLCollatorV3,
    planned_size,
)
from edge_glass.detection.data.conversations import _has_image, convert_to_conversation_format
from edge_glass.vlm.family import build_processor, build_vlm

COLLATORS = (Qwen2VLCollatorV1, Qwen2VLCollatorV2, Qwen2VLCollatorV3)
SIZE = VlmSizeConfig(width=32, layers=1, heads=2, vision_width=32, vision_layers=1, vision_heads=2)

processor_of = functools.cache(functools.partial(build_processor, min_pixels=4 * 784, max_pixels=16 * 784))


def table(family: str) -> tuple[Any, list[dict[str, Any]]]:
    """The rows of a family as a data set, and as they were before."""
    import datasets

    seen = functools.partial(planned_size, processor_of(family))
    rows = box_rows(box_codec(family), seen, system_prompt="You find things.")
    return datasets.Dataset.from_list(rows).cast_column("images", [datasets.Image()]), rows


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("collator", COLLATORS)
def test_rows_that_went_through_arrow_give_the_same_batch(collator: Any, family: str) -> None:
    stored, rows = table(family)
    content = stored[0]["messages"][1]["content"]
    assert content[0] == {"type": "image", "text": None}  # what Arrow makes of a placeholder
    made = collator(processor_of(family), box_codec(family))
    one, other = made([stored[number] for number in range(4)]), made(rows)
    assert one.keys() == other.keys()
    assert all(torch.equal(values, other[name]) for name, values in one.items())


def test_conversations_are_written_once_by_map_and_pictures_come_back_per_batch() -> None:
    import datasets

    processor, codec = processor_of("qwen2_vl"), box_codec("qwen2_vl")
    examples = [box_example(number, (112, 84)) for number in range(3)]
    stored = datasets.Dataset.from_list(examples).cast_column("image", datasets.Image())
    stored = stored.filter(_has_image).map(functools.partial(convert_to_conversation_format, codec=codec))
    batch = Qwen2VLCollatorV3(processor, codec)(list(stored))
    rows = [
        convert_to_conversation_format(example, codec) | {"image": example["image"]} for example in examples
    ]
    other = Qwen2VLCollatorV3(processor, codec)(rows)
    assert all(torch.equal(values, other[name]) for name, values in batch.items())


@pytest.mark.slow
@pytest.mark.parametrize("collator", COLLATORS)
def test_sft_trainer_trains_two_steps_on_exactly_these_labels(collator: Any, tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    processor = processor_of("qwen2_vl")
    made = collator(processor, box_codec("qwen2_vl"))
    model = build_vlm("qwen2_vl", SIZE, processor, seed=0)
    stored, rows = table("qwen2_vl")
    with torch.no_grad():
        expected = float(model(**made(rows)).loss)
    before = {name: values.clone() for name, values in model.named_parameters()}
    trainer = SFTTrainer(
        model=model,
        processing_class=processor,
        train_dataset=stored,
        data_collator=made,
        args=SFTConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=4,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            max_length=None,
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
        ),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == 2 and len(losses) == 2
    assert losses[0] == pytest.approx(expected, rel=1e-4)  # both steps see all four rows
    assert losses[1] < losses[0]
    moved = [name for name, values in model.named_parameters() if not torch.equal(values, before[name])]
    assert any("visual" in name for name in moved) and any("language_model" in name for name in moved)
