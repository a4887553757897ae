"""Progress bars on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar(what: str, total: int, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr when that is a terminal, and remove it at the end.

    It appears with the first step, so that nothing to do shows nothing.

    Args:
        what: The words before the bar.
        total: How many steps there are.
        shown: Whether to show it at all.

    Yields:
        A function to call with the number of steps that were done.
    """
    console = Console(stderr=True)
    columns = (TextColumn(what, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True)
    line = bar.add_task(what, total=total)

    def advance(done: int) -> None:
        bar.start()
        bar.update(line, advance=done)

    try:
        yield advance
    finally:
        bar.stop()
