"""Checkpoints that are whole or do not exist.

Each is an atomic folder with a manifest of sizes and hashes, written last. Tensors are safetensors,
everything else JSON: nothing is unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edge_glass.core.errors import CheckpointError
from edge_glass.core.files import UNFINISHED_FOLDER, atomic_folder

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{6,})")


def checkpoint_path(root: Path, step: int) -> Path:
    """Return `root/step-000200` for step 200."""
    return root / f"step-{step:06d}"


def write_checkpoint(
    root: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
    documents: Mapping[str, Any],
) -> Path:
    """Write one checkpoint atomically and return its folder.

    Args:
        root: Folder of all checkpoints of the run.
        step: Optimizer steps done.
        tensors: File name → tensors by name, each written as one safetensors file.
        documents: File name → JSON-able value.

    Raises:
        CheckpointError: The disk is full or not writable. Earlier checkpoints are untouched.
    """
    final = checkpoint_path(root, step)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _require_space(root, tensors)
        with atomic_folder(final) as temporary:
            for name, group in tensors.items():
                save_file(
                    {key: value.detach().cpu().contiguous() for key, value in group.items()}, temporary / name
                )
            for name, document in documents.items():
                (temporary / name).write_text(json.dumps(document, indent=1), encoding="utf-8")
            _write_manifest(temporary, step)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{final}: the checkpoint could not be written ({_reason(error)}).\n"
            "Earlier checkpoints are untouched; free some space and continue with --resume."
        ) from error
    return final


def problems(folder: Path) -> str | None:
    """Say why this folder is no complete checkpoint; None when it is one. Reads and hashes every file."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        for name, expected in files.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != expected["size"]:
                return f"{name} has {file.stat().st_size} bytes instead of {expected['size']}"
            if _sha256(file) != expected["sha256"]:
                return f"{name} does not match its hash"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    return None


def list_checkpoints(root: Path) -> list[Path]:
    """List folders named like checkpoints, newest first, whole or not."""
    if not root.is_dir():
        return []
    found = [(int(match.group(1)), path) for path in root.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def find_checkpoint(root: Path) -> Path | None:
    """Find the newest whole checkpoint; broken ones are named in the log and passed over."""
    for folder in list_checkpoints(root):
        problem = problems(folder)
        if problem is None:
            return folder
        logger.warning("%s is skipped: %s", folder, problem)
    return None


def read_checkpoint(folder: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Read the tensors and documents of a checkpoint, by file name.

    Raises:
        CheckpointError: The folder is not a complete checkpoint.
    """
    problem = problems(folder)
    if problem is not None:
        raise CheckpointError(f"{folder} is not a complete checkpoint: {problem}.")
    names = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    tensors = {name: load_file(folder / name) for name in names if name.endswith(".safetensors")}
    documents = {
        name: json.loads((folder / name).read_text(encoding="utf-8"))
        for name in names
        if name.endswith(".json")
    }
    return tensors, documents


def prune_checkpoints(root: Path, keep: int, protect: Iterable[Path] = ()) -> None:
    """Delete all but the newest `keep` checkpoints, those in `protect`, and any unfinished folder."""
    protected = {path.name for path in protect} | {path.name for path in list_checkpoints(root)[:keep]}
    for folder in list_checkpoints(root):
        if folder.name not in protected:
            remove(folder)
    _remove_unfinished(root)


def drop_later_checkpoints(root: Path, step: int) -> None:
    """Delete checkpoints after `step` and unfinished folders: a run that goes on from there writes its own.

    Left alone, they would count as the newest, and those of the run that goes on would be pruned for them.
    """
    for folder in list_checkpoints(root):
        if int(folder.name.removeprefix("step-")) > step:
            logger.warning("%s is deleted: training goes on from step %d", folder, step)
            remove(folder)
    _remove_unfinished(root)


def remove(folder: Path) -> None:
    """Delete a checkpoint, manifest first: a deletion cut short leaves no checkpoint that looks whole."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_unfinished(root: Path) -> None:
    for leftover in root.glob(f"{UNFINISHED_FOLDER}*"):
        remove(leftover)


def _write_manifest(folder: Path, step: int) -> None:
    files = {}
    for file in sorted(folder.iterdir()):
        files[file.name] = {"size": file.stat().st_size, "sha256": _sha256(file)}
    (folder / MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1), encoding="utf-8")


def _require_space(root: Path, tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
    needed = sum(tensor.nbytes for group in tensors.values() for tensor in group.values()) + 2**20
    free = shutil.disk_usage(root).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 2**20:.1f} MiB needed, {free / 2**20:.1f} MiB free")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left on the disk: {error.strerror}"
    return str(error)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
