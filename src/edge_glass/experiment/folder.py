"""Begin a run folder: what may be written where, and what the run was made with."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge_glass.config import ExperimentConfig, dump_config
from edge_glass.config.overrides import leaf_paths
from edge_glass.config.problems import dotted, value_at
from edge_glass.config.yaml_files import parse_yaml
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.core.files import write_whole
from edge_glass.evaluation.results import write_json
from edge_glass.training.checkpoint import find_checkpoint, list_checkpoints, problems

logger = logging.getLogger(__name__)

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
    """Make the run folder and find the checkpoint to go on from.

    Args:
        folder: The run folder.
        config: Written to `config.yaml`.
        resume: None for a new run, `latest`, or a checkpoint's path.

    Returns:
        The checkpoint, or None to start at step 0.

    Raises:
        ConfigError: A run is already there and `resume` is None.
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
    written = folder / "config.yaml"
    if resume is not None and written.exists() and (changed := _changed_settings(written, config)):
        logger.warning("%s goes on with other settings than it began with: %s", folder, ", ".join(changed))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whole: `train RUN/config.yaml --resume`, killed right here, must find the file again.
        write_whole(written, dump_config(config))
    except OSError as error:
        raise ConfigError(f"{folder}: the run folder cannot be written ({error.strerror}).") from error
    return checkpoint


def _changed_settings(written: Path, config: ExperimentConfig) -> list[str]:
    """Return the dotted keys whose value differs from that in a run's `config.yaml`, with both values."""
    before = parse_yaml(written.read_text(encoding="utf-8"), str(written)).value
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
