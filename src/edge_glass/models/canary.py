"""The canary: logits of one sample, stored beside the weights and computed again wherever they are loaded.

Tensors that load without an error may still be the wrong ones, or not be used at all (an adapter that was
left out). Logits that are those of training, and not those of the untouched model, say that neither happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from edge_glass.errors import CheckpointError
from edge_glass.models.answering import AnsweringModel

POSITIONS = 4
BOUND = 1e-3  # of the largest logit: other machines, other kernels
HALF_BOUND = 5e-2  # the same with bfloat16 weights
_INPUTS = ("input_ids", "attention_mask", "labels")


def sing(model: AnsweringModel, sample: Mapping[str, Tensor]) -> Tensor:
    """Logits float32 `[K, V]` of the first few supervised tokens of a sample (`canary_sample`)."""
    return model.logits(_batch(sample, model.device))[:POSITIONS].float().cpu()


def canary_sample(batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a batch of one row, by flat names: words, features of its picture and sound, places."""
    sample = {name: batch[name] for name in _INPUTS}
    for modality, inputs in batch["inputs"].items():
        sample |= {f"inputs.{modality}.{name}": value for name, value in inputs.items()}
        sample[f"place.{modality}"] = batch["place"][modality]
    return {name: value.detach().cpu().clone().contiguous() for name, value in sample.items()}


def check(
    model: AnsweringModel, sample: Mapping[str, Tensor], expected: Tensor, untouched: Tensor, what: str
) -> None:
    """Compare the loaded model's logits with those of training.

    Args:
        model: With its weights loaded.
        sample: Of `canary_sample`.
        expected: Logits when the weights were written.
        untouched: Logits before training.
        what: File or folder, for the message.

    Raises:
        CheckpointError: They differ, or are those of the untouched model.
    """
    found = sing(model, sample)
    half = any(parameter.dtype != torch.float32 for parameter in model.decoder.parameters())
    bound = (HALF_BOUND if half else BOUND) * float(expected.abs().max().clamp(min=1e-6))
    difference = float((found - expected).abs().max())
    if not difference <= bound:  # NaN is not below anything
        hint = " They are those of the untouched model." if _equal(found, untouched, bound) else ""
        raise CheckpointError(
            f"{what}: the loaded model gives other answers than the one that was saved: logits of the stored "
            f"sample differ by {difference:.3g}; at most {bound:.3g} would be right.{hint}"
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
