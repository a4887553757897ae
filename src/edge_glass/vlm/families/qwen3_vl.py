"""Qwen3-VL (https://arxiv.org/abs/2511.21631): boxes in thousandths of the picture, patches of 16 pixels.

Source: its maintainers in issues 1486 and 1623 of QwenLM/Qwen3-VL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edge_glass.vlm import qwen
from edge_glass.vlm.family import Convention

if TYPE_CHECKING:
    from edge_glass.config.sections.detection import VlmSizeConfig

POSITIONS: Final = 16  # side of the grid of learned positions, which is stretched over each picture


@dataclass(frozen=True, kw_only=True)
class Qwen3VL(qwen.QwenFamily):
    """What toys of Qwen3-VL have of their own."""

    def text_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        head_width = size.width // size.heads
        pairs = head_width // 2
        rotary = {
            "rope_type": "default",
            "rope_theta": qwen.ROPE_THETA,
            "mrope_section": [(pairs + 2) // 3, (pairs + 1) // 3, pairs // 3],
            "mrope_interleaved": True,  # time, height, width, time, ...
        }
        return {"rope_parameters": rotary, "head_dim": head_width}  # its default is 128, whatever the width

    def vision_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        return {
            "hidden_size": size.vision_width,
            "out_hidden_size": size.width,
            "intermediate_size": size.vision_width * qwen.MLP_RATIO,
            "num_position_embeddings": POSITIONS**2,
            "deepstack_visual_indexes": [(size.vision_layers - 1) // 2],  # goes into the first language layer
        }


FAMILY = Qwen3VL(
    model_type="qwen3_vl",
    config_class="Qwen3VLConfig",
    model_class="Qwen3VLForConditionalGeneration",
    processor_class="Qwen3VLProcessor",
    token_side=32,
    boxes=Convention(order="xyxy", range=1000),
    image_processor={"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    video_processor="Qwen3VLVideoProcessor",
)
