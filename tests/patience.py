"""Waiting for what must happen soon on a machine that may be busy: for minutes, and without measuring."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE = 300
"""Seconds after which something hangs."""


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)


def join(thread: threading.Thread) -> None:
    """Wait until a thread has ended."""
    thread.join(PATIENCE)
    if thread.is_alive():
        raise TimeoutError(f"the thread {thread.name} hangs")
