"""timm models as picture backbones; and EfficientNet-Lite0 as its asset stores it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_glass.core.errors import AssetError
from edge_glass.encoders.image_transform import ImageTransform
from edge_glass.encoders.sources import WEIGHTS_FILE, read_source_json, require_hub

LITE0 = "tf_efficientnet_lite0"  # what the asset `efficientnet-lite0` holds


class TimmBackbone(nn.Module):
    """A timm model without its classifier, seen as a source of tokens.

    Args:
        model: Any timm model whose `forward_features` gives a feature map or tokens.
        architecture: Its name in timm.
        model_args: Further arguments of `timm.create_model` it was built with.
    """

    kind = "timm"

    def __init__(self, model: nn.Module, architecture: str, model_args: dict[str, Any]) -> None:
        super().__init__()
        model.reset_classifier(0)  # type: ignore[operator]
        self.model = model.to(memory_format=torch.channels_last)
        self.architecture = architecture
        self.model_args = model_args
        self.has_cls_token = getattr(model, "cls_token", None) is not None
        self.prefix_tokens = int(getattr(model, "num_prefix_tokens", 0) or 0)
        self.channels_last_output = getattr(model, "output_fmt", "NCHW") == "NHWC"

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `[B, 3, H, W]` → `[B, N, D]`: the class token, if there is one, then the picture row by row.

        Register tokens are left out: they say nothing about a place in the picture.
        """
        features = self.model.forward_features(pixels)  # type: ignore[operator]
        if features.ndim == 4:
            return (
                features.flatten(1, 2) if self.channels_last_output else features.flatten(2).transpose(1, 2)
            )
        first = 1 if self.has_cls_token else 0
        if self.prefix_tokens > first:
            features = torch.cat([features[:, :first], features[:, self.prefix_tokens :]], dim=1)
        return features

    def describe(self) -> str:
        """Return the architecture as stable text."""
        return f"timm {self.architecture} {json.dumps(self.model_args, sort_keys=True)}"

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the weights; return what the module's `rebuild` needs besides."""
        from safetensors.torch import save_file

        tensors = {
            name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()
        }
        save_file(tensors, folder / WEIGHTS_FILE)
        pretrained_cfg = dict(self.model.pretrained_cfg)  # type: ignore[arg-type]
        return {
            "architecture": self.architecture,
            "model_args": self.model_args,
            "pretrained_cfg": {
                key: value for key, value in pretrained_cfg.items() if key not in ("file", "source")
            },
        }


def recognises(source: str) -> bool:
    """Say whether `source` is timm's.

    That is `timm/NAME`, `hf-hub:ID`, a config.json that names a timm architecture, or a folder with one .pth
    file, which is EfficientNet-Lite0's.
    """
    if source.startswith(("timm/", "hf-hub:")) or _lite0_file(source) is not None:
        return True
    record = None if _without_config(source) else read_source_json(source, "config.json", required=True)
    return isinstance(record, dict) and "architecture" in record


def load(source: str, image_size: int | None) -> tuple[TimmBackbone, ImageTransform]:
    """Load a backbone with its preprocessing.

    Args:
        source: What `recognises` takes.
        image_size: Side in pixels; None for the model's own.

    Raises:
        AssetError: Not a timm model, or not its weights.
    """
    lite0 = _lite0_file(source)
    if lite0 is not None:
        return load_lite0(lite0, image_size)
    named = source.startswith(("timm/", "hf-hub:")) or Path(source).is_dir()
    return load_timm(source if named else f"hf-hub:{source}", image_size)


def rebuild(folder: Path, record: dict[str, Any], image_size: int) -> TimmBackbone:
    """Return the backbone that `TimmBackbone.save` wrote, without network."""
    import timm
    from safetensors.torch import load_file

    model_args = record["model_args"]
    model = timm.create_model(
        record["architecture"], pretrained=False, pretrained_cfg=record["pretrained_cfg"], **model_args
    )
    backbone = TimmBackbone(model, record["architecture"], model_args)
    backbone.model.load_state_dict(load_file(folder / WEIGHTS_FILE), strict=True)
    return backbone


def _without_config(source: str) -> bool:
    folder = Path(source)
    return folder.is_dir() and not (folder / "config.json").is_file()


def _lite0_file(source: str) -> Path | None:
    """Find the only .pth file of a folder without a config.json."""
    weights = sorted(Path(source).glob("*.pth")) if _without_config(source) else []
    return weights[0] if len(weights) == 1 else None


def load_timm(source: str, image_size: int | None) -> tuple[TimmBackbone, ImageTransform]:
    """Load pretrained timm weights.

    Args:
        source: `timm/NAME`, `hf-hub:ID` or a folder that `timm.models.save_for_hf` wrote.
        image_size: Side in pixels; None for the model's own.

    Raises:
        AssetError: Not a timm model.
    """
    import timm

    if source.startswith("timm/"):
        name = source.removeprefix("timm/")
        config: dict[str, Any] = {}
        settings = timm.get_pretrained_cfg(name)
        if settings is None:
            raise AssetError(f"timm has no model {name!r} with weights; timm.list_pretrained() names them")
        require_hub(source)
        fixed_size = settings.fixed_input_size
    else:
        repository = source.removeprefix("hf-hub:")
        name = source if source.startswith("hf-hub:") else f"local-dir:{source}"
        found = read_source_json(repository.partition("@")[0], "config.json", required=True)
        config = found if isinstance(found, dict) else {}
        if "architecture" not in config:
            raise AssetError(f"config.json of {repository!r} names no timm architecture")
        fixed_size = config.get("pretrained_cfg", config).get("fixed_input_size", False)
    model_args = dict(config.get("model_args") or {})
    if image_size is not None and (fixed_size or "img_size" in model_args):
        model_args["img_size"] = image_size  # position embeddings are resampled to it
    model: Any = timm.create_model(name, pretrained=True, **model_args)
    architecture = model.pretrained_cfg["architecture"]
    return TimmBackbone(model, architecture, model_args), timm_transform(model, image_size)


def load_lite0(path: Path, image_size: int | None) -> tuple[TimmBackbone, ImageTransform]:
    """Load EfficientNet-Lite0 from the asset's file, whose tensors stand in timm's order under other names.

    Raises:
        AssetError: Another number of tensors, or another shape somewhere.
    """
    import timm

    model = timm.create_model(LITE0, pretrained=False)
    foreign = torch.load(path, map_location="cpu", weights_only=True)
    own = model.state_dict()
    if len(foreign) != len(own):
        raise AssetError(f"{path.name} holds {len(foreign)} tensors; {LITE0} has {len(own)}")
    renamed = {}
    for (name, expected), (foreign_name, tensor) in zip(own.items(), foreign.items(), strict=True):
        if tensor.shape != expected.shape or name.rpartition(".")[2] != foreign_name.rpartition(".")[2]:
            found = f"{foreign_name} {tuple(tensor.shape)}"
            raise AssetError(
                f"{path.name} is not {LITE0}: {found} stands where {name} {tuple(expected.shape)} should"
            )
        renamed[name] = tensor
    model.load_state_dict(renamed, strict=True)
    return TimmBackbone(model, LITE0, {}), timm_transform(model, image_size)


def timm_transform(model: nn.Module, image_size: int | None) -> ImageTransform:
    """Take the model's interpolation, mean and std; the shorter side becomes that of the square.

    timm's evaluation crop (often 0.875) is left out: it is tuned for classifying one centred thing and cuts
    away a border that a caption may speak of.
    """
    from timm.data import resolve_model_data_config

    settings = resolve_model_data_config(model)
    size = image_size or int(settings["input_size"][-1])
    return ImageTransform(
        image_size=size,
        resize="squash" if settings["crop_mode"] == "squash" else "crop",
        resize_to=size,
        interpolation=settings["interpolation"],
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
    )
