from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_glass import assets
from edge_glass.assets import ASSETS


def test_names_and_pins_are_well_formed():
    for name, asset in ASSETS.items():
        assert name == asset.name
        assert asset.wheel.startswith(f"{asset.package.replace('-', '_')}-{asset.version}-")
        assert asset.wheel.endswith("-none-any.whl"), "a pinned asset must install on every platform"
        for digest in (asset.wheel_sha256, asset.tree_sha256):
            assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")
        assert asset.licence and asset.origin and asset.members


def test_list_assets_shows_each_one_unfetched_in_an_empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path))
    rows = assets.list_assets()
    assert [row.name for row in rows] == list(ASSETS)
    assert not any(row.fetched for row in rows)
    assert all(row.folder.is_relative_to(tmp_path) for row in rows)


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_GLASS_HOME", "~/models")
    assert assets.cache_root() == Path.home() / "models"
    monkeypatch.setenv("EDGE_GLASS_HOME", "")
    assert assets.cache_root().name == "edge-glass"


def test_importing_assets_is_light():
    heavy = "('torch', 'numpy', 'filelock')"
    code = f"import sys, edge_glass.assets; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.weights
@pytest.mark.parametrize("name", ["efficientnet-lite0", "all-minilm-l6-v2", "twemoji"])
def test_the_pinned_assets_can_be_fetched_and_are_whole(name):
    folder = assets.fetch(name, progress=False)
    main = {
        "efficientnet-lite0": "efficientnet-lite0.pth",
        "all-minilm-l6-v2": "model.safetensors",
        "twemoji": "72x72/1f600.png",
    }
    assert (folder / main[name]).is_file()
    assert assets.verify(name) == []
