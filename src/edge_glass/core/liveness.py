"""Know which ranks are alive, so that a dead one is named instead of a collective that hangs for no reason.

Every rank writes a heartbeat into the rendezvous store each second, from a thread of its own, and reads those
of the others. What counts is that a heartbeat changes, so clocks need not agree.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from edge_glass.core.errors import EdgeGlassError, TrainingError

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SILENT_SECONDS = 5.0  # after a failed collective: no heartbeat for this long names the dead
GONE_SECONDS = 60.0  # no heartbeat for this long ends the process, even one stuck in a collective
ENDED = "ended: "


class Liveness:
    """The heartbeats of a run; made on every rank at the same point, after `init_process_group`."""

    def __init__(self, rank: int, world_size: int) -> None:
        self._where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._store = dist.TCPStore(host, port, is_master=False)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._prefix = f"edge_glass/{attempt}"
        # Started by hand, rank 0 holds the store itself; torchrun's agent outlives the ranks.
        self._holds_store = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self._keys = [f"{self._prefix}/alive/{number}" for number in range(world_size)]
        self._key = self._keys[rank]
        self._name = f"rank {rank} (process {os.getpid()} on {socket.gethostname()})"
        self._beats = self._waits = 0
        self._heard: dict[int, tuple[str, float]] = {}
        self._answered = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="liveness")
        self._store.set(self._key, f"0 {self._name}")
        dist.barrier()  # now every key is there

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Beat while the block runs; when it fails because a rank is gone, say which.

        Raises:
            TrainingError: Instead of what a collective raised, when ranks are silent.
        """
        self._beat()
        self._thread.start()
        try:
            yield
        except EdgeGlassError as error:
            self._announce_exit(str(error))
            raise
        except RuntimeError as error:  # what collectives raise, and a backward pass with one inside
            with _undisturbed():
                message = self._explain()
            self._announce_exit(message or repr(error))
            if message is None:
                raise
            raise TrainingError(message) from error
        except BaseException as error:
            self._announce_exit(repr(error))
            raise
        finally:
            self._stop.set()

    def wait_for_all(self) -> None:
        """Wait for all ranks, without a time limit, as long as each of them sends heartbeats."""
        self._waits += 1
        keys = [f"{self._prefix}/wait/{self._waits}/{key.rsplit('/', 1)[1]}" for key in self._keys]
        own = keys[self._keys.index(self._key)]
        self._store.set(own, "here")
        pause = 0.001
        while not self._store.check(keys):
            if gone := self._silent(GONE_SECONDS) or self._ended():
                raise TrainingError(_describe(gone))
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._beat()
            except RuntimeError as error:
                logger.debug("no answer from the rendezvous at %s: %s", self._where, error)
            if (gone := self._silent(GONE_SECONDS + SILENT_SECONDS)) and not self._stop.is_set():
                sys.stderr.write(f"error: {_describe(gone)}\n")  # the main thread may be stuck for ever
                sys.stderr.flush()
                os._exit(TrainingError.exit_code)

    def _beat(self) -> None:
        """Write the next heartbeat and read those of the others."""
        self._beats += 1
        self._store.set(self._key, f"{self._beats} {self._name}")
        self._listen()

    def _listen(self) -> None:
        """Read all heartbeats, and note when each of them changed."""
        values = self._store.multi_get(self._keys)
        now = self._answered = time.monotonic()
        for number, (key, value) in enumerate(zip(self._keys, values, strict=True)):
            if key == self._key:  # a busy machine may keep this process from beating, but it lives
                continue
            text = value.decode()
            if self._heard.get(number, ("", 0.0))[0] != text:
                self._heard[number] = (text, now)

    def _silent(self, seconds: float) -> list[str]:
        """Return who has been silent for so long. Without an answer from the store, whoever holds it."""
        now = time.monotonic()
        if now - self._answered > seconds:
            return [f"the process that holds the rendezvous at {self._where} (rank 0, or torchrun)"]
        quiet = [text for text, when in self._heard.values() if now - when > seconds]
        return [text.split(" ", 1)[1] for text in quiet if not text.startswith(ENDED)] or quiet

    def _ended(self) -> list[str]:
        """Return who announced that it ends."""
        return [text for text, _ in self._heard.values() if text.startswith(ENDED)]

    def _somebody_listens(self) -> bool:
        now = time.monotonic()
        return any(
            not text.startswith(ENDED) and now - when < SILENT_SECONDS for text, when in self._heard.values()
        )

    def _explain(self) -> str | None:
        """Return why a collective failed; None when all ranks are alive. Waits a few seconds to be sure."""
        deadline = time.monotonic() + SILENT_SECONDS + BEAT_SECONDS
        while time.monotonic() < deadline:
            if gone := self._ended():
                return _describe(gone)
            time.sleep(0.1)
        gone = self._silent(SILENT_SECONDS)
        return _describe(gone) if gone else None

    def _announce_exit(self, reason: str) -> None:
        self._stop.set()
        self._thread.join(timeout=2 * BEAT_SECONDS)  # its last heartbeat must not overwrite this
        try:
            self._store.set(self._key, f"{ENDED}{self._name}: {reason.splitlines()[0]}")
            if self._holds_store:
                self._wait_until_heard()
        except RuntimeError as error:
            logger.debug("the exit is not announced at %s: %s", self._where, error)

    def _wait_until_heard(self) -> None:
        """Keep the store up until all others have read why the run ended, or are silent."""
        deadline = time.monotonic() + SILENT_SECONDS
        self._listen()
        while self._somebody_listens() and time.monotonic() < deadline:
            time.sleep(0.1)
            self._listen()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore SIGTERM meanwhile: torchrun sends it to the survivors at once, and SIGKILL 30 s later."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _describe(gone: list[str]) -> str:
    last = "no sign of life came from" if not gone[0].startswith(ENDED) else "another process gave up first,"
    who = "; ".join(text.removeprefix(ENDED) for text in gone)
    return (
        f"a collective failed because a rank is gone: {last} {who}."
        "\nCheckpoints written so far are intact; continue with the same command and --resume."
    )
