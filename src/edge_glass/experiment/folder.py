"""Begin a run folder: what may be written where, and what the run was made with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from edge_glass.config import ExperimentConfig, dump_config
from edge_glass.config.overrides import leaf_paths
from edge_glass.config.problems import dotted, value_at
from edge_glass.config.yaml_files import parse_yaml
from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.core.files import write_whole
from edge_glass.data.samples import digests
from edge_glass.evaluation.results import read_json, write_json
from edge_glass.tasks.registry import task_kind
from edge_glass.training.checkpoint import find_checkpoint, list_checkpoints, problems

logger = logging.getLogger(__name__)

_FIXED = "optimization.optimizer "  # its state stands in the checkpoint

PACKAGES = (
    "edge-glass",
    "torch",
    "torchvision",
    "transformers",
    "accelerate",
    "timm",
    "numpy",
    "pillow",
    "pyarrow",
)


def run_folder_of(config: ExperimentConfig, output: Path | None = None) -> Path:
    """Return the run folder of an experiment: `--output`, else `output_dir/name`."""
    return output or Path(config.output_dir) / config.name


def begin(folder: Path, config: ExperimentConfig, resume: str | None) -> Path | None:
    """Find the checkpoint that a run goes on from, and say which settings are other ones than then.

    Args:
        folder: The run folder.
        config: Settings of now.
        resume: None for a new run, `latest`, or a checkpoint's path.

    Returns:
        The checkpoint, or None to start at step 0.

    Raises:
        ConfigError: A run is already there and `resume` is None, or it cannot go on with this optimizer.
        CheckpointError: The named checkpoint is broken, or none of those there is whole.
    """
    checkpoints = folder / "checkpoints"
    if resume is None and ((folder / "results.json").exists() or list_checkpoints(checkpoints)):
        raise ConfigError(
            f"{folder} already holds a run. Continue it with --resume, or choose another folder with "
            "--output DIR (or name=NEWNAME)."
        )
    checkpoint = None
    if resume is not None and resume != "latest":
        checkpoint = Path(resume)
        if problem := problems(checkpoint):
            raise CheckpointError(f"{checkpoint} is not a complete checkpoint: {problem}.")
    elif resume == "latest":
        checkpoint = find_checkpoint(checkpoints)
        if checkpoint is None and list_checkpoints(checkpoints):
            raise CheckpointError(
                f"{checkpoints}: none of the {len(list_checkpoints(checkpoints))} checkpoints is complete.\n"
                "Delete them to start again from step 0."
            )
    changed = changed_settings(folder, config)
    if checkpoint is not None and (fixed := [text for text in changed if text.startswith(_FIXED)]):
        raise ConfigError(
            f"{folder} cannot go on with another optimizer: {fixed[0]}.\n"
            "Leave it as it was, or choose another folder with --output DIR."
        )
    if resume is not None and changed:
        logger.warning("%s goes on with other settings than it began with: %s", folder, ", ".join(changed))
    return checkpoint


def write_config(folder: Path, config: ExperimentConfig) -> None:
    """Write `config.yaml`, whole: `train RUN/config.yaml --resume`, killed right here, must find it again.

    Raises:
        ConfigError: The run folder cannot be written.
    """
    try:
        write_whole(folder / "config.yaml", dump_config(config))
    except OSError as error:
        raise ConfigError(f"{folder}: the run folder cannot be written ({error.strerror}).") from error


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Make the run folder and keep other processes from training in it while the block runs.

    Raises:
        ConfigError: Another process trains in it, or it cannot be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", blocking=False)
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"{folder}: another process trains in this folder. Wait for it, or choose another one with "
            "--output DIR (or name=NEWNAME)."
        ) from error
    except OSError as error:
        raise ConfigError(f"{folder}: the run folder cannot be written ({error.strerror}).") from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)  # first: whoever comes next makes a new one
        lock.release()
        if made:
            with contextlib.suppress(OSError):  # it is not empty: a run began
                folder.rmdir()


def require_same_data(folder: Path, digests: Mapping[str, str]) -> None:
    """Compare the rows of a run that goes on with those it began with.

    Args:
        folder: The run folder. Runs of earlier versions did not write down what they read.
        digests: Of the rows of each split now.

    Raises:
        DataError: They are others.
    """
    if changed := _changed_digests(folder, digests):
        raise DataError(
            f"{folder} was begun with other rows: {', '.join(changed)}.\n"
            "Bring the old ones back, or train with these in another folder with --output DIR."
        )


def changed_rows(folder: Path, config: ExperimentConfig) -> list[str]:
    """Return the splits whose rows are not those that a run was trained with; none where that is unknown."""
    try:
        return _changed_digests(folder, digests(task_kind(config.task).rows(config)))
    except DataError as error:
        logger.info("the data cannot be compared with those of %s: %s", folder, error)
        return []


def _changed_digests(folder: Path, now: Mapping[str, str]) -> list[str]:
    try:
        before = read_json(folder / "environment.json")["fingerprints"]["data"]
    except (DataError, KeyError, TypeError):
        return []
    return [f"the {name} split" for name in now if name in before and now[name] != before[name]]


def changed_settings(folder: Path, config: ExperimentConfig) -> list[str]:
    """Return the dotted keys whose value differs from that in a run's `config.yaml`, with both values."""
    written = folder / "config.yaml"
    if not written.exists():
        return []
    before = parse_yaml(written.read_text(encoding="utf-8"), str(written)).value
    with contextlib.suppress(ValidationError):  # of another version: then as it is written
        before = type(config).model_validate(before).model_dump(mode="json")
    now = config.model_dump(mode="json")
    return [
        f"{dotted(path)} (was {value_at(before, path)}, is {value_at(now, path)})"
        for path in leaf_paths(now)
        if value_at(before, path) != value_at(now, path)
    ]


def write_environment(folder: Path, fingerprints: dict[str, Any]) -> None:
    """Write `environment.json`: versions, hardware, git revision, fingerprints of data and weights."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    write_json(
        folder / "environment.json",
        {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
            "hardware": {
                "system": platform.platform(),
                "cpu_cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "gpus": gpus,
            },
            "git": _git_revision(),
            "fingerprints": fingerprints,
        },
    )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Return the git revision of the working folder, with `+changes` when files differ from it."""
    try:
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
        status = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip() + ("+changes" if status.stdout.strip() else "")
