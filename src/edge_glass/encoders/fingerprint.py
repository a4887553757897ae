"""A name for exactly these weights and this preprocessing."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


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
        """The fingerprint, computed anew only when something changed since the last call."""
        tensors = module.state_dict().values()
        key = (description, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
        if key != self._key:
            self._value = fingerprint(description, module)
            self._key = key
        return self._value
