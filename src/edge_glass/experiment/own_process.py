"""Call a function in a process of its own, so that its memory can be measured."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from edge_glass.core.errors import EdgeGlassError, TrainingError
from edge_glass.core.signals import stop_signals

LOGGERS = ("edge_glass", "bitsandbytes")  # their levels are those of the caller


def in_own_process(function: Callable[..., object], *arguments: Any) -> None:
    """Call a module-level function in a fresh process and wait for it; its result is dropped.

    SIGTERM, Ctrl-C and a closed terminal are forwarded, so that a run in it writes its checkpoint first.

    Raises:
        EdgeGlassError: With the message and exit code of the one raised there.
        TrainingError: The process died.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    process = context.Process(target=_call, args=(sender, levels, function, arguments))
    with _forwarding(process) as forwarded:
        with _without_main_module():
            process.start()
        sender.close()
        try:
            failure = receiver.recv()
        except EOFError:
            failure = None
        process.join()
    if failure is not None:
        error = EdgeGlassError(failure[0])
        error.exit_code = failure[1]
        raise error
    if forwarded and process.exitcode == -forwarded[-1]:  # it did not listen for signals yet
        error = EdgeGlassError("interrupted before a run began; the same command goes on with --resume")
        error.exit_code = 128 + forwarded[-1]
        raise error
    if process.exitcode:
        raise TrainingError(f"the process of a run ended with code {process.exitcode}; see above")


def _call(
    sender: Connection,
    levels: Mapping[str, int],
    function: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    """Run in the fresh process: log as the caller does, call, and send back an error of the user."""
    os.setpgrp()  # a Ctrl-C comes from the parent only, not from the terminal a second time
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        function(*arguments)
    except EdgeGlassError as error:
        sender.send((str(error), error.exit_code))


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a new process from importing the caller's script, which would run it once more."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _forwarding(process: Any) -> Iterator[list[int]]:
    """Send signals to stop on to the process; yield the list of those that came."""
    forwarded: list[int] = []

    def forward(number: int, frame: object) -> None:
        if process.pid is not None:
            forwarded.append(number)
            os.kill(process.pid, number)

    if threading.current_thread() is not threading.main_thread():
        yield forwarded
        return
    previous = {number: signal.signal(number, forward) for number in stop_signals()}
    try:
        yield forwarded
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
