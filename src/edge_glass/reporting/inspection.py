"""What the model sees, as a page and on the terminal: `edge-glass inspect`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_glass.encoders.image_transform import to_rgb
from edge_glass.reporting.html import write_page
from edge_glass.reporting.inspection_terminal import inspection_lines
from edge_glass.reporting.inspection_tokens import (
    Chip,
    InspectedInput,
    InspectedSample,
    InspectedToken,
    chips,
    count_checks,
    inspected_tokens,
    token_text,
    visible,
)

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "InspectedInput",
    "InspectedSample",
    "InspectedToken",
    "inspected_tokens",
    "inspection_lines",
    "token_text",
    "write_inspection_page",
]

SOURCE_PIXELS: Final = 1024
"""Longer sides of source pictures are scaled down to this; what the model sees is shown pixel by pixel."""

_SHOWN: Final = (340, 190)  # most pixels a picture takes on the page
_SMALL: Final = 160  # pixels; smaller pictures are enlarged with their pixels kept apart
_IN_PROMPTS: Final = " \n\t\N{ZERO WIDTH JOINER}"


@dataclass(frozen=True)
class _Shown:
    """A picture as bytes, and how many pixels wide a page shows it.

    `pixelated`: so small that its pixels are to be seen one by one.
    """

    data: bytes
    width: int
    pixelated: bool


@dataclass(frozen=True)
class _Input:
    """An input with its pictures as bytes."""

    about: InspectedInput
    source: _Shown | None
    seen: _Shown | None


@dataclass(frozen=True)
class _Sample:
    """A sample with what the template draws."""

    about: InspectedSample
    id: str
    prompt: str
    inputs: list[_Input]
    before: list[Chip]  # of the inputs' tokens
    behind: list[Chip]
    bar: list[tuple[str, int, str]]  # kind, tokens, words


def write_inspection_page(
    path: Path,
    samples: Sequence[InspectedSample],
    title: str,
    lengths: Sequence[str],
    overview: Mapping[str, str],
) -> Path:
    """Write one self-contained page with every sample as the model receives it.

    Args:
        path: Of the page.
        samples: To show, in this order.
        title: Name of the experiment.
        lengths: Lines of `LengthReport.lines`; none are needed.
        overview: Facts about the whole by name: model, decoder, tokenizer, prompt template, prefix.
    """
    return write_page(
        path,
        "inspection.html.j2",
        title=_clean(title),
        samples=[_sample(sample) for sample in samples],
        lengths=[_clean(line) for line in lengths],
        overview={_clean(name): _clean(value) for name, value in overview.items()},
        checks=count_checks(samples),
        inside=any(one.inside for sample in samples for one in sample.inputs),
        boxes=any(one.source_boxes or one.seen_boxes for sample in samples for one in sample.inputs),
        clean=_clean,
    )


def _sample(sample: InspectedSample) -> _Sample:
    trained = sum(token.trained for token in sample.tokens)
    inside = sum(one.inside for one in sample.inputs)
    bar = [("prefix", one.tokens + one.inside, f"{one.word} tokens") for one in sample.inputs]
    bar += [("read", len(sample.tokens) - trained - inside, "read only"), ("trained", trained, "trained")]
    shown = chips(sample.tokens)
    return _Sample(
        about=sample,
        id=visible(sample.id),
        prompt=_clean(sample.prompt),
        inputs=[_Input(one, _encode(one.source, SOURCE_PIXELS), _encode(one.seen)) for one in sample.inputs],
        before=[chip for chip in shown if chip.position < sample.opening],
        behind=[chip for chip in shown if chip.position >= sample.opening],
        bar=[segment for segment in bar if segment[1]],
    )


def _clean(text: object) -> str:
    """Text as it is, but for characters that have no picture."""
    return visible(str(text), keep=_IN_PROMPTS)


def _encode(picture: Image.Image | None, most: int | None = None) -> _Shown | None:
    """A picture as PNG; as JPEG where it is scaled down to `most` pixels."""
    if picture is None:
        return None
    transparent = picture.has_transparency_data
    small = picture.convert("RGBA") if transparent else to_rgb(picture)
    scaled = most is not None and max(small.size) > most
    if scaled:
        small.thumbnail((most, most))  # type: ignore[arg-type]
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG" if scaled and not transparent else "PNG", quality=90)
    width = round(small.width * min(_SHOWN[0] / small.width, _SHOWN[1] / small.height))
    return _Shown(buffer.getvalue(), max(width, 1), max(small.size) < _SMALL)
