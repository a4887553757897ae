"""Finding a finished model: in a run folder, in its `model/`, or in what `merge` wrote."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import NamedTuple

from edge_glass.assets.model_folder import DESCRIPTION, description_path
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.tasks.registry import task_kind


class Finished(NamedTuple):
    """Where a finished model is.

    Attributes:
        run: Its run folder; for a folder that stands by itself, the one above it.
        model: The folder of its weights.
        task: What it was trained for.
    """

    run: Path
    model: Path
    task: str


def find_model(folder: str | Path) -> Finished:
    """Find the finished model of a run folder or model folder.

    Raises:
        CheckpointError: There is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such run or model folder.")
    model = folder if (folder / DESCRIPTION).is_file() else folder / "model"
    path = description_path(model)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        task = str(record["config"].get("task", "alignment"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    return Finished(model.parent, model, task)


def require_task(folder: str | Path, task: str) -> Finished:
    """Find the finished model, which has to be for this task.

    Raises:
        CheckpointError: There is no finished model.
        ConfigError: It is for another task; the message says what it does.
    """
    found = find_model(folder)
    if found.task != task:
        is_, wanted = task_kind(found.task), task_kind(task)
        example = is_.example.format(folder=shlex.quote(str(folder)))
        raise ConfigError(f"{folder} {is_.does}; expected one that {wanted.does}. To use this one: {example}")
    return found
