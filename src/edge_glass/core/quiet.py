"""Fewer log lines where they would be in the way of what is shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_warnings(name: str) -> Iterator[None]:
    """Let one logger, such as `edge_glass.decoders.lora`, pass warnings and errors only."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
