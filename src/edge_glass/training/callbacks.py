"""Side effects of training: the log file, the progress bar, signals. None of them touches the loss."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from edge_glass.core import distributed
from edge_glass.core.files import write_whole
from edge_glass.core.signals import stop_signals

logger = logging.getLogger(__name__)


class MetricsLog(TrainerCallback):
    """Appends every logged event to `metrics.jsonl`.

    On resume, lines later than the checkpoint are dropped first: those steps are about to be taken again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.perf_counter()
        self.earlier = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero and self.path.exists():
            kept = [line for line in read_lines(self.path) if line.get("step", 0) <= state.global_step]
            kept = kept if state.global_step > 0 else []
            write_whole(self.path, "".join(f"{json.dumps(line)}\n" for line in kept))
            self.earlier = kept[-1].get("time", 0.0) if kept else 0.0
        self.started = time.perf_counter()

    def elapsed(self) -> float:
        """Return seconds of training, those before a resume included."""
        return self.earlier + time.perf_counter() - self.started

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not state.is_world_process_zero:
            return
        line = {"step": state.global_step, "epoch": state.epoch, "time": round(self.elapsed(), 3)}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line | (logs or {})) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a JSONL file; a last line torn by a kill is dropped."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


class LiveProgress(TrainerCallback):
    """A progress bar with loss, samples/s, data-wait share and time left; plain lines when not a terminal."""

    LINE_SECONDS = 15.0

    def __init__(self, samples_per_step: int, waited: Any, console: Console | None = None) -> None:
        self.samples_per_step = samples_per_step
        self.waited = waited
        self.console = console or Console(stderr=True)
        self.bar: Progress | None = None
        self.text = {"loss": "", "val": ""}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        self.start = self.last_line = time.perf_counter()
        self.first_step, self.first_wait = state.global_step, self.waited()
        if self.console.is_terminal:
            columns = (
                TextColumn("[bold]training"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} steps  {task.fields[note]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=self.console, refresh_per_second=4)
            self.line = self.bar.add_task(
                "train", total=state.max_steps, completed=state.global_step, note=""
            )
            self.bar.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        if self.bar is not None:
            self.bar.update(self.line, completed=state.global_step, note=self.note(state))
        elif time.perf_counter() - self.last_line > self.LINE_SECONDS:
            self.last_line = time.perf_counter()
            done = state.global_step - self.first_step
            left = (self.last_line - self.start) / max(done, 1) * (state.max_steps - state.global_step)
            logger.info(
                "step %d/%d  %s  %.0f s left", state.global_step, state.max_steps, self.note(state), left
            )

    def note(self, state: TrainerState) -> str:
        """Say loss, rate and data-wait share in words."""
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rate = (state.global_step - self.first_step) * self.samples_per_step / seconds
        wait = (self.waited() - self.first_wait) / seconds
        return f"{self.text['loss']} {self.text['val']}  {rate:,.0f} samples/s  data wait {wait:.0%}"

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs or {}
        if "train/loss" in logs:
            self.text["loss"] = f"loss {logs['train/loss']:.3f}"
        metric = (args.metric_for_best_model or "").removeprefix("eval_")
        if f"val/{metric}" in logs:
            self.text["val"] = f"{metric} {logs[f'val/{metric}']:.3f}"

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put the terminal back; safe to call twice."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class StopOnSignal(TrainerCallback):
    """SIGTERM, Ctrl-C or a closed terminal: finish the step, write a checkpoint, stop; a second one: at once.

    A signal that reaches any one rank stops all of them after the same step.

    Attributes:
        received: The signal that stopped the run, the same on every rank; None when none did.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._own = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._agree()
        if self.received is not None:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._agree()

    def _agree(self) -> None:
        self.received = distributed.largest(self._own) or None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch these signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._receive) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._own:
            raise KeyboardInterrupt
        self._own = number
        name = signal.Signals(number).name
        with suppress(OSError):  # the terminal may be gone
            sys.stderr.write(
                f"\n{name}: finishing this step and writing a checkpoint; again to stop at once\n"
            )


def obey_main_process(worker: int) -> None:
    """Let the signals to stop count in a data worker only when they come from the main process.

    They often reach the whole process group. Torch's workers would die of them, and take along the main
    process, which needs a few more rows to end its step and write a checkpoint.
    """
    if not hasattr(signal, "sigwaitinfo"):  # macOS cannot tell who sent a signal
        return
    numbers = set(stop_signals())
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def wait() -> None:
        while signal.sigwaitinfo(numbers).si_pid != os.getppid():
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
