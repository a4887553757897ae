"""`find_available_gpus`: torch's numbers of the GPUs with room."""

from __future__ import annotations

import pytest
import torch

from edge_glass.core.gpus import GIB, find_available_gpus


def test_none_without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_available_gpus() == []


def test_those_with_most_room_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {0: 5.0, 1: 40.0, 2: 0.5, 4: 12.0}

    def mem_get_info(number: int) -> tuple[int, int]:
        if number not in free:
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
        return int(free[number] * GIB), 80 * GIB

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    assert find_available_gpus() == [1, 4, 0]
    assert find_available_gpus(min_free_gb=0.5) == [1, 4, 0, 2]
    assert find_available_gpus(min_free_gb=6, limit=1) == [1]
    assert find_available_gpus(limit=0) == []
