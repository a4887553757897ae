"""Samples as a model receives them, as a page and on a terminal: what `edge-glass inspect` shows."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from edge_glass.encoders.image_transform import to_rgb
from edge_glass.reporting.boxes import ShownBox
from edge_glass.reporting.page import write_page

if TYPE_CHECKING:
    from PIL import Image

MODALITY_WORDS: Final = {"vision": "picture", "audio": "sound"}
SAME_IN_A_ROW: Final = 4
"""So many equal special tokens become one chip, such as those that hold the place of a picture."""

_MARKS: Final = {" ": "·", "\n": "↵", "\t": "⇥"}
_INVISIBLE: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}

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
class InspectedToken:
    """One token of a conversation.

    Attributes:
        text: Decoded, with its blanks; see `token_text`.
        id: Its number in the vocabulary.
        trained: Whether a loss is taken on it.
        special: Whether it is a marker that stands for no text.
    """

    text: str
    id: int
    trained: bool
    special: bool


@dataclass(frozen=True)
class InspectedInput:
    """A picture or sound of a sample, before and after the transform.

    Attributes:
        modality: What it is.
        tokens: Prefix tokens it becomes; 0 where it has none, or where they stand among the sample's tokens.
        source: As it is stored; anything may be drawn on it. None for a sound.
        seen: What the encoder receives, un-normalised: a picture, or a sound's spectrogram.
        source_size: In words, such as "64 × 64" or "3.2 s".
        seen_size: In words, such as "224 × 224" or "80 bands × 320 frames".
        note: Anything else to know, or "".
        inside: Tokens of the sample that stand for it, where they stand among the words.
        source_boxes: What is on the source picture.
        seen_boxes: What the trained tokens say, read back, on the picture that the model sees.
    """

    modality: Literal["vision", "audio"]
    tokens: int
    source: Image.Image | None
    seen: Image.Image | None
    source_size: str
    seen_size: str
    note: str = ""
    inside: int = 0
    source_boxes: tuple[ShownBox, ...] = ()
    seen_boxes: tuple[ShownBox, ...] = ()

    @property
    def word(self) -> str:
        """ "picture" or "sound"."""
        return MODALITY_WORDS[self.modality]


@dataclass(frozen=True)
class InspectedSample:
    """One sample as the model receives it.

    Attributes:
        id: Its name in the data set.
        split: The split it is from.
        inputs: Pictures and sounds, in the order of their prefix tokens.
        prompt: What stands before the last answer, as text with its markers.
        tokens: The whole conversation.
        prompt_tokens: How many of the first tokens are the prompt of the last answer.
        trained_tokens: How many tokens a loss is taken on.
        checks: What must hold, in words, each with None where it holds, else with what is wrong.
        facts: Anything else to show, by name.
        opening: Before which of the tokens those of pictures and sounds stand.
    """

    id: str
    split: str
    inputs: tuple[InspectedInput, ...]
    prompt: str
    tokens: tuple[InspectedToken, ...]
    prompt_tokens: int
    trained_tokens: int
    checks: tuple[tuple[str, str | None], ...]
    facts: dict[str, str]
    opening: int = 0

    @property
    def prefix_tokens(self) -> int:
        """Tokens that are no words: of all pictures and sounds."""
        return sum(one.tokens for one in self.inputs)


@dataclass(frozen=True)
class Chip:
    """A token as it is shown, or several equal special ones.

    Attributes:
        parts: Pieces of its text; the second value says that a piece stands for what cannot be seen.
        token: The token, or the first of them.
        position: Where it stands among the sample's tokens, from 0.
        count: How many tokens it is.
        ends_line: Whether a new line begins behind it.
    """

    parts: tuple[tuple[str, bool], ...]
    token: InspectedToken
    position: int
    count: int
    ends_line: bool

    @property
    def text(self) -> str:
        """On one line, without a blank."""
        return "".join(part for part, _ in self.parts) + (f"×{self.count}" if self.count > 1 else "")

    @property
    def hint(self) -> str:
        """All that is known of it, in words."""
        last = f" to {self.position + self.count}" if self.count > 1 else ""
        kind = ("trained" if self.token.trained else "read only") + " marker" * self.token.special
        number = f"number {self.token.id} of the vocabulary"
        return f"token {self.position + 1}{last} of the words · {kind} · {number}"


@dataclass(frozen=True)
class CheckCount:
    """How many samples an invariant holds for; `wrong` are the numbers (from 1) of those it fails for."""

    name: str
    total: int
    wrong: tuple[int, ...]


def inspected_tokens(
    tokenizer: Any, ids: Iterable[int], trained: Iterable[bool], special: Collection[int]
) -> tuple[InspectedToken, ...]:
    """Return tokens to look at, from what a batch holds.

    Args:
        tokenizer: Of transformers.
        ids: Of one conversation.
        trained: Whether each has a label.
        special: Ids that stand for no text.
    """
    return tuple(
        InspectedToken(token_text(tokenizer, int(number)), int(number), bool(label), int(number) in special)
        for number, label in zip(ids, trained, strict=True)
    )


def token_text(tokenizer: Any, number: int) -> str:
    """Return the text of one token, with the blank in front that tokenizers of words like to drop.

    A token that is a part of a character, so that it has no text of its own, gives its bytes: `<E7><8A>`.
    """
    piece = tokenizer.convert_ids_to_tokens(number)
    if piece is None:
        return f"<{number}>"
    text = str(tokenizer.decode([number]))
    if "\N{REPLACEMENT CHARACTER}" in text:
        known = _byte_characters()
        if piece.isascii() or not known.keys() >= set(piece):  # "<0xE7>", as SentencePiece writes a byte
            return str(piece).replace("<0x", "<")
        return "".join(chr(byte) if byte < 128 else f"<{byte:02X}>" for byte in map(known.__getitem__, piece))
    return f" {text}" if piece.startswith("▁") and not text.startswith(" ") else text


def _byte_characters() -> dict[str, int]:
    """Return the characters that byte-level tokenizers write bytes as: GPT-2's table."""
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in same]
    return {chr(byte): byte for byte in same} | {chr(256 + n): byte for n, byte in enumerate(others)}


def visible_parts(text: str, keep: str = "") -> tuple[tuple[str, bool], ...]:
    """Put signs where nothing would be seen; return pieces, each with whether it is a sign.

    Blanks, line ends, control characters (no text may steer a terminal) and invisible ones are replaced.

    Args:
        text: Any text.
        keep: Characters that stay what they are.
    """
    signs = [(char, None) if char in keep else (char, _sign(char)) for char in text]
    return tuple(
        ("".join(sign or char for char, sign in group), is_sign)
        for is_sign, group in groupby(signs, key=lambda pair: pair[1] is not None)
    )


def visible(text: str, keep: str = " ") -> str:
    """Do as `visible_parts`, in one piece."""
    return "".join(part for part, _ in visible_parts(text, keep))


def _sign(char: str) -> str | None:
    if char in _MARKS:
        return _MARKS[char]
    if unicodedata.category(char) not in _INVISIBLE:
        return None
    return f"<{ord(char):02X}>" if ord(char) < 128 else f"<U+{ord(char):04X}>"


def chips(tokens: Sequence[InspectedToken]) -> list[Chip]:
    """Return tokens as they are shown, in order; long runs of one special token are drawn together."""
    found: list[Chip] = []
    position = 0
    for _, group in groupby(tokens, key=lambda token: token):
        run = list(group)
        together = run[0].special and len(run) >= SAME_IN_A_ROW
        for token in run[:1] if together else run:
            follows = position + 1 < len(tokens) and "\n" in tokens[position + 1].text
            parts = visible_parts(token.text) or (("∅", True),)
            count = len(run) if together else 1
            found.append(Chip(parts, token, position, count, "\n" in token.text and not follows))
            position += count
    return found


def count_checks(samples: Sequence[InspectedSample]) -> list[CheckCount]:
    """Count for every invariant the samples it holds for, in the order they were checked."""
    totals: dict[str, int] = {}
    wrong: dict[str, list[int]] = {}
    for number, sample in enumerate(samples, start=1):
        for name, fault in sample.checks:
            totals[name] = totals.get(name, 0) + 1
            if fault is not None:
                wrong.setdefault(name, []).append(number)
    return [CheckCount(name, total, tuple(wrong.get(name, ()))) for name, total in totals.items()]


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
    """Keep text as it is, but for characters that have no picture."""
    return visible(str(text), keep=_IN_PROMPTS)


def _encode(picture: Image.Image | None, most: int | None = None) -> _Shown | None:
    """Encode a picture as PNG; as JPEG where it is scaled down to `most` pixels."""
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
class Inspection:
    """Samples as the model receives them, with what there is to know of the whole.

    `rich.console.Console.print` shows them: on a terminal with colours trained tokens are underlined white on
    blue; elsewhere, and with NO_COLOR, they stand in brackets.

    Attributes:
        samples: In the order they are shown.
        lengths: Lines of the length report of their split.
        title: Name of the experiment.
        overview: Facts by name: model, decoder, tokenizer, prompt template, prefix.
    """

    samples: Sequence[InspectedSample]
    lengths: Sequence[str] = ()
    title: str = ""
    overview: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> Inspection:
        """Return what `rich` prints on a terminal."""
        return self

    def write_page(self, path: str | Path) -> Path:
        """Write the samples as one self-contained HTML page and return its path."""
        inputs = [one for sample in self.samples for one in sample.inputs]
        return write_page(
            Path(path),
            "inspection.html.j2",
            title=_clean(self.title),
            samples=[_sample(sample) for sample in self.samples],
            lengths=[_clean(line) for line in self.lengths],
            overview={_clean(name): _clean(value) for name, value in self.overview.items()},
            checks=count_checks(self.samples),
            inside=any(one.inside for one in inputs),
            boxes=any(one.source_boxes or one.seen_boxes for one in inputs),
            clean=_clean,
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print legend, samples, what was checked, lengths."""
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
    """Give number, name, split and facts; then what becomes of the inputs, and lengths."""
    facts = [visible(sample.split), *(f"{visible(k)} {visible(v)}" for k, v in sample.facts.items())]
    yield Text(f"{number}  {visible(sample.id)}", "bold").append(
        f"  {' · '.join(facts)}", f"not bold {QUIET}"
    )
    described = [_describe(one) for one in sample.inputs]
    described.append(f"prompt {sample.prompt_tokens} tokens, trained {sample.trained_tokens}")
    yield Padding(Text(" · ".join(described), QUIET), INDENT)


def _describe(one: InspectedInput) -> str:
    """Say in a line: "picture 64 × 64 → 224 × 224 → 49 tokens"."""
    steps = [visible(size) for size in (one.source_size, one.seen_size) if size]
    steps += [f"{count} token{'s' * (count > 1)}" for count in (one.tokens, one.inside) if count]
    return f"{one.word} {' → '.join(steps)}" + (f" ({visible(one.note)})" if one.note else "")


def _tokens(sample: InspectedSample, plain: bool) -> Text:
    """Write the whole sequence; a blank between two tokens belongs to neither."""
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
    """Give one line for each invariant."""
    for check in count_checks(samples):
        held = f"{check.total - len(check.wrong)} of {check.total} samples"
        if check.wrong:
            numbers = ", ".join(map(str, check.wrong))
            yield Text(f"✗ {visible(check.name)}: holds for {held}, not for {numbers}", BAD)
        else:
            yield Text("✓ ", GOOD).append(f"{visible(check.name)}: {held}", "default")
