"""Errors a user can cause. The command line prints their message and exits with their code; no traceback."""

from __future__ import annotations


class EdgeGlassError(Exception):
    """Base class. The message names the file, key or row, what was expected, what was found
    and what to do."""

    exit_code = 2


def error_line(error: BaseException, longest: int = 200) -> str:
    """Return the message of another library's error on one line, cut where it gets long."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


class ConfigError(EdgeGlassError):
    """The command or the experiment file is wrong."""


class AssetError(EdgeGlassError):
    """Weights or data by name could not be fetched or verified."""


class CheckpointError(EdgeGlassError):
    """A checkpoint or finished model is missing, incomplete or does not fit."""


class DataError(EdgeGlassError):
    """Rows or files of a data set are wrong."""

    exit_code = 3


class TrainingError(EdgeGlassError):
    """Training cannot go on, for example because the loss is not finite."""

    exit_code = 3


class Interrupted(EdgeGlassError):
    """SIGTERM or Ctrl-C arrived; a checkpoint was written. Exits with 128 + the signal's number."""

    def __init__(self, number: int, where: str, folder: object) -> None:
        super().__init__(
            f"interrupted at {where}; a checkpoint is in {folder}/checkpoints.\n"
            "Continue with the same command and --resume."
        )
        self.exit_code = 128 + number
