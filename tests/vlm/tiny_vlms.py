"""Toy vision-language models of the real classes, and batches for them, made without any collator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from edge_glass.config.schema import ExperimentConfig
from edge_glass.vlm.model import DetectionModel, build_detection_model

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SIZE = {"width": 32, "layers": 2, "heads": 2, "vision_width": 32, "vision_layers": 3, "vision_heads": 2}
SIZES = ((90, 60), (64, 120), (100, 100))
QUESTIONS = ("Find: face", "Locate every instance of the animal, please", "find")
ANSWERS = ('[{"bbox_2d": [12, 34, 56, 78], "label": "face"}]', "[]", '[{"bbox_2d": [1, 2, 3, 4]')
AGGRESSIVE = {"preset": "aggressive", "rank": 4, "dropout": 0.0}


def config(family: str = "qwen2_vl", **vlm: Any) -> ExperimentConfig:
    """A toy experiment."""
    section = {"family": family, "size": SIZE, "min_pixels": 3136, "max_pixels": 9000, "mode": "full", **vlm}
    return ExperimentConfig.model_validate({"name": "toy", "task": "detection", "vlm": section})


def detector(family: str = "qwen2_vl", **vlm: Any) -> DetectionModel:
    """A toy model."""
    return build_detection_model(config(family, **vlm))


def moved(model: DetectionModel, by: float = 0.05, seed: int = 5) -> DetectionModel:
    """The model after a training that went in a random direction."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.trainable_state_dict().values():
            tensor.add_(by * torch.randn(tensor.shape, generator=generator))
    return model


def picture(number: int) -> Image.Image:
    """A picture of stripes that differ by number."""
    ramp = Image.linear_gradient("L").rotate(40 * number)
    return ramp.resize(SIZES[number % len(SIZES)]).convert("RGB")


def conversation(number: int, answered: bool) -> list[dict[str, Any]]:
    """A question about a picture, and its answer."""
    ask = [{"type": "image"}, {"type": "text", "text": QUESTIONS[number % len(QUESTIONS)]}]
    answer = [{"type": "text", "text": ANSWERS[number % len(ANSWERS)]}]
    turns: list[dict[str, Any]] = [{"role": "user", "content": ask}]
    return [*turns, {"role": "assistant", "content": answer}] if answered else turns


def batch(
    model: DetectionModel, rows: Sequence[int] = (0, 1, 2), side: str = "right", answered: bool = True
) -> dict[str, Tensor]:
    """These rows as a batch; every word after the prompt is trained."""
    processor = model.processor
    texts = [processor.apply_chat_template(conversation(row, answered), tokenize=False) for row in rows]
    if not answered:
        texts = [text + "<|im_start|>assistant\n" for text in texts]
    made = processor(
        text=texts,
        images=[picture(row) for row in rows],
        padding=True,
        padding_side=side,
        return_tensors="pt",
    )
    found = dict(made)
    if answered:
        found["labels"] = answers_only(model, found, rows)
    return found


def answers_only(model: DetectionModel, found: dict[str, Tensor], rows: Sequence[int]) -> Tensor:
    """Labels: everything from the answer on."""
    labels = torch.full_like(found["input_ids"], -100)
    for at, row in enumerate(rows):
        prompt = int(batch(model, [row], answered=False)["attention_mask"].sum())
        real = found["attention_mask"][at].nonzero()[prompt:, 0]
        labels[at, real] = found["input_ids"][at, real]
    return labels
