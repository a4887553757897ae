"""Fixtures for all tests: a cache folder of their own, few threads, no hub."""

from __future__ import annotations

import os

import pytest
import setuptools  # noqa: F401 - before anything imports the standard distutils: torch.compile needs its own

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def session_home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One cache folder for the whole session."""
    return str(tmp_path_factory.mktemp("edge-glass-home"))


@pytest.fixture(autouse=True)
def home(request: pytest.FixtureRequest, session_home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache; tests of real weights use it, so that they download once."""
    if request.node.get_closest_marker("weights") is None:
        monkeypatch.setenv("EDGE_GLASS_HOME", session_home)
