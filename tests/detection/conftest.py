"""Every test of this folder has a cache folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def own_home(home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder; nothing is in it yet."""
    folder = tmp_path / "edge-glass-home"
    monkeypatch.setenv("EDGE_GLASS_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tests are small, and machines shared."""
    torch.set_num_threads(1)
