"""The canary: logits of one sample, stored beside the weights and computed again wherever they are loaded.

Tensors that load without an error may still be the wrong ones, or not be used at all (an adapter that was
left out). Logits that are those of training, and not those of the untouched model, say that neither happened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from edge_glass.core.errors import CheckpointError

FILE = "canary.safetensors"
POSITIONS = 4
BOUND = 1e-3  # of the largest logit: other machines, other kernels
HALF_BOUND = 5e-2  # the same with bfloat16 weights
_INPUTS = ("input_ids", "attention_mask", "labels", "opening")


class HasLogits(Protocol):
    """A model whose logits a canary compares: `AnsweringModel`, `DetectionModel`."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Compute logits `[K, V]` that predict the K supervised tokens of a batch, in eval mode."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all weights."""
        ...


@dataclass(frozen=True)
class Canary:
    """A sample, and its logits `[K, V]` before and after training."""

    sample: Mapping[str, Tensor]
    trained: Tensor
    untouched: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return them as one flat mapping, for a file."""
        sample = {f"sample.{name}": value for name, value in self.sample.items()}
        return {**sample, "trained": self.trained, "untouched": self.untouched}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Canary:
        """Read back what `tensors` gave."""
        sample = {
            name.removeprefix("sample."): value
            for name, value in tensors.items()
            if name.startswith("sample.")
        }
        return cls(sample, tensors["trained"], tensors["untouched"])


def read_canary(folder: Path) -> Canary:
    """Read the canary of a saved model.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        return Canary.of(load_file(folder / FILE))
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the model cannot be read ({error}).") from error


def compute_logits(model: HasLogits, sample: Mapping[str, Tensor]) -> Tensor:
    """Compute logits float32 `[K, V]` of the first few supervised tokens of a sample (`canary_sample`)."""
    return model.logits(_batch(sample, model.device))[:POSITIONS].float().cpu()


def canary_sample(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a batch of one row, by flat names.

    A batch of the instruction task has features of its picture and sound in mappings, and their places; one
    of the detection task is flat already.
    """
    if "inputs" not in batch:
        sample = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
        return _copied(sample)
    sample = {name: batch[name] for name in _INPUTS}
    for modality, inputs in batch["inputs"].items():
        sample |= {f"inputs.{modality}.{name}": value for name, value in inputs.items()}
        sample[f"place.{modality}"] = batch["place"][modality]
    return _copied(sample)


def _copied(sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone().contiguous() for name, value in sample.items()}


def check(
    model: HasLogits, sample: Mapping[str, Tensor], expected: Tensor, untouched: Tensor, what: str
) -> None:
    """Compare the loaded model's logits with those of training.

    Args:
        model: With its weights loaded.
        sample: What `canary_sample` gave.
        expected: Logits when the weights were written.
        untouched: Logits before training.
        what: File or folder, for the message.

    Raises:
        CheckpointError: They differ, or are those of the untouched model.
    """
    found = compute_logits(model, sample)
    half = any(parameter.dtype != torch.float32 for parameter in model.parameters())
    bound = (HALF_BOUND if half else BOUND) * float(expected.abs().max().clamp(min=1e-6))
    difference = float((found - expected).abs().max())
    if not difference <= bound:  # NaN is not below anything
        hint = " They are those of the untouched model." if _equal(found, untouched, bound) else ""
        raise CheckpointError(
            f"{what}: the loaded model gives other answers than the one that was saved: logits of the stored "
            f"sample differ by {difference:.3g}, expected at most {bound:.3g}.{hint}"
        )
    if torch.equal(found, untouched) and not torch.equal(expected, untouched):
        raise CheckpointError(f"{what}: the loaded model answers as the untouched one; nothing was loaded")


def _equal(found: Tensor, other: Tensor, bound: float) -> bool:
    return bool((found - other).abs().max() <= bound)


def _batch(sample: Mapping[str, Tensor], device: torch.device) -> dict[str, Any]:
    batch: dict[str, Any] = {"inputs": {}, "place": {}}
    for name, value in sample.items():
        kind, _, rest = name.partition(".")
        if kind == "inputs":
            modality, _, part = rest.partition(".")
            batch["inputs"].setdefault(modality, {})[part] = value.to(device)
        elif kind == "place":
            batch["place"][rest] = value.to(device)
        else:
            batch[name] = value.to(device)
    return batch
