"""What a merged model is compared with its unmerged self by, and when it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from edge_glass.assets.model_folder import DESCRIPTION
from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.evaluation.results import read_json

ROOM = 0.7  # of the free memory, for the weights
LORA = "edge_glass.decoders.lora"
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
        """What was measured, in words."""
        lines = [f"logits differ by at most {self.logits:.2g} of the largest, computed in float32"]
        if self.quantization != "none":
            lines.append(f"the run was in {self.quantization}; both were compared as plain weights")
        if self.rows:
            lines.append(
                f"{self.equal:.1%} of {self.rows} test answers are equal; {self.metric} "
                f"{self.unmerged:.3f} unmerged, {self.merged:.3f} merged"
            )
        return lines


def default_bound(half: bool) -> float:
    """Largest difference of logits, as a share of the largest, of float32 or of shorter weights."""
    return HALF_BOUND if half else BOUND


def roomy_device(model: nn.Module, device: torch.device) -> torch.device:
    """The GPU if it has room for the model in float32, beside what it computes; else the CPU."""
    if device.type != "cuda":
        return device
    needed = 4 * sum(parameter.numel() for parameter in model.parameters())
    free, _ = torch.cuda.mem_get_info(device)
    return device if needed < ROOM * free else torch.device("cpu")


def require_replaceable(folder: Path) -> None:
    """Only an earlier merged model may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose a folder with --output")
    if folder.is_dir() and any(folder.iterdir()) and not _is_merged(folder):
        raise ConfigError(f"{folder} holds something else than a merged model; choose another with --output")


def _is_merged(folder: Path) -> bool:
    """Whether its description says that something was merged."""
    try:
        return "merged" in read_json(folder / DESCRIPTION) and (folder / "config.json").is_file()
    except DataError:
        return False


def require_equal(measured: Merged, bound: float, half: bool) -> None:
    """Refuse a merged model that answers otherwise.

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
            f"the merged model answers otherwise than the unmerged one: {'; '.join(measured.lines())}.\n"
            f"At most {' and '.join(allowed)} may differ; nothing was written."
        )
