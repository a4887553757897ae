"""How each family of Qwen's vision-language models writes boxes, and what its numbers mean.

    family       numbers                                   sides of the seen picture
    qwen2_vl     0 to 1000, relative to the picture        multiples of 28
    qwen2_5_vl   pixels of the picture as the model sees   multiples of 28
    qwen3_vl     0 to 1000, relative to the picture        multiples of 32

The corners are x1, y1, x2, y2. The seen size comes from `image_grid_thw`, what the processor really made of a
picture; computing it again with a second resize is how labels and pictures drift apart.

Sources: Qwen's notebook `qwen-vl-finetune/tools/process_bbox.ipynb` and its maintainers in issues 721 and 866
(0-1000; pixels of the resized picture), 1486 and 1623 (Qwen3-VL) of QwenLM/Qwen3-VL.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.boxes.parsing import (
    BOX_END,
    BOX_START,
    NOTHING,
    REF_END,
    REF_START,
    parse_qwen_bbox_output,
)

RELATIVE_RANGE: Final = 1000
BOX_FORMATS: Final = ("json", "tokens")
_SPECIAL: Final = re.compile(r"<\|\w+\|>")
_SLACK: Final = 1e-6  # pixels; for float arithmetic


class SeenSize(NamedTuple):
    """A picture's size in pixels as the model receives it."""

    width: int
    height: int


class Convention(NamedTuple):
    """What the numbers of a family mean, and of what the sides of a seen picture are multiples."""

    relative: bool
    factor: int


FAMILIES: Final = {
    "qwen2_vl": Convention(relative=True, factor=28),
    "qwen2_5_vl": Convention(relative=False, factor=28),
    "qwen3_vl": Convention(relative=True, factor=32),
}


@dataclass(frozen=True)
class ReadBoxes:
    """The boxes of an answer, in pixels of the source picture.

    Attributes:
        boxes: float64 `[n, 4]` xyxy, clipped to the picture.
        labels: What each box is; empty text where the answer does not say.
        problem: Why the answer cannot be read, in one sentence; None when it holds a usable box or says that
            there is none.
        cut_off: Whether the text stops in the middle of something.
        dropped: A sentence for each box that was written but cannot be used.
        spans: Where in the text the numbers of each box stand.
    """

    boxes: np.ndarray
    labels: list[str]
    problem: str | None
    cut_off: bool
    dropped: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class BoxCodec:
    """Boxes to numbers and text of one model family, and back; made by `box_codec`.

    Sources are (width, height) of the upright picture that boxes are pixels of. `seen` may be None for
    families with relative numbers, which do not depend on it.
    """

    family: str
    box_format: str = "json"

    @property
    def relative(self) -> bool:
        """Whether numbers go from 0 to 1000; otherwise they are pixels of the seen picture."""
        return FAMILIES[self.family].relative

    @property
    def factor(self) -> int:
        """The sides of every seen picture are multiples of it: patch size times merge size."""
        return FAMILIES[self.family].factor

    def encode(self, boxes: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        """The numbers that are written, int64 `[n, 4]`, rounded and clamped to their range.

        The range ends at 1000, or at the last pixel of the seen picture (its width - 1).

        Args:
            boxes: float `[n, 4]` xyxy pixels of the source.
            source: Its width and height.
            seen: Its size for the model.

        Raises:
            ValueError: A coordinate is not finite, or the family needs `seen` and it is not given or wrong.
        """
        pixels = _as_boxes(boxes)
        if not np.isfinite(pixels).all():
            raise ValueError("boxes with coordinates that are not finite cannot be written")
        ranges = self._ranges(seen)
        numbers = np.rint(pixels * ranges / _twice(source))
        return np.clip(numbers, 0, ranges - (0 if self.relative else 1)).astype(np.int64)

    def decode(self, numbers: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        """Pixels of the source, float64 `[n, 4]` xyxy, from written numbers `[n, 4]`; clipped to the picture.

        Raises:
            ValueError: The family needs `seen` and it is not given or wrong.
        """
        ranges = self._ranges(seen)
        # Clipped first: an answer may hold any number, and the greatest would overflow when multiplied.
        return np.clip(_as_boxes(numbers), 0.0, ranges) * _twice(source) / ranges

    def order(self, boxes: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        """Which box comes when in an answer, int64 `[n]`: top to bottom, then left to right, as written."""
        numbers = self.encode(boxes, source, seen)
        return np.lexsort((numbers[:, 2], numbers[:, 3], numbers[:, 0], numbers[:, 1]))

    def write(
        self, boxes: Any, labels: Sequence[str], source: tuple[int, int], seen: SeenSize | None = None
    ) -> str:
        """The answer to "where are they": every box with its label, in `order`.

        Raises:
            ValueError: Boxes and labels differ in number, or `encode` refuses the boxes.
            DataError: A label holds a special token, which a tokenizer would not read as text.
        """
        numbers = self.encode(boxes, source, seen)
        if len(numbers) != len(labels):
            raise ValueError(f"{len(numbers)} boxes, but {len(labels)} labels")
        places = self.order(boxes, source, seen)
        found = [(numbers[at].tolist(), _checked_label(labels[at])) for at in places]
        if self.box_format == "json":
            values = [{"bbox_2d": corners, "label": label} for corners, label in found]
            return json.dumps(values, ensure_ascii=False)
        texts = [
            f"{REF_START}{label}{REF_END}{BOX_START}({x1},{y1}),({x2},{y2}){BOX_END}"
            for (x1, y1, x2, y2), label in found
        ]
        return "".join(texts) or NOTHING

    def read(self, text: str, source: tuple[int, int], seen: SeenSize | None = None) -> ReadBoxes:
        """The boxes of a generated answer; any text is an answer, and `problem` says why it has none.

        Numbers beyond their range are accepted and clipped to the picture; inverted ones are dropped.
        """
        found = parse_qwen_bbox_output(text)
        boxes = self.decode(found.numbers, source, seen)
        return ReadBoxes(boxes, found.labels, found.problem, found.cut_off, found.dropped, found.spans)

    def worst_error(self, source: tuple[int, int], seen: SeenSize | None = None) -> tuple[float, float]:
        """Bound of |read(write(box)) - box| for x and y, in pixels of the source.

        Half a step of the numbers; a whole one for pixels, as the right and lower border of the picture lie
        one step beyond the last pixel.
        """
        steps = (_twice(source) / self._ranges(seen))[:2] * (0.5 if self.relative else 1.0) + _SLACK
        return float(steps[0]), float(steps[1])

    def _ranges(self, seen: SeenSize | None) -> np.ndarray:
        """The numbers at the right and the lower border of the picture, twice, float64 `[4]`."""
        if self.relative:
            return np.full(4, float(RELATIVE_RANGE))
        if seen is None:
            raise ValueError(f"boxes of {self.family} are pixels of the seen picture, whose size is missing")
        if min(seen) < 1 or seen[0] % self.factor or seen[1] % self.factor:
            raise ValueError(
                f"a picture seen by {self.family} has sides that are multiples of {self.factor}, "
                f"not {seen[0]}x{seen[1]}; take the size from image_grid_thw"
            )
        return _twice(seen)


def box_codec(family: str, box_format: str = "json") -> BoxCodec:
    """The codec of a model family.

    Args:
        family: `config.model_type` of the model.
        box_format: `json` or `tokens`.

    Raises:
        ConfigError: One of them is unknown.
    """
    if family not in FAMILIES:
        raise ConfigError(f"vlm.family: {family!r} is unknown; boxes are known of {', '.join(FAMILIES)}")
    if box_format not in BOX_FORMATS:
        raise ConfigError(
            f"detection.box_format: {box_format!r} is unknown; it is {' or '.join(BOX_FORMATS)}"
        )
    return BoxCodec(family, box_format)


def seen_size(grid_thw: Any, patch_size: int) -> SeenSize:
    """The size in pixels of a picture as the model receives it.

    Args:
        grid_thw: Its row `[3]` of `image_grid_thw`: time, rows and columns in patches.
        patch_size: Side of a patch: 14, or 16 for Qwen3-VL.
    """
    _, rows, columns = (int(number) for number in grid_thw)
    return SeenSize(columns * patch_size, rows * patch_size)


def _twice(size: tuple[int, int]) -> np.ndarray:
    return np.array([*size, *size], dtype=np.float64)


def _as_boxes(boxes: Any) -> np.ndarray:
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes are [n, 4], not {list(array.shape)}")
    return array


def _checked_label(label: str) -> str:
    if special := _SPECIAL.search(label):
        raise DataError(f"the label {label!r} holds the special token {special[0]}; rename that category")
    return label.strip()
