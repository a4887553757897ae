"""Side effects of training: the log file, progress, signals."""

from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

from edge_glass.core.signals import stop_signals
from edge_glass.training.callbacks import (
    LiveProgress,
    MetricsLog,
    StopOnSignal,
    obey_main_process,
    read_lines,
)

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def arguments(tmp_path: Path) -> TrainingArguments:
    """Of a run on the CPU whose best model is chosen by `score`."""
    return TrainingArguments(
        output_dir=str(tmp_path / "c"), use_cpu=True, seed=3, metric_for_best_model="score", report_to=[]
    )


def state(step: int = 0, epoch: float = 0.0, total: int = 100, main: bool = True) -> TrainerState:
    """Where a run stands."""
    return TrainerState(global_step=step, epoch=epoch, max_steps=total, is_world_process_zero=main)


def event(callback: Any, name: str, arguments: TrainingArguments, now: TrainerState, **extra: Any) -> None:
    """Call one event of a callback."""
    getattr(callback, name)(arguments, now, TrainerControl(), **extra)


# metrics.jsonl


def test_lines_carry_step_epoch_and_time(tmp_path: Path, arguments: TrainingArguments) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    event(log, "on_train_begin", arguments, state())
    event(log, "on_log", arguments, state(1, 0.5), logs={"train/loss": 0.1234567890123})
    event(log, "on_log", arguments, state(2, 1.0), logs=None)
    first, second = read_lines(tmp_path / "metrics.jsonl")
    assert first.pop("time") >= 0 and second.pop("time") >= 0
    assert first == {"step": 1, "epoch": 0.5, "train/loss": 0.1234567890123}
    assert second == {"step": 2, "epoch": 1.0}


def write_log(path: Path, steps: int, tail: str = "") -> None:
    """Lines of steps 1 to `steps`, ten seconds each."""
    lines = [json.dumps({"step": step, "time": 10.0 * step}) + "\n" for step in range(1, steps + 1)]
    path.write_text("".join(lines) + tail)


@pytest.mark.parametrize("tail", ["", '{"step": 8, "ti', '{"step": 8, "time": 80.0}', "\x00\x00\x00"])
def test_lines_after_the_checkpoint_are_dropped(
    tmp_path: Path, arguments: TrainingArguments, tail: str
) -> None:
    path = tmp_path / "metrics.jsonl"
    write_log(path, 7, tail)
    log = MetricsLog(path)
    event(log, "on_train_begin", arguments, state(5))
    event(log, "on_log", arguments, state(6))
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3, 4, 5, 6]
    assert path.read_text().endswith("}\n")
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_clock_goes_on_after_a_resume(
    tmp_path: Path, arguments: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path / "metrics.jsonl", 7)
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    log = MetricsLog(tmp_path / "metrics.jsonl")
    event(log, "on_train_begin", arguments, state(5))
    now[0] += 1.5
    assert log.elapsed() == 51.5
    event(log, "on_log", arguments, state(6))
    assert read_lines(log.path)[-1]["time"] == 51.5


def test_a_torn_line_at_the_checkpoint_itself(tmp_path: Path, arguments: TrainingArguments) -> None:
    write_log(tmp_path / "metrics.jsonl", 4, '{"step": 5, "time": 5')
    log = MetricsLog(tmp_path / "metrics.jsonl")
    event(log, "on_train_begin", arguments, state(5))
    assert [line["step"] for line in read_lines(log.path)] == [1, 2, 3, 4]


def test_a_run_from_step_0_starts_its_log_anew(tmp_path: Path, arguments: TrainingArguments) -> None:
    write_log(tmp_path / "metrics.jsonl", 7)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    event(log, "on_train_begin", arguments, state(0))
    assert read_lines(log.path) == []
    assert log.earlier == 0.0


def test_only_the_main_process_writes(tmp_path: Path, arguments: TrainingArguments) -> None:
    write_log(tmp_path / "metrics.jsonl", 7)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    event(log, "on_train_begin", arguments, state(3, main=False))
    event(log, "on_log", arguments, state(4, main=False), logs={})
    assert len(read_lines(log.path)) == 7


# Progress


def plain_console() -> tuple[Console, io.StringIO]:
    """Not a terminal."""
    stream = io.StringIO()
    return Console(file=stream, force_terminal=False, width=200), stream


def progress(arguments: TrainingArguments, console: Console, steps: int, waited: float = 0.0) -> LiveProgress:
    """A bar that went through `steps` steps."""
    bar = LiveProgress(8, lambda: waited, console)
    event(bar, "on_train_begin", arguments, state(0))
    event(bar, "on_log", arguments, state(1), logs={"train/loss": 1.23456})
    event(bar, "on_log", arguments, state(1), logs={"val/score": 0.987, "val/loss": 3.0})
    for step in range(1, steps + 1):
        event(bar, "on_step_end", arguments, state(step))
    return bar


def test_without_a_terminal_there_is_a_line_now_and_then(
    arguments: TrainingArguments, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveProgress, "LINE_SECONDS", 0.0)
    console, stream = plain_console()
    with caplog.at_level(logging.INFO, logger="edge_glass"):
        progress(arguments, console, 2)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("step 1/100  loss 1.235 score 0.987")
    assert "samples/s" in lines[0] and "data wait" in lines[0] and lines[0].endswith("s left")
    assert stream.getvalue() == ""


def test_lines_are_rare(arguments: TrainingArguments, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="edge_glass"):
        progress(arguments, plain_console()[0], 100)
    assert caplog.records == []


def test_rate_counts_from_where_it_went_on(
    arguments: TrainingArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 110.0])
    waits = iter([3.0, 8.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    bar = LiveProgress(8, lambda: next(waits), plain_console()[0])
    event(bar, "on_train_begin", arguments, state(40))
    assert bar.note(state(60)).strip() == "16 samples/s  data wait 50%"


def test_on_a_terminal_there_is_a_bar_and_it_goes_away(arguments: TrainingArguments) -> None:
    stream = io.StringIO()
    bar = progress(arguments, Console(file=stream, force_terminal=True, width=150), 5)
    assert bar.bar is not None
    bar.bar.refresh()
    assert "5/100 steps" in stream.getvalue() and "loss 1.235" in stream.getvalue()
    bar.close()
    bar.close()
    assert bar.bar is None


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_stops_after_the_step(
    arguments: TrainingArguments, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    stop, control = StopOnSignal(), TrainerControl()
    before = signal.getsignal(number)
    with stop.listening():
        stop.on_step_end(arguments, state(), control)
        assert not control.should_training_stop and not control.should_save
        os.kill(os.getpid(), number)
        stop.on_step_end(arguments, state(), control)
    assert stop.received == number
    assert control.should_training_stop and control.should_save
    assert signal.getsignal(number) is before
    said = capsys.readouterr().err
    assert number.name in said and "checkpoint" in said


def test_under_nohup_a_closed_terminal_is_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == [signal.SIGTERM, signal.SIGINT]
        with StopOnSignal().listening():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_interrupts() -> None:
    stop = StopOnSignal()
    with pytest.raises(KeyboardInterrupt), stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopOnSignal().listening():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_a_thread_signals_are_left_alone() -> None:
    """Python allows handlers in the main thread only; notebooks and servers train in others."""
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work() -> None:
        with StopOnSignal().listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_data_workers_obey_the_main_process_only(number: int) -> None:
    """A signal from elsewhere, such as one to the whole group, leaves the main process the data it needs."""

    def work(ready: Any, go_on: Any) -> None:
        obey_main_process(0)
        ready.set()
        go_on.wait(30)
        os._exit(7)

    for sender, code in (("elsewhere", 7), ("the main process", 0)):
        with StopOnSignal().listening():
            ready, go_on = FORK.Event(), FORK.Event()
            worker = FORK.Process(target=work, args=(ready, go_on))
            worker.start()
            assert ready.wait(30) and worker.pid is not None
            if sender == "elsewhere":
                subprocess.run(["kill", f"-{number}", str(worker.pid)], check=True)
                go_on.set()
            else:
                os.kill(worker.pid, number)
            worker.join(30)
        assert worker.exitcode == code, sender
