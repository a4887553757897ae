"""Frozen encoders: held as they are, and named by exactly what they are."""

from __future__ import annotations

import hashlib
from typing import Self

import torch
from torch import nn


class FreezableModule(nn.Module):
    """A module that, once frozen, has no gradients and stays in eval mode whatever its parent does.

    `model.train()` would otherwise switch dropout and drop-path on and let batch norm drift, so that the
    features in training are not those of inference.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frozen = False

    def freeze(self) -> Self:
        """Stop gradients and hold eval mode."""
        self.eval()
        self.requires_grad_(False)
        self.frozen = True
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch mode, except that a frozen module stays in eval mode, untouched at every step."""
        return self if self.frozen else super().train(mode)


def fingerprint(description: str, module: nn.Module) -> str:
    """Hash what decides an encoder's output.

    Args:
        description: Architecture and preprocessing as stable text.
        module: Its state (parameters and persistent buffers) is hashed: names, dtypes, shapes and bytes.

    Returns:
        64 hexadecimal digits (SHA-256). Memory layout and device do not matter, values do.
    """
    digest = hashlib.sha256(description.encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FingerprintCache:
    """Remembers a fingerprint until a tensor of the module is written to or replaced.

    Every in-place write raises a tensor's version; `.data` writes do not and are not used here.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] | None = None
        self._value = ""

    def get(self, description: str, module: nn.Module) -> str:
        """Return the fingerprint, computed anew only when something changed since the last call."""
        tensors = module.state_dict().values()
        key = (description, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        if key != self._key:
            self._value = fingerprint(description, module)
            self._key = key
        return self._value
