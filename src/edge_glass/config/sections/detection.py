"""Finding things in pictures: the vision-language model, and how boxes are written and learned."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from edge_glass.config.sections.base import OneOf, Section
from edge_glass.config.sections.large_models import LargeModelOptions, LoraOptions
from edge_glass.core.registry import Registry

FAMILIES: Final = Registry("edge_glass.vlm.families", "vision-language model family")
"""One file each, named by the `model_type` of its models; see `edge_glass.vlm.family`."""

BOX_FORMATS: Final = Registry("edge_glass.detection.boxes.formats", "box format")
"""One file each; see the docstring of the package."""

LORA_PRESETS: dict[str, dict[str, Any]] = {
    "lightweight": {"rank": 8, "alpha": 16.0, "dropout": 0.05, "llm": ["q_proj", "v_proj"]},
    "aggressive": {
        "rank": 64,
        "alpha": 128.0,
        "dropout": 0.05,
        "llm": ["attention", "mlp"],
        "projector": ["all-linear"],
        "vision": ["attention", "mlp"],
    },
}
"""Where adapters of a vision-language model begin; what a config says beside a preset wins."""


class VlmLoraConfig(LoraOptions):
    """Adapters on a vision-language model, by component."""

    preset: Literal["none", "lightweight", "aggressive"] = Field(
        "none",
        description="lightweight: rank 8 on the queries and values of the language model. aggressive: rank "
        "64 on all of it, the projector and the vision tower. Other keys beside it win.",
    )
    llm: list[str] = Field(
        default=["attention", "mlp"],
        description="Layers of the language model: attention, mlp, all-linear, or ends of their names.",
    )
    projector: list[str] = Field(default=[], description="Layers of the projector (merger), likewise.")
    vision: list[str] = Field(default=[], description="Layers of the vision tower, likewise.")

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, raw: Any) -> Any:
        """Put a preset's values where nothing else is said; they are written down as resolved."""
        if isinstance(raw, dict) and isinstance(preset := raw.get("preset"), str):
            return {**LORA_PRESETS.get(preset, {}), **raw}
        return raw


class VlmSizeConfig(Section):
    """Sizes of a vision-language model that starts from random weights."""

    width: int = Field(192, ge=8, description="Numbers per token of the language model; heads divide it.")
    layers: int = Field(4, ge=1, description="Layers of the language model.")
    heads: int = Field(6, ge=1, description="Attention heads of the language model.")
    vision_width: int = Field(128, ge=8, description="Numbers per patch of the vision tower.")
    vision_layers: int = Field(3, ge=1, description="Layers of the vision tower.")
    vision_heads: int = Field(4, ge=1, description="Attention heads of the vision tower.")


class VlmConfig(LargeModelOptions):
    """The vision-language model that is trained to find things."""

    family: Annotated[str, OneOf(FAMILIES)] = Field(
        "qwen2_vl",
        description="Decides how boxes are written; weights of another family are refused.",
    )
    source: str | None = Field(
        None, description="A folder or a Hugging Face hub id; default: small, from random weights (size)."
    )
    size: VlmSizeConfig = VlmSizeConfig()
    components: list[Literal["vision", "projector", "llm"]] = Field(
        default=["vision", "projector", "llm"], min_length=1, description="mode full: what is trained."
    )
    lora: VlmLoraConfig = VlmLoraConfig()
    min_pixels: int = Field(
        56 * 56, ge=784, description="Smaller pictures are enlarged to so many pixels before the model."
    )
    max_pixels: int = Field(
        1280 * 28 * 28,
        ge=784,
        description="Larger pictures are shrunk to so many; 784 pixels are one token (1024 of Qwen3-VL).",
    )


def token_side(family: str) -> int:
    """Return the pixels along one picture token of a family."""
    side: int = FAMILIES.load(family).FAMILY.token_side
    return side


LOCATE: Final = "Locate every instance that belongs to the following categories: '{categories}'."
DEFAULT_PROMPT: Final = f"{LOCATE} Report bbox coordinates in JSON format."
"""What is asked where the experiment does not say; box formats other than JSON have their own."""


class BoxesConfig(Section):
    """How boxes are asked for, written, learned and watched."""

    prompt: str = Field(
        DEFAULT_PROMPT,
        description="What every picture is asked; {categories} becomes their names. With box_format tokens "
        "the default does not ask for JSON.",
    )
    box_format: Annotated[str, OneOf(BOX_FORMATS)] = Field(
        "json", description='[{"bbox_2d": …, "label": …}], or <|box_start|>(x,y),(x,y)<|box_end|>.'
    )
    mask: Literal["assistant_only", "all_tokens"] = Field(
        "assistant_only", description="What is trained: the answer, or all words; never the picture's tokens."
    )
    collator: Literal["v1", "v2", "v3"] = Field(
        "v3", description="v1: basic, trains on all words. v2: masks by prefix lengths. v3: and is fast."
    )
    max_tokens: int | None = Field(
        None, ge=16, description="Most tokens of a row, picture and words; v3 shrinks pictures to keep it."
    )
    iou_steps: int | None = Field(
        None, ge=1, description="Also measure IoU every so many steps, between validations; default: never."
    )
    iou_rows: int = Field(32, ge=1, description="Validation rows of that measurement.")
    iou_seconds: float = Field(60.0, gt=0.0, description="It stops asking for more after so long.")

    @model_validator(mode="before")
    @classmethod
    def _prompt_by_format(cls, raw: Any) -> Any:
        """Fit the question to the answer; it is written down as resolved."""
        if isinstance(raw, dict) and (name := raw.get("box_format")) in BOX_FORMATS.names():
            return {"prompt": BOX_FORMATS.load(name).FORMAT.prompt, **raw}
        return raw
