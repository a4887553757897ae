"""Picture towers of transformers (CLIP, SigLIP, DINOv2, ViT …) as backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_glass.core.errors import AssetError
from edge_glass.encoders.image_transform import ImageTransform
from edge_glass.encoders.sources import describe_transformers, load_transformers_model, read_source_json

RESAMPLING_BY_NUMBER = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
WITHOUT_CLS_TOKEN = ("siglip_vision_model",)
HALF = ([0.5] * 3, [0.5] * 3)
CLIP_STATISTICS = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
IMAGENET_STATISTICS = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


class TransformersVisionBackbone(nn.Module):
    """A transformers picture tower; tokens are its `last_hidden_state`."""

    kind = "transformers"

    def __init__(self, model: nn.Module, image_size: int) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        self.has_cls_token = config.model_type not in WITHOUT_CLS_TOKEN
        self.register_tokens = int(getattr(config, "num_register_tokens", 0) or 0)
        takes_option = config.model_type in ("clip_vision_model", "siglip_vision_model", "vit")
        self.resample_positions = takes_option and config.image_size != image_size

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `[B, 3, H, W]` → `[B, N, D]`: the class token, if there is one, then the patches row by row."""
        options = {"interpolate_pos_encoding": True} if self.resample_positions else {}
        tokens = self.model(pixel_values=pixels, **options).last_hidden_state
        if self.register_tokens:
            tokens = torch.cat([tokens[:, :1], tokens[:, 1 + self.register_tokens :]], dim=1)
        return tokens

    def describe(self) -> str:
        """Return the architecture as stable text."""
        return describe_transformers(self.model)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write config.json and the weights."""
        self.model.save_pretrained(folder)  # type: ignore[operator]
        return {}


def recognises(source: str) -> bool:
    """Say whether `source` has a config.json that is not timm's."""
    folder = Path(source)
    if folder.is_dir() and not (folder / "config.json").is_file():
        return False
    record = read_source_json(source, "config.json", required=True)
    return not (isinstance(record, dict) and "architecture" in record)


def rebuild(folder: Path, record: dict[str, Any], image_size: int) -> TransformersVisionBackbone:
    """Return the backbone that `TransformersVisionBackbone.save` wrote, without network."""
    return TransformersVisionBackbone(load_vision_model(str(folder)), image_size)


def load_vision_model(source: str) -> Any:
    """Load the picture tower of a folder or hub repository, in float32.

    Raises:
        AssetError: It is not a model of pictures, or weights are missing.
    """
    from transformers import AutoConfig, AutoModel, CLIPVisionModel, SiglipVisionModel

    model_type = AutoConfig.from_pretrained(source, trust_remote_code=False).model_type
    towers = {"clip": CLIPVisionModel, "siglip": SiglipVisionModel}
    model = load_transformers_model(towers.get(model_type.removesuffix("_vision_model"), AutoModel), source)
    if model.main_input_name != "pixel_values" or not hasattr(model.config, "image_size"):
        raise AssetError(f"{source!r}: expected a tower of pictures; got a {model_type!r} model")
    return model


def load(source: str, image_size: int | None) -> tuple[TransformersVisionBackbone, ImageTransform]:
    """Load a picture tower with its preprocessing.

    Args:
        source: Folder in Hugging Face layout or hub id.
        image_size: Side in pixels; None for the model's own.
    """
    model = load_vision_model(source)
    processor = read_source_json(source, "processor_config.json")
    settings = processor.get("image_processor") if isinstance(processor, dict) else None
    settings = settings or read_source_json(source, "preprocessor_config.json") or {}
    transform = processor_transform(dict(settings), model.config, image_size)
    return TransformersVisionBackbone(model, transform.image_size), transform


def processor_transform(settings: dict[str, Any], config: Any, image_size: int | None) -> ImageTransform:
    """Read an image processor's settings; what they leave out is taken from the model's family.

    With another `image_size` the share that the crop cuts away stays the same.

    Raises:
        AssetError: Settings that do not lead to a square of one fixed size.
    """
    family = config.model_type.removesuffix("_vision_model")
    mean, std = {"clip": CLIP_STATISTICS, "siglip": HALF, "vit": HALF}.get(family, IMAGENET_STATISTICS)
    native = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    size = settings.get("size") or native
    size = {"shortest_edge": size} if isinstance(size, int) and settings.get("do_center_crop") else size
    if isinstance(size, dict) and "shortest_edge" in size:
        crop = settings.get("crop_size", size["shortest_edge"])
        side, shorter = crop["height"] if isinstance(crop, dict) else crop, size["shortest_edge"]
        resize = "crop"
    elif isinstance(size, int) or size.get("height", 0) == size.get("width", 1):
        side = shorter = size if isinstance(size, int) else size["height"]
        resize = "crop" if not settings and family == "clip" else "squash"
    else:
        raise AssetError(f"the image processor: expected a square of one fixed size; got size {size}")
    target = image_size or side
    return ImageTransform(
        image_size=target,
        resize="crop" if resize == "crop" else "squash",
        resize_to=max(target, round(shorter * target / side)),
        interpolation=RESAMPLING_BY_NUMBER.get(settings.get("resample", 3), "bicubic"),
        mean=tuple(settings.get("image_mean") or mean),
        std=tuple(settings.get("image_std") or std),
    )
