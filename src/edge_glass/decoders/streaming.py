"""An answer as text, piece by piece while it is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import SimpleQueue

from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.decoders.decoder import Decoder, GenerationSettings
from edge_glass.decoders.joining import Prefix

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer of bytes makes of half a character


class _Abandoned(Exception):
    """Nobody listens any more."""


def stream_text(
    decoder: Decoder, prefix: Prefix | None, ids: Tensor, mask: Tensor, settings: GenerationSettings
) -> Iterator[str]:
    """The answer to one prompt in pieces; joined they are the decoded answer of `generate`.

    The model runs in a thread of its own, and stops at the next token when the iterator is closed.

    Args:
        decoder: Any decoder.
        prefix: Of one row, or None.
        ids: `[1, L]` int64.
        mask: `[1, L]` bool.
        settings: Without beams.

    Raises:
        ConfigError: More than one prompt, or beam search, which changes its mind.
    """
    if len(ids) != 1 or settings.num_beams > 1:
        found = f"{len(ids)} prompts with num_beams {settings.num_beams}"
        raise ConfigError(f"generation: streaming {found}; one prompt without beams would be right")
    return _pieces(decoder, prefix, ids, mask, settings)


def _pieces(
    decoder: Decoder, prefix: Prefix | None, ids: Tensor, mask: Tensor, settings: GenerationSettings
) -> Iterator[str]:
    queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
    closed = threading.Event()

    def take(_row: int, token: int) -> None:
        if closed.is_set():
            raise _Abandoned
        queue.put(token)

    def run() -> None:
        try:
            decoder.generate(prefix, ids, mask, settings, on_token=take)
            queue.put(None)
        except BaseException as error:  # handed to whoever reads
            queue.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield from _decode(decoder, queue)
    finally:
        closed.set()
        thread.join()


def _decode(decoder: Decoder, queue: SimpleQueue[int | BaseException | None]) -> Iterator[str]:
    """Text as soon as its characters are whole."""
    tokens: list[int] = []
    written = ""
    while (item := queue.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        tokens.append(item)
        text = decoder.tokenizer.decode(tokens, skip_special_tokens=True)
        if text.startswith(written) and len(text) > len(written) and not text.endswith(_UNFINISHED):
            yield text[len(written) :]
            written = text
    text = decoder.tokenizer.decode(tokens, skip_special_tokens=True)
    if text.startswith(written) and len(text) > len(written):
        yield text[len(written) :]
