"""The evaluation transform of pictures: plain data, deterministic, the same in training and in use."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from edge_glass.core.errors import ConfigError

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class ImageTransform:
    """Picture → normalised pixels; picklable, so that data workers need not carry the encoder.

    Attributes:
        image_size: Side of the square result, in pixels.
        resize: "crop" scales the shorter side to `resize_to` and cuts the centre out; "squash" scales the
            whole picture to the square, whatever its shape.
        resize_to: Shorter side before the crop; without meaning for "squash".
        interpolation: A key of `RESAMPLING`.
        mean: Per channel, subtracted from values in 0..1.
        std: Per channel, divided by afterwards.
    """

    image_size: int
    resize: Literal["crop", "squash"]
    resize_to: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.interpolation not in RESAMPLING:
            raise ConfigError(
                f"interpolation: expected one of {', '.join(RESAMPLING)}, got {self.interpolation!r}"
            )
        if self.resize == "crop" and self.resize_to < self.image_size:
            raise ConfigError(f"cannot cut {self.image_size} pixels out of {self.resize_to}")

    @property
    def id(self) -> str:
        """Stable text that changes whenever the pixels could."""
        shape = (
            f"shorter={self.resize_to},crop={self.image_size}"
            if self.resize == "crop"
            else f"{self.image_size}"
        )
        mean, std = (",".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return (
            f"image-v1;upright;rgb-on-white;{self.resize}:{shape};{self.interpolation};mean={mean};std={std}"
        )

    def __call__(self, image: Image.Image) -> Tensor:
        """Transform one picture of any size and mode.

        Returns:
            `[3, image_size, image_size]` float32, normalised.
        """
        return self.normalize(self.crop(image))

    def crop(self, image: Image.Image) -> Image.Image:
        """Cut the square RGB picture the encoder sees, before normalisation."""
        picture = to_rgb(image)
        size = self.image_size
        if self.resize == "squash":
            return picture.resize((size, size), RESAMPLING[self.interpolation])
        width, height = picture.size
        shorter = min(width, height)
        target = (self.resize_to * width // shorter, self.resize_to * height // shorter)
        picture = picture.resize(target, RESAMPLING[self.interpolation])
        left, top = (target[0] - size) // 2, (target[1] - size) // 2
        return picture.crop((left, top, left + size, top + size))

    def normalize(self, picture: Image.Image) -> Tensor:
        """Map an RGB picture → `[3, H, W]` float32, normalised.

        In numpy, on the calling thread: waking torch's threads for so little costs more than the work, and
        many times more where the cores are shared.
        """
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        values = np.asarray(picture, dtype=np.float32)
        values = values * (np.float32(1) / (255 * std)) - mean / std
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def to_picture(self, pixels: Tensor) -> Image.Image:
        """Turn normalised pixels back into the picture a person can look at: exactly what was normalised.

        Args:
            pixels: `[3, H, W]` as `normalize` gave them, on any device; what is beyond black and white
                is cut.
        """
        mean, std = (np.asarray(values, dtype=np.float32) for values in (self.mean, self.std))
        values = pixels.detach().float().cpu().numpy().transpose(1, 2, 0)
        return Image.fromarray(np.rint((values * std + mean) * 255).clip(0, 255).astype(np.uint8))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ImageTransform:
        """Read back what `to_dict` gave."""
        mean, std = tuple(data["mean"]), tuple(data["std"])
        return cls(**{**data, "mean": mean, "std": std})


def to_rgb(image: Image.Image) -> Image.Image:
    """Return any picture as upright RGB, white where it is transparent.

    Orientation from EXIF is applied (and, being removed then, applied once only); 16-bit greyscale is scaled
    to 8 bits instead of being clipped to white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.max(initial=0) > 255:
            values = values >> 8
        image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return image.convert("RGB")
