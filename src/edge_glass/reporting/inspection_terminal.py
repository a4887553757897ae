"""What the model sees, on a terminal: every token marked as trained, read only or special."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.text import Text

from edge_glass.reporting.inspection_tokens import (
    InspectedInput,
    InspectedSample,
    chips,
    count_checks,
    visible,
)

TRAINED: Final = "bold underline white on blue"
READ: Final = ""
SPECIAL: Final = "magenta"
PREFIX: Final = "yellow"
QUIET: Final = "bright_black"
GOOD: Final = "green"
BAD: Final = "bold red"
INDENT: Final = (0, 0, 0, 2)


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
