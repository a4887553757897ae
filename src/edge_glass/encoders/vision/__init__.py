"""`VisionEncoder`: pictures → tokens. Each library whose models can be read is a file of this package.

Such a file defines:

- `recognises(source) -> bool`: whether this folder, hub id or `timm/NAME` is for it;
- `load(source, image_size) -> (backbone, ImageTransform)`, with `image_size` None for the model's own;
- `rebuild(folder, record, image_size) -> backbone`, from the folder that `backbone.save` wrote and from what
  it returned.

A backbone is a `torch.nn.Module`: pixels `[B, 3, H, W]` → tokens `[B, N, D]`. It has `kind` (the name of the
file), `model`, `has_cls_token`, `describe() -> str` (its architecture, as stable text) and
`save(folder) -> dict`. `timm.py` is an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from edge_glass.core.errors import AssetError
from edge_glass.core.registry import Registry
from edge_glass.encoders.depths import DepthFeatures
from edge_glass.encoders.features import TokenFeatures, inference
from edge_glass.encoders.freezing import FingerprintCache, FreezableModule
from edge_glass.encoders.image_transform import ImageTransform
from edge_glass.encoders.sources import (
    ENCODER_FILE,
    library_of,
    plain_errors,
    read_encoder_record,
    resolve_source,
    write_record,
)
from edge_glass.migrating import takes_old_calls

LIBRARIES: Final = Registry("edge_glass.encoders.vision", "vision library")


class VisionEncoder(FreezableModule):
    """Pictures → token features.

    Attributes:
        width: Numbers per token.
        num_tokens: Tokens per picture, the class token included where there is one.
        image_size: Side of the square the encoder sees, in pixels.
        has_cls_token: Whether token 0 stands for the whole picture.
        transform: The evaluation transform; give this, not the encoder, to data workers.
    """

    @takes_old_calls(
        "VisionEncoder.load(source); its pooling and projection are the tower's, see vision_encoder"
    )
    def __init__(self, backbone: Any, transform: ImageTransform, frozen: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.transform = transform
        self.image_size = transform.image_size
        self.has_cls_token = backbone.has_cls_token
        self._fingerprint = FingerprintCache()
        with inference(backbone):
            example = backbone(torch.zeros(1, 3, self.image_size, self.image_size))
        if example.ndim != 3:
            raise AssetError(
                f"{backbone.describe()[:80]}: expected features [B, N, D]; got {tuple(example.shape)}"
            )
        self.num_tokens, self.width = int(example.shape[1]), int(example.shape[2])
        if frozen:
            self.freeze()

    @property
    def preprocess(self) -> ImageTransform:
        """PIL picture → `[3, H, W]` float32; deterministic."""
        return self.transform

    @property
    def transform_id(self) -> str:
        """Stable text of the transform."""
        return self.transform.id

    @property
    def fingerprint(self) -> str:
        """SHA-256 over architecture, preprocessing and all weights as they are now."""
        return self._fingerprint.get(f"{self.backbone.describe()}\n{self.transform_id}", self.backbone)

    def forward(self, pixels: Tensor) -> TokenFeatures:
        """Encode a batch; without gradients when frozen.

        Args:
            pixels: `[B, 3, H, W]` float, normalised by `preprocess`.

        Returns:
            Tokens `[B, N, D]`, all real.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            tokens = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        return TokenFeatures(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device))

    def frozen_forward(
        self, pixels: Tensor, micro_batch: int = 8, dtype: torch.dtype = torch.float32
    ) -> TokenFeatures:
        """Encode in inference mode, a few pictures at a time: on CPUs that reuses memory already touched.

        A picture's features do not depend on the others in the batch, up to the last bits.

        Args:
            pixels: `[B, 3, H, W]` float; B may be 0.
            micro_batch: Pictures at a time.
            dtype: Arithmetic. bfloat16 is an approximation (see `fast_dtype`); features made with different
                dtypes are not to be mixed up.

        Returns:
            Tokens `[B, N, D]` float32 on the encoder's device, without gradient.
        """
        device = next(self.parameters()).device
        tokens = torch.empty(len(pixels), self.num_tokens, self.width, device=device)
        with inference(self, dtype):
            for start in range(0, len(pixels), micro_batch):
                chunk = pixels[start : start + micro_batch].to(device)
                tokens[start : start + micro_batch] = self(chunk).tokens
        return TokenFeatures(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=device))

    def save(self, folder: str | Path) -> None:
        """Write everything that `load(folder)` needs, offline."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "format": 1,
            "modality": "vision",
            "kind": self.backbone.kind,
            "transform": self.transform.to_dict(),
        }
        backbone = self.backbone
        if isinstance(backbone, DepthFeatures):
            record |= {"layers": backbone.layers, "layer_pooling": backbone.pooling}
            backbone = backbone.backbone
        write_record(folder / ENCODER_FILE, {**record, **backbone.save(folder)})

    @classmethod
    def load(
        cls,
        source: str | Path,
        image_size: int | None = None,
        frozen: bool = True,
        layers: Sequence[str] = (),
        layer_pooling: str = "max",
    ) -> Self:
        """Load an encoder.

        Args:
            source: `asset:NAME`, a folder (saved by `save`, Hugging Face layout, timm's `save_for_hf`, or the
                EfficientNet-Lite0 asset), `timm/NAME`, `hf-hub:ID` for timm, or a hub id.
            image_size: Side in pixels; None for the encoder's own.
            frozen: Freeze it at once.
            layers: Take features from these layers instead of the last one (see `DepthFeatures`).
            layer_pooling: `max` or `mean` over the places of each of these layers.

        Raises:
            AssetError: It cannot be found, reached or understood.
            ConfigError: A layer does not exist.
        """
        place = resolve_source(source)
        with plain_errors(place, "vision encoder"):
            record = read_encoder_record(place, "vision")
            if record is None:
                backbone, transform = library_of(LIBRARIES, place).load(place, image_size)
            else:
                backbone, transform = _load_saved(Path(place), record, image_size)
                layers = record.get("layers", layers)
                layer_pooling = record.get("layer_pooling", layer_pooling)
            return cls(
                DepthFeatures(backbone, layers, layer_pooling) if layers else backbone, transform, frozen
            )

    @classmethod
    def tiny(
        cls,
        seed: int = 0,
        architecture: str = "test_efficientnet",
        image_size: int = 64,
        frozen: bool = True,
        layers: Sequence[str] = (),
    ) -> Self:
        """Make a toy timm model with random weights that are a function of `seed`; no network.

        Args:
            seed: Seed of the weights.
            architecture: timm's toy with batch norm, `test_efficientnet`, or with a class token, `test_vit`.
            image_size: Side in pixels; 64 gives EfficientNet 4 tokens.
            frozen: Freeze it at once.
            layers: See `DepthFeatures`.
        """
        import timm

        from edge_glass.encoders.vision.timm import TimmBackbone, timm_transform

        settings = timm.get_pretrained_cfg(architecture)
        model_args: dict[str, Any] = (
            {"img_size": image_size} if settings is not None and settings.fixed_input_size else {}
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = timm.create_model(architecture, pretrained=False, **model_args)
        backbone: nn.Module = TimmBackbone(model, architecture, model_args)
        if layers:
            backbone = DepthFeatures(backbone, layers, "max")
        return cls(backbone, timm_transform(model, image_size), frozen)


def _load_saved(folder: Path, record: dict[str, Any], image_size: int | None) -> tuple[Any, ImageTransform]:
    """Load an encoder that `VisionEncoder.save` wrote; its size is part of it."""
    transform = ImageTransform.from_dict(record["transform"])
    if image_size not in (None, transform.image_size):
        raise AssetError(
            f"{folder}: expected image_size {transform.image_size}, which it was saved for; got {image_size}"
        )
    return LIBRARIES.load(record["kind"]).rebuild(folder, record, transform.image_size), transform
