"""Qwen2.5-VL (https://arxiv.org/abs/2502.13923): boxes in pixels of the picture as the model sees it.

Source: its maintainers in issues 721 and 866 of QwenLM/Qwen3-VL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_glass.vlm import qwen
from edge_glass.vlm.family import Convention

if TYPE_CHECKING:
    from edge_glass.config.sections.detection import VlmSizeConfig


@dataclass(frozen=True, kw_only=True)
class Qwen25VL(qwen.QwenFamily):
    """What toys of Qwen2.5-VL have of their own."""

    def text_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        return {"rope_parameters": qwen.rotary_in_turns(size.width // size.heads)}

    def vision_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        # Windows of 112 pixels; whole pictures in every fourth layer and the last.
        whole = {*range(3, size.vision_layers, 4), size.vision_layers - 1}
        return {
            "hidden_size": size.vision_width,
            "out_hidden_size": size.width,
            "intermediate_size": qwen.gated_width(size.vision_width),
            "fullatt_block_indexes": sorted(whole),
        }


FAMILY = Qwen25VL(
    model_type="qwen2_5_vl",
    config_class="Qwen2_5_VLConfig",
    model_class="Qwen2_5_VLForConditionalGeneration",
    processor_class="Qwen2_5_VLProcessor",
    token_side=28,
    boxes=Convention(order="xyxy", range=None),
)
