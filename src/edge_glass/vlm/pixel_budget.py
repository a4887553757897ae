"""How many pixels of a picture the model may see: set once, and believed only when its effect was seen.

The boxes of Qwen2.5-VL are pixels of the resized picture, and those of all families depend on what is still
visible in it. So a checkpoint keeps its budget, and is not read with another. A budget that is accepted but
ignored was a bug of the library (https://github.com/huggingface/transformers/issues/41955).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

from edge_glass.core.errors import CheckpointError, ConfigError

LARGE = (4000, 3000)  # width, height of the picture that must be shrunk
TINY = (16, 12)


@dataclass(frozen=True)
class PixelBudget:
    """What decides the picture that a model sees.

    Attributes:
        min_pixels: Area below which pictures are enlarged.
        max_pixels: Area above which they are shrunk.
        patch_size: Pixels along a patch.
        merge_size: Patches along a token.
        temporal_patch_size: Frames of a patch.
        resample: Kernel of the resizing, by Pillow's number.
        image_processor: Class that does it; its two backends give different pixels.
    """

    min_pixels: int
    max_pixels: int
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    resample: int
    image_processor: str

    @property
    def factor(self) -> int:
        """Return pixels along a token; sides of what the model sees are multiples of it."""
        return self.patch_size * self.merge_size

    @classmethod
    def of(cls, processor: Any) -> Self:
        """Return what a processor says of itself."""
        images = processor.image_processor
        return cls(
            min_pixels=int(images.size["shortest_edge"]),
            max_pixels=int(images.size["longest_edge"]),
            patch_size=int(images.patch_size),
            merge_size=int(images.merge_size),
            temporal_patch_size=int(images.temporal_patch_size),
            resample=int(images.resample),
            image_processor=type(images).__name__,
        )

    def record(self) -> dict[str, Any]:
        """Return it as plain data, for a file."""
        return asdict(self)

    def require(self, found: PixelBudget, what: str) -> None:
        """Refuse a processor that would show the model other pictures.

        Raises:
            CheckpointError: `found` is another budget.
        """
        wrong = [
            f"{name}: expected {expected}, got {getattr(found, name)}"
            for name, expected in self.record().items()
            if getattr(found, name) != expected
        ]
        if wrong:
            raise CheckpointError(
                f"{what}: the processor has another pixel budget than the model was trained with: "
                + ", ".join(wrong)
            )


def set_pixel_budget(processor: Any, min_pixels: int, max_pixels: int, family: str) -> PixelBudget:
    """Set the areas between which pictures are resized, and make sure that they are.

    Args:
        processor: Of a Qwen vision-language model; changed in place, its video processor too.
        min_pixels: Smaller pictures are enlarged to so many.
        max_pixels: Larger ones are shrunk to so many.
        family: For messages.

    Raises:
        ConfigError: Less than one token, a minimum above the maximum, or no effect.
    """
    images = processor.image_processor
    token = (images.patch_size * images.merge_size) ** 2
    if not token <= max_pixels:
        raise ConfigError(
            f"vlm.max_pixels: expected at least {token}, one token of {family}, got {max_pixels}"
        )
    if not 0 < min_pixels <= max_pixels:
        raise ConfigError(
            f"vlm.min_pixels: expected above 0 and at most vlm.max_pixels ({max_pixels}), got {min_pixels}"
        )
    # Areas, whatever the names of the library say.
    images.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    if (video := getattr(processor, "video_processor", None)) is not None:
        video.size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    budget = PixelBudget.of(processor)
    require_effect(processor, budget)
    return budget


def require_effect(processor: Any, budget: PixelBudget) -> None:
    """Push a large and a tiny picture through a processor, and see that they come out within the budget.

    Raises:
        ConfigError: They do not.
    """
    # More pixels than these would show no more, and cost time: 16 budgets, never less than was meant.
    shrink = min(1.0, math.sqrt(16 * budget.max_pixels / math.prod(LARGE)))
    large = (math.ceil(LARGE[0] * shrink), math.ceil(LARGE[1] * shrink))
    wanted = min(math.prod(large), budget.max_pixels)
    seen = _seen_area(processor, large)
    rounding = budget.max_pixels if wanted == budget.max_pixels else _area_grown(large, wanted, budget.factor)
    if not _area_grown(large, wanted, -budget.factor) <= seen <= rounding:
        raise ConfigError(_no_effect(processor, "max", large, seen, budget.max_pixels))
    seen = _seen_area(processor, TINY)
    if not budget.min_pixels <= seen <= _area_grown(TINY, budget.min_pixels, budget.factor):
        raise ConfigError(_no_effect(processor, "min", TINY, seen, budget.min_pixels))


def _seen_area(processor: Any, size: tuple[int, int]) -> int:
    """Return pixels of a picture of this size as the model would see it."""
    from PIL import Image

    images = processor.image_processor
    grid = images(images=[Image.new("RGB", size, "grey")], return_tensors="pt")["image_grid_thw"]
    return int(grid[0].prod()) * images.patch_size**2


def _area_grown(size: tuple[int, int], area: int, by: int) -> float:
    """Return the area of a picture of this shape and of about `area` pixels, when its sides grow by `by`."""
    scale = math.sqrt(area / math.prod(size))
    sides = (side * scale + by for side in size)
    return math.prod(max(side, 0.0) for side in sides)


def _no_effect(processor: Any, which: str, size: tuple[int, int], seen: int, budget: int) -> str:
    return (
        f"vlm.{which}_pixels is {budget}, but {type(processor.image_processor).__name__} shows the model a "
        f"picture of {size[0]}×{size[1]} with {seen} pixels. This version of transformers reads the budget "
        "differently; install one that this package was tested with (constraints.txt)"
    )
