from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_glass import assets
from edge_glass.assets import ASSETS
from edge_glass.assets.registry import this_platform
from edge_glass.core.errors import AssetError


def test_names_and_pins_are_well_formed():
    for name, asset in ASSETS.items():
        assert name == asset.name
        assert asset.licence and asset.origin and asset.members and asset.files
        for pinned in [asset.on(platform) for platform in asset.platforms] or [asset]:
            assert pinned.wheel.startswith(f"{asset.package.replace('-', '_')}-{asset.version}-")
            everywhere = pinned.wheel.endswith("-none-any.whl")
            assert everywhere != bool(asset.platforms), "a pinned asset must install on every platform"
            assert pinned.wheel_size > 0 and pinned.size > 0
            for digest in (pinned.wheel_sha256, pinned.tree_sha256):
                assert len(digest) == 64 and set(digest) <= set("0123456789abcdef")


def test_an_asset_with_a_compiled_part_has_a_wheel_for_each_usual_platform():
    asset = ASSETS["espeak-ng"]
    systems = {f"{system}-{machine}" for system in ("linux", "macos") for machine in ("x86_64", "arm64")}
    assert systems | {"windows-x86_64"} <= set(asset.platforms)
    wheels = [asset.on(platform) for platform in asset.platforms]
    assert len({wheel.wheel_sha256 for wheel in wheels}) == len(wheels)
    assert len({wheel.tree_sha256 for wheel in wheels}) == len(wheels)


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "x86_64", "linux-x86_64"),
        ("linux", "aarch64", "linux-arm64"),
        ("darwin", "arm64", "macos-arm64"),
        ("win32", "AMD64", "windows-x86_64"),
        ("freebsd14", "amd64", "freebsd14-x86_64"),
    ],
)
def test_platforms_have_one_name_each(monkeypatch, system, machine, name):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert this_platform() == name


def test_a_platform_without_a_wheel_is_named_and_listed(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "sunos5")
    monkeypatch.setattr("platform.machine", lambda: "sparc")
    with pytest.raises(AssetError, match=r"'espeak-ng' .* does not exist for sunos5-sparc; .* linux-x86_64"):
        assets.fetch("espeak-ng")
    row = next(row for row in assets.list_assets() if row.name == "espeak-ng")
    assert (row.fetched, row.size) == (False, 0)


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
@pytest.mark.parametrize(
    "name", ["efficientnet-lite0", "all-minilm-l6-v2", "twemoji", "whisper-tiny-en", "espeak-ng"]
)
def test_the_pinned_assets_can_be_fetched_and_are_whole(name):
    folder = assets.fetch(name, progress=False)
    main = {
        "efficientnet-lite0": "efficientnet-lite0.pth",
        "all-minilm-l6-v2": "model.safetensors",
        "twemoji": "72x72/1f600.png",
        "whisper-tiny-en": "model.bin",
        "espeak-ng": "espeak-ng-data/en_dict",
    }
    assert (folder / main[name]).is_file()
    assert assets.verify(name) == []
