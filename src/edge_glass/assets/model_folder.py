"""Folders of finished models: they appear whole or not at all, and model.json says what is in them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.errors import CheckpointError
from edge_glass.core.files import atomic_folder

DESCRIPTION: Final = "model.json"

USE_RESUME: Final = "The checkpoints are untouched; free some space and use --resume."
USE_OUTPUT: Final = "Free some space, or choose another folder with --output."


@contextmanager
def atomic_model_folder(folder: Path, advice: str) -> Iterator[Path]:
    """Yield a folder beside this one that takes its place when all has been written.

    Args:
        folder: May exist; it is replaced then.
        advice: What to do when the disk is full: `USE_RESUME` in training, `USE_OUTPUT` in a command.

    Raises:
        CheckpointError: It cannot be written.
    """
    try:
        with atomic_folder(folder) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the model could not be written ({error}). {advice}") from error


def describe(
    folder: Path, config: ExperimentConfig, sections: Collection[str], others: Mapping[str, Any] | None = None
) -> None:
    """Write model.json: the sections of the experiment that the model depends on, after all others."""
    record = {"format": 1, **(others or {}), "config": config.model_dump(mode="json", include=set(sections))}
    (folder / DESCRIPTION).write_text(json.dumps(record, indent=1), encoding="utf-8")


def description_path(folder: Path) -> Path:
    """Return where model.json is.

    Raises:
        CheckpointError: It is missing.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(
            f"{folder} is no finished model: {DESCRIPTION} is missing. Was the run finished?"
        )
    return path


def described(path: Path) -> tuple[dict[str, Any], ExperimentConfig]:
    """Return what `describe` wrote: everything, and the experiment.

    Raises:
        OSError, ValueError, KeyError, TypeError: As the file is broken; pydantic's error is a ValueError.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    return record, ExperimentConfig.model_validate_json(json.dumps(record["config"]))
