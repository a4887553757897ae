"""One run from beginning to end: untouched model, training, final numbers, verdict, artefact, report."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_glass.config import ExperimentConfig
from edge_glass.config.overrides import leaf_paths
from edge_glass.config.problems import dotted, value_at
from edge_glass.core import distributed
from edge_glass.core.errors import CheckpointError, Interrupted
from edge_glass.evaluation.results import metrics_dict, read_results, write_json
from edge_glass.experiment.folder import (
    begin,
    changed_rows,
    changed_settings,
    only_run_in,
    require_same_data,
    run_folder_of,
    write_config,
    write_environment,
)
from edge_glass.experiment.own_process import in_own_process
from edge_glass.experiment.report import write_report
from edge_glass.reporting.wording import headline
from edge_glass.tasks.experiment import Cost, Experiment
from edge_glass.tasks.registry import task_kind
from edge_glass.training.sharding import whole_state
from edge_glass.training.trackers import TrackedRun, build_trackers, require_trackers

RESULTS = "results.json"
COMPARED = "compared"  # the folder of the runs that a run is compared with

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and the content of `results.json`."""

    folder: Path
    results: dict[str, Any]


def train(
    config: ExperimentConfig, *, output: Path | None = None, resume: str | None = None, progress: bool = True
) -> RunResult:
    """Train and measure one experiment; see `edge_glass.train`."""
    folder = run_folder_of(config, output)
    if config.ablation is not None and os.environ.get("RANK", "0") == "0":
        names = ", ".join(config.ablation.variants)
        logger.warning("the variants of its ablation (%s) are not run; `edge-glass ablate` does that", names)
    with contextlib.ExitStack() as held:
        with distributed.processes(config.training.device):
            distributed.on_main(lambda: held.enter_context(only_run_in(folder)))
            result = _train(config, folder, resume, progress)
        _run_companions(config, folder, progress)
    return result


def run_apart(config: ExperimentConfig, folder: Path, progress: bool) -> None:
    """Run an experiment, or go on where it stopped, in a process of its own.

    Peak memory is a high-water mark: a run must not inherit that of the one before it. Under `torchrun` it
    runs on the processes there are.
    """
    if "RANK" in os.environ:
        _go_on(config, folder, progress)
    else:
        in_own_process(_go_on, config, folder, progress)


def _go_on(config: ExperimentConfig, folder: Path, progress: bool) -> None:
    train(config, output=folder, resume="latest", progress=progress)


def _run_companions(config: ExperimentConfig, folder: Path, progress: bool) -> None:
    """Run what a finished run is compared with and has not been run yet; then write its report again."""
    companions = task_kind(config.task).companions(config)
    if not companions:
        return
    folders = {name: folder / COMPARED / name for name in companions}
    left = [name for name, where in folders.items() if not (where / RESULTS).exists()]
    writes = os.environ.get("RANK", "0") == "0"
    if left and writes:
        logger.info("%s; report in %s", headline(read_results(folder / RESULTS)), folder / "report.html")
    for number, name in enumerate(left, 1):
        if writes:
            where = folders[name]
            logger.info("to compare it with: %s (%d of %d) in %s", name, number, len(left), where)
        run_apart(companions[name], folders[name], progress)
    if writes:
        write_report(folder)


def _train(config: ExperimentConfig, folder: Path, resume: str | None, progress: bool) -> RunResult:
    """Run on all processes: each trains and measures its share, rank 0 alone writes."""
    main = distributed.on_main
    if resume == "latest" and main((folder / RESULTS).exists):
        return main(lambda: _finished(folder, config))
    checkpoint = main(lambda: begin(folder, config, resume))
    if checkpoint is None:
        main(lambda: write_config(folder, config))
    _set_threads(config)
    require_trackers(config.training.report_to)
    with _quiet_libraries(), _full_disk_named(folder):
        task = task_kind(config.task).experiment(config, progress and distributed.is_local_main())
        fingerprints = main(task.fingerprints)
        if checkpoint is not None:  # a run that is refused keeps the settings that it was trained with
            main(lambda: require_same_data(folder, fingerprints.get("data", {})))
            main(lambda: write_config(folder, config))
        untouched = task.untouched(folder)
        main(lambda: _write_before(task, folder, untouched, fingerprints))
        task.prepare()
        cost = _fit(task, folder, checkpoint, progress and distributed.is_main())
        memory = _peak_memory()
        results = task.finish(folder, untouched, cost)
        main(lambda: _write_after(task, folder, results, cost, memory))
    return RunResult(folder, results)


def _write_before(task: Experiment, folder: Path, untouched: Any, fingerprints: dict[str, Any]) -> None:
    """Write what there is to know before training: parameters, environment, the untouched model's numbers."""
    task.model.print_parameter_counts()
    counts = task.model.parameter_counts()
    parameters = {row.component: {"total": row.total, "trained": row.trained} for row in counts}
    write_json(folder / "parameters.json", parameters)
    write_environment(folder, fingerprints)
    estimates = task.estimates(untouched)
    write_json(folder / "baseline.json", {"split": "test", "metrics": metrics_dict(estimates)})


def _write_after(task: Experiment, folder: Path, results: dict[str, Any], cost: Cost, memory: int) -> None:
    """Write `results.json`, which marks a finished run, and then the report."""
    parameters = list(task.model.parameters())
    results["cost"] = {
        "samples_per_second": cost.samples / max(cost.seconds, 1e-9),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "total_parameters": sum(p.numel() for p in parameters),
        "peak_memory_bytes": memory,
        "processes": distributed.world_size(),
    }
    results["verdict"]["sentence"] = headline(results)
    write_json(folder / RESULTS, results)
    write_report(folder)


def _finished(folder: Path, config: ExperimentConfig) -> RunResult:
    """Return the results of a finished run; write its report if the run was killed before that."""
    logger.info("%s is finished; nothing is left to train", folder)
    if changed := [*changed_settings(folder, config), *changed_rows(folder, config)]:
        logger.warning(
            "%s was trained with others: %s; train with these in another folder, with --output DIR",
            folder,
            ", ".join(changed),
        )
    if not (folder / "report.html").exists():
        with _full_disk_named(folder):
            write_report(folder)
    return RunResult(folder, read_results(folder / RESULTS))


def _fit(task: Experiment, folder: Path, checkpoint: Path | None, progress: bool) -> Cost:
    """Train to the end, leave the best weights in `task.model`."""
    from transformers import EarlyStoppingCallback

    from edge_glass.training import MultimodalTrainer, TrainingPlan, training_arguments
    from edge_glass.training.callbacks import LiveProgress, MetricsLog, StopOnSignal

    config = task.config
    rows = len(task.splits["train"])
    plan = TrainingPlan.of(config, rows, kinds=getattr(task, "row_kinds", None))
    if plan.total_steps == 1 and config.optimization.warmup_ratio > 0:
        logger.warning(
            "the only step has learning rate 0, since optimization.warmup_ratio=%g begins there: nothing is "
            "learned; set it to 0, or take more steps",
            config.optimization.warmup_ratio,
        )
    arguments = training_arguments(
        config, plan, folder / "checkpoints", task.primary_metric, task.greater_is_better
    )
    stop, metrics = StopOnSignal(), MetricsLog(folder / "metrics.jsonl")
    callbacks = [*task.callbacks(folder), metrics, stop]  # a task's may add to the lines that are logged
    if config.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(config.training.early_stopping_patience))
    sharded = config.training.sharding == "fsdp"
    trainer = MultimodalTrainer(
        task,
        task.model,
        arguments,
        config.training.keep_checkpoints,
        callbacks,
        sharded,
        config.optimization.optimizer,
        config.training.compile,
        trackers=_trackers(config, folder) if distributed.is_main() else [],
        settings=_flat_settings(config),
    )
    accumulated = config.training.gradient_accumulation_steps
    rows_per_step = config.dataset.batch_size * accumulated * distributed.world_size()
    bar = LiveProgress(rows_per_step, lambda: trainer.wait_seconds)
    if progress:
        trainer.add_callback(bar)
    try:
        with stop.listening():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        bar.close()
    if stop.received is not None:
        raise Interrupted(stop.received, f"step {trainer.state.global_step}", folder)
    if (
        sharded and distributed.world_size() > 1
    ):  # the trained model stays sharded; what follows wants a whole one
        task.rebuild(whole_state(trainer.model.trainable_state_dict()))
    samples = min(trainer.state.global_step * rows_per_step, int((trainer.state.epoch or 0) * rows))
    return Cost(metrics.elapsed(), samples)


def _trackers(config: ExperimentConfig, folder: Path) -> list[Any]:
    """Make the trackers; the training loop starts and ends them."""
    training = config.training
    run = TrackedRun(
        folder, training.wandb_project, config.name, training.run_id, training.run_group, training.run_tags
    )
    return build_trackers(training.report_to, run)


def _flat_settings(config: ExperimentConfig) -> dict[str, str]:
    """Return `dataset.batch_size` → its value as text, for all that is set."""
    settings = config.model_dump(mode="json")
    values = {dotted(path): value_at(settings, path) for path in leaf_paths(settings)}
    return {key: str(value) for key, value in values.items() if value is not None}


def _set_threads(config: ExperimentConfig) -> None:
    if config.training.num_threads is not None:
        import torch

        torch.set_num_threads(config.training.num_threads)


def _peak_memory() -> int:
    import torch

    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextlib.contextmanager
def _full_disk_named(folder: Path) -> Iterator[None]:
    """Say what to do when a log, a table or a plot finds the disk full, as models and checkpoints do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise CheckpointError(
            f"{folder}: the disk is full ({error}).\n"
            "The checkpoints are untouched; free some space and continue with --resume."
        ) from error


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Hide the progress bars of loaders: they finish in a blink and only hide what matters."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
