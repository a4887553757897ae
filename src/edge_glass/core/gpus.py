"""Which GPUs have room."""

from __future__ import annotations

import torch

GIB = 2**30


def find_available_gpus(min_free_gb: float = 1.0, limit: int | None = None) -> list[int]:
    """Return the numbers of the GPUs with enough free memory, most first; [] on a machine without GPUs.

    The numbers are torch's own, so they count the GPUs that `CUDA_VISIBLE_DEVICES` leaves visible.

    Args:
        min_free_gb: Free memory in GiB that a GPU must have.
        limit: Return at most this many.
    """
    if not torch.cuda.is_available():
        return []
    free: dict[int, int] = {}
    for number in range(torch.cuda.device_count()):
        try:
            free[number] = torch.cuda.mem_get_info(number)[0]
        except RuntimeError:  # in exclusive use by another process
            continue
    enough = [number for number, room in free.items() if room >= min_free_gb * GIB]
    return sorted(enough, key=lambda number: -free[number])[:limit]
