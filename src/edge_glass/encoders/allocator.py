"""Keep freed memory for the next picture.

glibc gives large freed blocks back to the system and asks for them again for the next tensor; each page of
that is then touched, zeroed and mapped anew. On CPUs this can cost more than the arithmetic of a small
encoder (measured in `benchmarks/feature_cache.py`).
"""

from __future__ import annotations

import ctypes
import sys

# From malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse large blocks in this process; False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
