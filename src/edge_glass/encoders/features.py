"""What every encoder hands on: token features with a mask, and the frozen way of computing them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_glass.core.passes import evaluating

# From malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


class TokenFeatures(NamedTuple):
    """Features of a batch, one vector per token.

    Attributes:
        tokens: `[B, N, D]` float.
        mask: `[B, N]` bool; True marks a real token, False padding.
    """

    tokens: Tensor
    mask: Tensor


@contextmanager
def inference(module: nn.Module, dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Run `module` in eval mode without gradients, under autocast when `dtype` is not float32.

    What is computed inside are inference tensors: copy them into an ordinary tensor made outside
    before a loss sees them. Modes are restored afterwards.

    Args:
        module: What is about to be called.
        dtype: float32 is exact. bfloat16 or float16 is an approximation (about 3 and 4 significant digits).
    """
    device = next(iter(module.parameters())).device
    fast = dtype != torch.float32
    with (
        evaluating(module),
        torch.inference_mode(),
        torch.autocast(device.type, dtype=dtype if fast else None, enabled=fast),
    ):
        yield


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype in which a frozen pass is fastest on `device`: bfloat16 in hardware, else float32.

    On CPUs bfloat16 pays only with AVX512-BF16 or AMX; elsewhere it is emulated and slower.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        if any(getattr(torch.cpu, probe, bool)() for probe in probes):
            return torch.bfloat16
    return torch.float32


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse large blocks in this process; False where there is no glibc.

    glibc gives large freed blocks back to the system and asks for them again for the next tensor; each page
    of that is then touched, zeroed and mapped anew. On CPUs this can cost more than the arithmetic of a small
    encoder (measured in `benchmarks/feature_cache.py`).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
