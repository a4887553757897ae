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
from pathlib import Path
from typing import Any

from edge_glass.config import ExperimentConfig
from edge_glass.errors import CheckpointError, Interrupted
from edge_glass.evaluation.archive import EvaluationArchive, make_thumbnail, save_archive
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.metrics import estimate_retrieval
from edge_glass.evaluation.results import assemble_results, metrics_dict, read_results, write_json
from edge_glass.evaluation.retrieval import RetrievalResult
from edge_glass.inference.index import write_index
from edge_glass.models.artefact import save_model
from edge_glass.reporting.report import write_report
from edge_glass.tasks.alignment import AlignmentTask, SplitEmbeddings, retrieval_of
from edge_glass.tasks.closed_form import (
    ClosedForm,
    closed_form_retrieval,
    fit_closed_form,
    start_from_closed_form,
)
from edge_glass.tasks.run_folder import begin, run_folder_of, write_environment

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
    folder = run_folder_of(config, output)
    if resume == "latest" and (folder / "results.json").exists():
        return _finished(folder)
    checkpoint = begin(folder, config, resume)
    _set_threads(config)
    with _quiet_libraries(), _full_disk_named(folder):
        task = AlignmentTask(config, progress)
        write_json(folder / "parameters.json", _parameters(task))
        write_environment(folder, _fingerprints(task))
        untouched = task.retrieval(task.model, "test")
        _write_baseline(folder, config, untouched)
        closed_form = fit_closed_form(task) if _needs_closed_form(config) else None
        if closed_form is not None and config.training.warm_start == "closed_form":
            start_from_closed_form(task, closed_form)
        seconds, samples = _fit(task, folder, checkpoint, progress)
        results = _finish(task, folder, untouched, closed_form, seconds, samples)
        write_report(folder)
    return RunResult(folder, results)


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
    plan = TrainingPlan.of(config, rows)
    arguments = training_arguments(
        config, plan, folder / "checkpoints", task.primary_metric, task.greater_is_better
    )
    stop, metrics = StopOnSignal(), MetricsLog(folder / "metrics.jsonl")
    callbacks = [metrics, stop, *_loggers(config, folder)]
    if config.training.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(config.training.early_stopping_patience))
    trainer = MultimodalTrainer(task, task.model, arguments, config.training.keep_checkpoints, callbacks)
    bar = LiveProgress(config.dataset.batch_size, lambda: trainer.wait_seconds)
    if progress:
        trainer.add_callback(bar)
    try:
        with stop.listening():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        bar.close()
    if stop.received is not None:
        raise Interrupted(stop.received, f"step {trainer.state.global_step}", folder)
    samples = min(
        trainer.state.global_step * config.dataset.batch_size, int((trainer.state.epoch or 0) * rows)
    )
    return metrics.elapsed(), samples


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


def _write_baseline(folder: Path, config: ExperimentConfig, untouched: RetrievalResult) -> None:
    estimates = estimate_retrieval(untouched, config.evaluation.bootstrap_samples, config.seed)
    write_json(folder / "baseline.json", {"split": "test", "metrics": metrics_dict(estimates)})


def _finish(
    task: AlignmentTask,
    folder: Path,
    untouched: RetrievalResult,
    closed_form: ClosedForm | None,
    seconds: float,
    samples: int,
) -> dict[str, Any]:
    """Final numbers, artefact and index; `results.json` is written last, it marks a finished run."""
    config = task.config
    embeddings = task.embed(task.model, "test")
    trained = retrieval_of(embeddings, task.model.dimensions)
    solved = closed_form_retrieval(task, closed_form) if closed_form is not None else None
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
        "peak_memory_bytes": _peak_memory(),
    }
    _save_archive(task, folder, embeddings, untouched)
    save_model(task.model, config, folder / "model")
    write_index(folder / "index", {name: _indexed(task, name) for name in task.splits})
    write_json(folder / "results.json", results)
    return results


def _estimates(config: ExperimentConfig, result: RetrievalResult) -> dict[str, Estimate]:
    return estimate_retrieval(result, config.evaluation.bootstrap_samples, config.seed)


def _indexed(task: AlignmentTask, split: str) -> tuple[Any, SplitEmbeddings]:
    return task.splits[split], task.embed(task.model, split)


def _save_archive(
    task: AlignmentTask, folder: Path, embeddings: SplitEmbeddings, untouched: RetrievalResult
) -> None:
    from edge_glass.data.pictures import decode_image

    table = task.splits["test"]
    full = untouched.dimensions[0]
    save_archive(
        folder,
        "test",
        EvaluationArchive(
            image_embeddings=embeddings.images,
            text_embeddings=embeddings.texts,
            image_groups=embeddings.image_groups,
            text_groups=embeddings.text_groups,
            image_ids=[table.ids[row] for row in embeddings.image_rows],
            captions=[captions[0] for captions in table.captions],
            thumbnails=[make_thumbnail(decode_image(table.picture(row))) for row in embeddings.image_rows],
            baseline_image_ranks=untouched.ranks["i2t", full],
            baseline_text_ranks=untouched.ranks["t2i", full],
        ),
    )


def _parameters(task: AlignmentTask) -> dict[str, dict[str, int]]:
    task.model.print_parameter_counts()
    return {
        row.component: {"total": row.total, "trained": row.trained} for row in task.model.parameter_counts()
    }


def _fingerprints(task: AlignmentTask) -> dict[str, Any]:
    digests = {
        name: hashlib.sha256("\n".join(table.picture_hashes).encode()).hexdigest()
        for name, table in task.splits.items()
    }
    encoders = {
        "vision": task.model.vision_tower.encoder.fingerprint,
        "text": task.model.text_tower.encoder.fingerprint,
    }
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
