"""What the model sees, as a page and on a terminal: `edge-glass inspect`."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from edge_glass.encoders.image_transform import to_rgb
from edge_glass.reporting.html import write_page
from edge_glass.reporting.inspection import (
    Chip,
    InspectedInput,
    InspectedSample,
    chips,
    count_checks,
    visible,
)

if TYPE_CHECKING:
    from PIL import Image

SOURCE_PIXELS: Final = 1024
"""Longer sides of source pictures are scaled down to this; what the model sees is shown pixel by pixel."""

_SHOWN: Final = (340, 190)  # most pixels a picture takes on the page
_SMALL: Final = 160  # pixels; smaller pictures are enlarged with their pixels kept apart
_IN_PROMPTS: Final = " \n\t\N{ZERO WIDTH JOINER}"

TRAINED: Final = "bold underline white on blue"
READ: Final = ""
SPECIAL: Final = "magenta"
PREFIX: Final = "yellow"
QUIET: Final = "bright_black"
GOOD: Final = "green"
BAD: Final = "bold red"
INDENT: Final = (0, 0, 0, 2)


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


@dataclass(frozen=True)
class InspectionView:
    """Samples for `rich.console.Console.print`: in colours, or with brackets where there are none."""

    samples: Sequence[InspectedSample]
    lengths: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Legend, samples, what was checked, lengths."""
        plain = console.no_color or console.color_system is None
        yield _legend(plain)
        for number, sample in enumerate(self.samples, start=1):
            yield Text()
            yield from _heading(number, sample)
            yield Padding(_tokens(sample, plain), INDENT)
            yield from (Padding(line, INDENT) for line in _faults(sample))
        yield Text()
        yield from _checked(self.samples)
        if self.lengths:
            yield Text()
            yield from (Text(visible(line)) for line in self.lengths)


def inspection_lines(samples: Sequence[InspectedSample], lengths: Sequence[str]) -> InspectionView:
    """The samples as something rich prints.

    On a terminal with colours trained tokens are underlined white on blue; elsewhere, and with NO_COLOR, they
    stand in brackets.

    Args:
        samples: To show.
        lengths: Lines of `LengthReport.lines`, shown below; none are needed.
    """
    return InspectionView(samples, lengths)


def _legend(plain: bool) -> Text:
    text = Text()
    for words, trained, special in (
        ("trained", True, False),
        ("read only", False, False),
        ("<marker>", False, True),
    ):
        text.append(f"[{words}]" if plain and trained else words, _style(trained, special)).append("  ")
    text.append("<picture×49>", PREFIX).append("  ")
    return text.append("· blank  ↵ line end  ×n tokens in a row", QUIET)


def _heading(number: int, sample: InspectedSample) -> Iterable[Text | Padding]:
    """Number, name, split and facts; then what becomes of the inputs, and lengths."""
    facts = [visible(sample.split), *(f"{visible(k)} {visible(v)}" for k, v in sample.facts.items())]
    yield Text(f"{number}  {visible(sample.id)}", "bold").append(
        f"  {' · '.join(facts)}", f"not bold {QUIET}"
    )
    described = [_describe(one) for one in sample.inputs]
    described.append(f"prompt {sample.prompt_tokens} tokens, trained {sample.trained_tokens}")
    yield Padding(Text(" · ".join(described), QUIET), INDENT)


def _describe(one: InspectedInput) -> str:
    """ "picture 64 × 64 → 224 × 224 → 49 tokens"."""
    steps = [visible(size) for size in (one.source_size, one.seen_size) if size]
    steps += [f"{count} token{'s' * (count > 1)}" for count in (one.tokens, one.inside) if count]
    return f"{one.word} {' → '.join(steps)}" + (f" ({visible(one.note)})" if one.note else "")


def _tokens(sample: InspectedSample, plain: bool) -> Text:
    """The whole sequence; a blank between two tokens belongs to neither."""
    text = Text(overflow="fold")
    shown = chips(sample.tokens)
    trained = [False, *(chip.token.trained for chip in shown), False]
    waiting = [one for one in sample.inputs if one.tokens]
    for before, chip, after in zip(trained, shown, trained[2:], strict=False):
        while waiting and chip.position >= sample.opening:
            one = waiting.pop(0)
            text.append(f"<{one.word}×{one.tokens}>", PREFIX).append(" ")
        opening = "[" * (plain and chip.token.trained and not before)
        closing = "]" * (plain and chip.token.trained and not after)
        text.append(f"{opening}{chip.text}{closing}", _style(chip.token.trained, chip.token.special))
        text.append("\n" if chip.ends_line else " ")
    text.rstrip()
    return text


def _style(trained: bool, special: bool) -> str:
    if trained:
        return TRAINED
    return SPECIAL if special else READ


def _faults(sample: InspectedSample) -> Iterable[Text]:
    for name, fault in sample.checks:
        if fault is not None:
            yield Text(f"✗ {visible(name)}: {visible(fault)}", BAD)


def _checked(samples: Sequence[InspectedSample]) -> Iterable[Text]:
    """One line for each invariant."""
    for check in count_checks(samples):
        held = f"{check.total - len(check.wrong)} of {check.total} samples"
        if check.wrong:
            numbers = ", ".join(map(str, check.wrong))
            yield Text(f"✗ {visible(check.name)}: holds for {held}, not for {numbers}", BAD)
        else:
            yield Text("✓ ", GOOD).append(f"{visible(check.name)}: {held}", "default")
