"""A folder that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from edge_glass.errors import CheckpointError


@contextmanager
def appearing(folder: Path, advice: str) -> Iterator[Path]:
    """A folder beside this one that takes its place when all has been written.

    Args:
        folder: May exist; it is replaced then.
        advice: What to do when the disk is full, for the message.

    Raises:
        CheckpointError: It cannot be written.
    """
    temporary = folder.with_name(f".tmp-{folder.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the model could not be written ({error}). {advice}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
