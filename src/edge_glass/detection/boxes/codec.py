"""Boxes to text and back, by the `Convention` of a family (`edge_glass.vlm.family`).

The seen size comes from `image_grid_thw`, what the processor really made of a picture; computing it again
with a second resize is how labels and pictures drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from edge_glass.core.boxes import as_boxes
from edge_glass.core.errors import DataError
from edge_glass.detection.boxes.formats import WrittenBox, load_format
from edge_glass.detection.boxes.parsing import ParsedAnswer, parse_boxes
from edge_glass.vlm.family import Convention, SeenSize, load_family

_SPECIAL: Final = re.compile(r"<\|\w+\|>")
_SLACK: Final = 1e-6  # pixels; for float arithmetic


@dataclass(frozen=True)
class BoxCodec:
    """Boxes to numbers and text of one model family, and back; made by `box_codec`.

    Sources are (width, height) of the upright picture that boxes are pixels of. `seen` may be None for
    families with relative numbers, which do not depend on it.
    """

    family: str
    box_format: str = "json"

    @cached_property
    def convention(self) -> Convention:
        """What the family's numbers mean."""
        return load_family(self.family).boxes

    @property
    def relative(self) -> bool:
        """Whether the numbers are relative to the picture; else they are pixels of the seen picture."""
        return self.convention.range is not None

    @cached_property
    def factor(self) -> int:
        """The sides of every seen picture are multiples of it: patch size times merge size."""
        return load_family(self.family).token_side

    def encode(self, boxes: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        """Return the numbers that are written, int64 `[n, 4]` xyxy, rounded and clamped to their range.

        The range ends at the convention's, at its last bin, or at the last pixel of the seen picture.

        Args:
            boxes: float `[n, 4]` xyxy pixels of the source.
            source: Its width and height.
            seen: Its size for the model.

        Raises:
            ValueError: A coordinate is not finite, or the family needs `seen` and it is not given or wrong.
        """
        pixels = as_boxes(boxes, finite=True)
        ranges = self._ranges(seen)
        places = pixels * ranges / _twice(source)
        numbers = np.floor(places) if self._counts_bins else np.rint(places)
        ends_at_border = self.relative and not self._counts_bins
        return np.clip(numbers, 0, ranges - (0 if ends_at_border else 1)).astype(np.int64)

    def decode(self, numbers: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        """Return pixels of the source, float64 `[n, 4]` xyxy, clipped to the picture.

        Args:
            numbers: As written but in the order x1 y1 x2 y2, `[n, 4]`.
            source: Width and height of the source.
            seen: Its size for the model.

        Raises:
            ValueError: The family needs `seen` and it is not given or wrong.
        """
        ranges = self._ranges(seen)
        # Clipped first: an answer may hold any number, and the greatest would overflow when multiplied.
        middle = 0.5 if self._counts_bins else 0.0
        return np.clip(as_boxes(numbers) + middle, 0.0, ranges) * _twice(source) / ranges

    def order(self, boxes: Any, source: tuple[int, int], seen: SeenSize | None = None) -> np.ndarray:
        """Return which box comes when in an answer, int64 `[n]`: top to bottom, then left to right."""
        numbers = self.encode(boxes, source, seen)
        return np.lexsort((numbers[:, 2], numbers[:, 3], numbers[:, 0], numbers[:, 1]))

    def write(
        self, boxes: Any, labels: Sequence[str], source: tuple[int, int], seen: SeenSize | None = None
    ) -> str:
        """Write the answer to "where are they": every box with its label, in `order`.

        Raises:
            ValueError: Boxes and labels differ in number, or `encode` refuses the boxes.
            DataError: A label holds a special token, which a tokenizer would not read as text.
        """
        numbers = self.encode(boxes, source, seen)
        if len(numbers) != len(labels):
            raise ValueError(
                f"expected a label for each box, got {len(numbers)} boxes and {len(labels)} labels"
            )
        written = numbers[:, self._columns].tolist()
        order = self.order(boxes, source, seen)
        found = [WrittenBox(written[at], _checked_label(labels[at])) for at in order]
        return load_format(self.box_format).write(found, self.convention.grammar)

    def read(self, text: str, source: tuple[int, int], seen: SeenSize | None = None) -> ParsedAnswer:
        """Read the boxes of a generated answer; any text is an answer, and `problem` says why it has none.

        Numbers beyond their range are accepted and clipped to the picture; inverted ones are dropped.
        """
        found = parse_boxes(text, self.convention.grammar, self.box_format)
        return replace(found, boxes=self.decode(found.numbers[:, self._columns], source, seen))

    def worst_error(self, source: tuple[int, int], seen: SeenSize | None = None) -> tuple[float, float]:
        """Bound of |read(write(box)) - box| for x and y, in pixels of the source.

        Half a step of the numbers; a whole one for pixels, as the right and lower border of the picture lie
        one step beyond the last pixel.
        """
        steps = (_twice(source) / self._ranges(seen))[:2] * (0.5 if self.relative else 1.0) + _SLACK
        return float(steps[0]), float(steps[1])

    @property
    def _columns(self) -> list[int]:
        """Where x1, y1, x2 and y2 stand in what is written; also the way back."""
        return [0, 1, 2, 3] if self.convention.order == "xyxy" else [1, 0, 3, 2]

    @property
    def _counts_bins(self) -> bool:
        return self.convention.rounding == "floor"

    def _ranges(self, seen: SeenSize | None) -> np.ndarray:
        """The numbers at the right and the lower border of the picture, twice, float64 `[4]`."""
        if self.convention.range is not None:
            return np.full(4, float(self.convention.range))
        if seen is None:
            raise ValueError(f"boxes of {self.family} are pixels of the seen picture, whose size is missing")
        if min(seen) < 1 or seen[0] % self.factor or seen[1] % self.factor:
            raise ValueError(
                f"a picture seen by {self.family} has sides that are multiples of {self.factor}, "
                f"not {seen[0]}x{seen[1]}; take the size from image_grid_thw"
            )
        return _twice(seen)


def box_codec(family: str, box_format: str = "json") -> BoxCodec:
    """Return the codec of a model family.

    Args:
        family: `config.model_type` of the model.
        box_format: `json`, `tokens` or another file of `edge_glass/detection/boxes/formats`.

    Raises:
        ConfigError: One of them is unknown.
    """
    load_family(family)
    load_format(box_format)
    return BoxCodec(family, box_format)


def seen_size(grid_thw: Any, patch_size: int) -> SeenSize:
    """Return the size in pixels of a picture as the model receives it.

    Args:
        grid_thw: Its row `[3]` of `image_grid_thw`: time, rows and columns in patches.
        patch_size: Side of a patch: 14, or 16 for Qwen3-VL.
    """
    _, rows, columns = (int(number) for number in grid_thw)
    return SeenSize(columns * patch_size, rows * patch_size)


def _twice(size: tuple[int, int]) -> np.ndarray:
    return np.array([*size, *size], dtype=np.float64)


def _checked_label(label: str) -> str:
    if special := _SPECIAL.search(label):
        raise DataError(f"the label {label!r} holds the special token {special[0]}; rename that category")
    return label.strip()
