"""`--tiny` for the task detection: toy models of the same class from random weights, small pictures."""

from __future__ import annotations

import re
from typing import Any

from edge_glass.config.schema import ExperimentConfig, VlmConfig, VlmLoraConfig, VlmSizeConfig
from edge_glass.config.sections.detection import token_side
from edge_glass.config.tiny_sizes import (
    TOY_BATCH,
    TOY_BEAMS,
    TOY_BOXES,
    TOY_BOXES_WRITTEN,
    TOY_HEADS,
    TOY_IOU_ROWS,
    TOY_IOU_SECONDS,
    TOY_IOU_STEPS,
    TOY_LAYERS,
    TOY_PICTURE,
    TOY_RANK,
    TOY_ROW,
    TOY_ROWS,
    TOY_WIDTH,
)

_LAYER = re.compile(r"(?:^|(?:layers|blocks)\.)(\d+)\.")


def detection_settings(config: ExperimentConfig) -> dict[str, Any]:
    """The toy settings of what the task detection reads."""
    evaluation, generation = config.evaluation, config.generation
    return {
        "dataset": {"max_answer_length": TOY_BOXES, "categories": None},
        "vlm": _toy_vlm(config.vlm),
        "detection": _toy_boxes(config),
        "generation": {
            "max_new_tokens": min(generation.max_new_tokens or TOY_BOXES_WRITTEN, TOY_BOXES_WRITTEN),
            "num_beams": min(generation.num_beams, TOY_BEAMS),
            "batch_size": min(generation.batch_size, TOY_BATCH),
        },
        "evaluation": {
            "validation_rows": min(evaluation.validation_rows, TOY_ROWS),
            "test_rows": evaluation.test_rows and min(evaluation.test_rows, TOY_ROWS),
        },
    }


def _toy_vlm(vlm: VlmConfig) -> dict[str, Any]:
    """The class stays, and what of it is trained; weights become random."""
    most = TOY_PICTURE * token_side(vlm.family) ** 2
    return {
        "source": None,
        "size": _toy_size(vlm.size),
        "quantization": "none",
        "attention": "sdpa",
        "min_pixels": min(vlm.min_pixels, VlmConfig.model_fields["min_pixels"].default),
        "max_pixels": min(vlm.max_pixels, most),
        **({"lora": _toy_lora(vlm.lora)} if vlm.mode == "lora" else {}),
    }


def _toy_size(size: VlmSizeConfig) -> dict[str, int]:
    return {
        "width": TOY_WIDTH,
        "layers": min(size.layers, TOY_LAYERS),
        "heads": min(size.heads, TOY_HEADS),
        "vision_width": TOY_WIDTH,
        "vision_layers": min(size.vision_layers, TOY_LAYERS),
        "vision_heads": min(size.vision_heads, TOY_HEADS),
    }


def _toy_lora(lora: VlmLoraConfig) -> dict[str, Any]:
    """Adapters in the same components. A toy of the same class has the same names, but fewer layers."""
    toy: dict[str, Any] = {"rank": min(lora.rank, TOY_RANK)}
    for component in ("llm", "projector", "vision"):
        targets = getattr(lora, component)
        kept = [target for target in targets if not _is_of_higher_layer(target)]
        toy[component] = kept or (["attention"] if targets else [])
    return toy


def _is_of_higher_layer(target: str) -> bool:
    """Whether a name such as layers.27.mlp.down_proj is of a layer that a toy does not have."""
    return any(int(number) >= TOY_LAYERS for number in _LAYER.findall(target))


def _toy_boxes(config: ExperimentConfig) -> dict[str, Any]:
    """Limits that toy rows, whose words are spelled in bytes, keep; only what is read."""
    detection = config.detection
    toy: dict[str, Any] = {"max_tokens": detection.max_tokens and TOY_ROW}
    if detection.iou_steps is not None:
        toy |= {
            "iou_steps": min(detection.iou_steps, TOY_IOU_STEPS),
            "iou_rows": min(detection.iou_rows, TOY_IOU_ROWS),
            "iou_seconds": min(detection.iou_seconds, TOY_IOU_SECONDS),
        }
    return toy
