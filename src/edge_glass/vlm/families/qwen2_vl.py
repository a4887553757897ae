"""Qwen2-VL (https://arxiv.org/abs/2409.12191): boxes in thousandths of the picture.

Source: Qwen's notebook `qwen-vl-finetune/tools/process_bbox.ipynb`, its maintainers in issues 721 and 866 of
QwenLM/Qwen3-VL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_glass.vlm import qwen
from edge_glass.vlm.family import Convention

if TYPE_CHECKING:
    from edge_glass.config.sections.detection import VlmSizeConfig


@dataclass(frozen=True, kw_only=True)
class Qwen2VL(qwen.QwenFamily):
    """What toys of Qwen2-VL have of their own."""

    def text_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        return {"rope_parameters": qwen.rotary_in_turns(size.width // size.heads)}

    def vision_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        return {"embed_dim": size.vision_width, "hidden_size": size.width, "mlp_ratio": qwen.MLP_RATIO}


FAMILY = Qwen2VL(
    model_type="qwen2_vl",
    config_class="Qwen2VLConfig",
    model_class="Qwen2VLForConditionalGeneration",
    processor_class="Qwen2VLProcessor",
    token_side=28,
    boxes=Convention(order="xyxy", range=1000),
)
