"""Adding the LoRA adapters of a finished run to its weights, and making sure that nothing changed.

The merged model and the unmerged one answer the same test rows first; when they differ, nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edge_glass.assets.model_folder import DESCRIPTION, ModelFolder
from edge_glass.config import load_config
from edge_glass.core import canary
from edge_glass.core.canary import Canary, read_canary
from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.core.quiet import only_warnings
from edge_glass.evaluation.results import read_json
from edge_glass.tasks.sources import training_device

ROOM = 0.7  # of the free memory, for the weights
BOUND = 1e-3  # of the largest logit
HALF_BOUND = 0.05  # the same for weights that are rounded to bfloat16; 0.007 with SmolLM2-135M
METRIC_BOUND = 0.02  # one answer of 64
LEAST_EQUAL = 0.9
HALF_LEAST_EQUAL = 0.5  # as merged weights are rounded to bfloat16, a long answer may take another turn


@dataclass(frozen=True)
class Merged:
    """What a merged model was compared by.

    Attributes:
        folder: Where it is.
        logits: Largest difference of logits by merging alone, as a share of the largest logit: both sides
            have plain weights and are computed in float32.
        rows: Test rows that both models answered, in float32 too; 0 when only logits were compared.
        equal: Share of them with the same answer.
        metric: The primary metric.
        unmerged: Its value before.
        merged: Its value after.
        quantization: Of the run: none, 8bit or 4bit. Neither side of the comparison has it, so that merging
            is not blamed for what rounding does.
    """

    folder: Path
    logits: float
    rows: int
    equal: float
    metric: str
    unmerged: float
    merged: float
    quantization: str = "none"

    def lines(self) -> list[str]:
        """Return what was measured, in words."""
        lines = [f"logits differ by at most {self.logits:.2g} of the largest, computed in float32"]
        if self.quantization != "none":
            lines.append(f"the run was in {self.quantization}; both were compared as plain weights")
        if self.rows:
            lines.append(
                f"{self.equal:.1%} of {self.rows} test answers are equal; {self.metric} "
                f"{self.unmerged:.3f} unmerged, {self.merged:.3f} merged"
            )
        return lines


class Answered(NamedTuple):
    """What a model answered to the compared rows, and its primary metric on them."""

    texts: list[str]
    metric: float


def merge_adapters(
    run: Path,
    model_folder: Path,
    files: ModelFolder[Any, Any],
    read_splits: Callable[[Any], Mapping[str, Any]],
    answer: Callable[[Any, Any, Any], Answered],
    output: Path | None = None,
    bound: float | None = None,
    rows: int = 64,
) -> Merged:
    """Write a run's model with its adapters in the weights, as a plain Hugging Face folder.

    Both models compute in float32, whatever the weights are; the merged ones are rounded first as they will
    be saved.

    Args:
        run: A finished run of LoRA training.
        model_folder: The folder of its weights.
        files: How its model is kept.
        read_splits: Reads the tables of an experiment, by split.
        answer: What a model answers to the rows of a table.
        output: Where to; by default `merged` in the run folder.
        bound: Largest difference of logits allowed, as a share of the largest; by default 0.001, and 0.05 for
            bfloat16 weights or a run whose model was quantised.
        rows: Test rows that both answer; 0 compares logits alone and needs no data.

    Raises:
        ConfigError: The run has no adapters, or `output` holds something else.
        CheckpointError: The run is not finished, or the merged model answers differently.
        DataError: The run's data are not there any more.
    """
    _, config = files.read(model_folder)
    trained = getattr(config, files.section)
    if trained.mode != "lora":
        raise ConfigError(f"{run}: {files.section}.mode is {trained.mode}, so there are no adapters to merge")
    folder = output or run / "merged"
    require_replaceable(folder)
    table = _compared_rows(run, rows, read_splits)
    quantised = trained.quantization != "none"
    model, stored = _load(files, model_folder, quantised), read_canary(model_folder)
    half = quantised or model.dtype != torch.float32
    bound = bound if bound is not None else HALF_BOUND if half else BOUND
    model.to(roomy_device(model, training_device(config)))
    answered: list[Answered] = []

    def observe() -> Tensor:
        answered.append(Answered([], 0.0) if table is None else answer(model, config, table))
        return canary.compute_logits(model, stored.sample)

    difference = model.merge(bound, observe)
    before, after = answered
    measured = Merged(
        folder=folder,
        logits=difference,
        rows=len(before.texts),
        equal=sum(map(str.__eq__, before.texts, after.texts)) / max(len(before.texts), 1),
        metric=config.evaluation.primary_metric,
        unmerged=before.metric,
        merged=after.metric,
        quantization=trained.quantization,
    )
    require_equal(measured, bound, half)
    numbers = {name: value for name, value in asdict(measured).items() if name != "folder"}
    merged = Canary(stored.sample, canary.compute_logits(model, stored.sample), stored.untouched)
    files.save_merged(model, config, folder, merged, {**numbers, "run": str(run)})
    return measured


def _load(files: ModelFolder[Any, Any], folder: Path, quantised: bool) -> Any:
    """Load the model and check its canary; where it is quantised, load it again on plain weights."""
    with only_warnings("edge_glass.vlm.model"), only_warnings("edge_glass.decoders.lora"):
        model, _ = files.load(folder)
        if quantised:
            del model
            model = files.load_unquantized(folder)
    return model


def _compared_rows(run: Path, count: int, read_splits: Callable[[Any], Mapping[str, Any]]) -> Any:
    """Return test rows, evenly spread; None for none."""
    if not count:
        return None
    if not (run / "config.yaml").is_file():
        raise CheckpointError(
            f"{run}: config.yaml is missing, so its test rows are not known; --rows 0 compares logits alone"
        )
    try:
        return read_splits(load_config(run / "config.yaml"))["test"].spread(count)
    except ConfigError as error:
        raise ConfigError(f"{error}\nThe test rows are compared; --rows 0 compares logits alone.") from error


def roomy_device(model: nn.Module, device: torch.device) -> torch.device:
    """Return the GPU if it has room for the model in float32, beside what it computes; else the CPU."""
    if device.type != "cuda":
        return device
    needed = 4 * sum(parameter.numel() for parameter in model.parameters())
    free, _ = torch.cuda.mem_get_info(device)
    return device if needed < ROOM * free else torch.device("cpu")


def require_replaceable(folder: Path) -> None:
    """Refuse to replace anything but an earlier merged model.

    Raises:
        ConfigError: The folder holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose a folder with --output")
    if folder.is_dir() and any(folder.iterdir()) and not _is_merged(folder):
        raise ConfigError(f"{folder} holds something else than a merged model; choose another with --output")


def _is_merged(folder: Path) -> bool:
    """Return whether its description says that something was merged."""
    try:
        return "merged" in read_json(folder / DESCRIPTION) and (folder / "config.json").is_file()
    except DataError:
        return False


def require_equal(measured: Merged, bound: float, half: bool) -> None:
    """Refuse a merged model that answers differently.

    Raises:
        CheckpointError: Logits, answers or the metric differ too much.
    """
    least_equal = HALF_LEAST_EQUAL if half else LEAST_EQUAL
    change = abs(measured.merged - measured.unmerged)
    wrong = [
        (not measured.logits <= bound, f"logits by {bound:g} of the largest"),  # NaN is not below anything
        (measured.rows > 0 and measured.equal < least_equal, f"{1 - least_equal:.0%} of the answers"),
        (not change <= METRIC_BOUND, f"{measured.metric} by {METRIC_BOUND:g}"),
    ]
    allowed = [words for fails, words in wrong if fails]
    if allowed:
        raise CheckpointError(
            f"the merged model answers differently than the unmerged one: {'; '.join(measured.lines())}.\n"
            f"At most {' and '.join(allowed)} may differ; nothing was written."
        )
