"""One run from beginning to end: untouched model, training, final numbers, verdict, artefact, report."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edge_glass.config import ExperimentConfig
from edge_glass.errors import CheckpointError, Interrupted
from edge_glass.evaluation.archive import EvaluationArchive, make_thumbnail, save_archive
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.metrics import estimate_retrieval
from edge_glass.evaluation.results import assemble_results, metrics_dict, read_results, write_json
from edge_glass.evaluation.retrieval import Direction, RetrievalResult
from edge_glass.inference.index import write_index
from edge_glass.models.alignment import build_alignment_model
from edge_glass.models.artefact import save_model
from edge_glass.reporting.report import write_report
from edge_glass.tasks.alignment import AlignmentTask, Embedded, SplitEmbeddings, retrieval_of
from edge_glass.tasks.closed_form import (
    ClosedForm,
    closed_form_retrieval,
    fit_closed_form,
    start_from_closed_form,
)
from edge_glass.tasks.run_folder import begin, run_folder_of, write_environment
from edge_glass.tasks.sources import load_encoders, training_device
from edge_glass.training import distributed
from edge_glass.training.sharding import whole_state

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder and the content of `results.json`."""

    folder: Path
    results: dict[str, Any]


def train(
    config: ExperimentConfig, *, output: Path | None = None, resume: str | None = None, progress: bool = True
) -> RunResult:
    """Train and measure one experiment.

    Args:
        config: From `load_config`.
        output: The run folder; by default `config.output_dir/config.name`.
        resume: None for a new run, `latest`, or a checkpoint's path.
        progress: Show progress bars.

    Raises:
        EdgeGlassError: See its subclasses; `Interrupted` after SIGTERM or Ctrl-C, with a checkpoint written.
    """
    with distributed.processes(config.training.device):
        return _train(config, run_folder_of(config, output), resume, progress)


def _train(config: ExperimentConfig, folder: Path, resume: str | None, progress: bool) -> RunResult:
    """One run on all its processes: each trains and encodes its share, rank 0 alone writes."""
    main = distributed.on_main
    if resume == "latest" and main((folder / "results.json").exists):
        return main(lambda: _finished(folder))
    checkpoint = main(lambda: begin(folder, config, resume))
    _set_threads(config)
    with _quiet_libraries(), _full_disk_named(folder):
        task = AlignmentTask(config, progress and distributed.is_local_main())
        untouched = task.retrieval(task.model, "test")
        main(lambda: _write_before(task, folder, untouched))
        closed_form = fit_closed_form(task) if _needs_closed_form(config) else None
        if closed_form is not None and config.training.warm_start == "closed_form":
            start_from_closed_form(task, closed_form)
        seconds, samples = _fit(task, folder, checkpoint, progress and distributed.is_main())
        embedded = {name: task.embed(task.model, name) for name in task.splits}
        results = main(lambda: _finish(task, folder, untouched, embedded, closed_form, seconds, samples))
    return RunResult(folder, results)


def _write_before(task: AlignmentTask, folder: Path, untouched: RetrievalResult) -> None:
    """What a run stands on."""
    write_json(folder / "parameters.json", _parameters(task))
    write_environment(folder, _fingerprints(task))
    estimates = _estimates(task.config, untouched)
    write_json(folder / "baseline.json", {"split": "test", "metrics": metrics_dict(estimates)})


def _finished(folder: Path) -> RunResult:
    """The results of a run that needs no more training; its report too, if the run was killed before that."""
    logger.info("%s is finished; nothing is left to train", folder)
    if not (folder / "report.html").exists():
        with _full_disk_named(folder):
            write_report(folder)
    return RunResult(folder, read_results(folder / "results.json"))


def _needs_closed_form(config: ExperimentConfig) -> bool:
    return config.evaluation.closed_form_baseline or config.training.warm_start == "closed_form"


def _fit(task: AlignmentTask, folder: Path, checkpoint: Path | None, progress: bool) -> tuple[float, int]:
    """Train to the end, leave the best weights in `task.model`; returns seconds and pairs seen."""
    from transformers import EarlyStoppingCallback

    from edge_glass.training import MultimodalTrainer, TrainingPlan, training_arguments
    from edge_glass.training.callbacks import LiveProgress, MetricsLog, StopOnSignal

    config = task.config
    rows = len(task.splits["train"])
    plan = TrainingPlan.of(config, rows, kinds=task.row_kinds)
    arguments = training_arguments(
        config, plan, folder / "checkpoints", task.primary_metric, task.greater_is_better
    )
    stop, metrics = StopOnSignal(), MetricsLog(folder / "metrics.jsonl")
    callbacks = [metrics, stop, *(_loggers(config, folder) if distributed.is_main() else [])]
    if config.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(config.training.early_stopping_patience))
    sharded = config.training.sharding == "fsdp"
    trainer = MultimodalTrainer(
        task, task.model, arguments, config.training.keep_checkpoints, callbacks, sharded
    )
    rows_per_step = config.dataset.batch_size * distributed.world_size()
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
        _rebuild(task, whole_state(trainer.model.trainable_state_dict()))
    samples = min(trainer.state.global_step * rows_per_step, int((trainer.state.epoch or 0) * rows))
    return metrics.elapsed(), samples


def _rebuild(task: AlignmentTask, state: dict[str, Any]) -> None:
    model = build_alignment_model(task.config, *load_encoders(task.config))
    model.load_trainable_state_dict(state)
    task.model = model.to(training_device(task.config)).eval()


def _loggers(config: ExperimentConfig, folder: Path) -> list[Any]:
    from edge_glass.training.callbacks import PlainTensorBoard, WeightsAndBiases

    loggers: list[Any] = []
    if "tensorboard" in config.training.report_to:
        from torch.utils.tensorboard import SummaryWriter

        loggers.append(PlainTensorBoard(SummaryWriter(str(folder / "tensorboard"))))
    if "wandb" in config.training.report_to:
        loggers.append(
            WeightsAndBiases(config.training.wandb_project, config.name, folder, config.model_dump())
        )
    return loggers


def _finish(
    task: AlignmentTask,
    folder: Path,
    untouched: RetrievalResult,
    embedded: dict[str, SplitEmbeddings],
    closed_form: ClosedForm | None,
    seconds: float,
    samples: int,
) -> dict[str, Any]:
    """Final numbers, artefact, index and report; `results.json` is what marks a finished run."""
    config = task.config
    memory = _peak_memory()
    trained = retrieval_of(embedded["test"], task.model)
    solved = closed_form_retrieval(task, closed_form, embedded["test"]) if closed_form is not None else None
    results = assemble_results(
        split="test",
        metric=config.evaluation.primary_metric,
        trained=_estimates(config, trained),
        baseline=_estimates(config, untouched),
        closed_form=_estimates(config, solved) if solved is not None else None,
        seconds=seconds,
        samples=samples,
        data=task.split_counts(),
    )
    results["cost"] = {
        "samples_per_second": samples / max(seconds, 1e-9),
        "trained_parameters": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
        "peak_memory_bytes": memory,
        "processes": distributed.world_size(),
    }
    _save_archive(task, folder, embedded["test"], untouched)
    save_model(task.model, config, folder / "model")
    write_index(
        folder / "index", {name: (table, embedded[name]["vision"]) for name, table in task.splits.items()}
    )
    write_json(folder / "results.json", results)
    write_report(folder)
    return results


def _estimates(config: ExperimentConfig, result: RetrievalResult) -> dict[str, Estimate]:
    return estimate_retrieval(result, config.evaluation.bootstrap_samples, config.seed)


def _save_archive(
    task: AlignmentTask, folder: Path, embeddings: SplitEmbeddings, untouched: RetrievalResult
) -> None:
    from edge_glass.data.pictures import decode_image

    table = task.splits["test"]
    pictures, words, sounds = embeddings["vision"], embeddings["text"], embeddings.get("audio")
    save_archive(
        folder,
        "test",
        EvaluationArchive(
            image_embeddings=pictures.vectors,
            text_embeddings=words.vectors,
            image_groups=pictures.groups,
            text_groups=words.groups,
            image_ids=[table.ids[row] for row in pictures.rows],
            captions=[table.captions[row][0] for row in words.rows],
            thumbnails=[make_thumbnail(decode_image(table.picture(row))) for row in pictures.rows],
            baseline_image_ranks=_ranks_of(pictures, untouched, "i2t"),
            baseline_text_ranks=_ranks_of(words, untouched, "t2i"),
            audio_embeddings=sounds.vectors if sounds else None,
            audio_groups=sounds.groups if sounds else None,
            audio_ids=[table.ids[row] for row in sounds.rows] if sounds else None,
        ),
    )


def _ranks_of(items: Embedded, result: RetrievalResult, direction: Direction) -> np.ndarray | None:
    """Rank of every item at the full dimension, int64 `[N]`; 0 where it has no counterpart to ask for."""
    found = result.ranks.get((direction, result.dimensions[0]))
    if found is None:
        return None
    ranks = np.zeros(len(items.groups), dtype=np.int64)
    ranks[np.isin(items.groups, result.query_groups[direction])] = found
    return ranks


def _parameters(task: AlignmentTask) -> dict[str, dict[str, int]]:
    task.model.print_parameter_counts()
    return {
        row.component: {"total": row.total, "trained": row.trained} for row in task.model.parameter_counts()
    }


def _fingerprints(task: AlignmentTask) -> dict[str, Any]:
    digests = {
        name: hashlib.sha256(
            "\n".join(chain(*table.keys("vision"), *table.keys("audio"))).encode()
        ).hexdigest()
        for name, table in task.splits.items()
    }
    encoders = {name: tower.encoder.fingerprint for name, tower in task.model.towers.items()}
    return {"weights": encoders, "pictures": digests}


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
    """Progress bars of loaders that finish in a blink only hide what matters."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
