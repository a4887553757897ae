"""Folders of finished models: they appear whole or not at all, and model.json says what is in them.

`ModelFolder` is what models have in common that are built on a pretrained one, which may have adapters.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from safetensors import SafetensorError
from safetensors.torch import save_file

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import canary
from edge_glass.core.canary import FILE as CANARY
from edge_glass.core.canary import Canary, read_canary
from edge_glass.core.errors import CheckpointError
from edge_glass.core.files import atomic_folder

Model = TypeVar("Model", bound=Any)
Config = TypeVar("Config", bound=ExperimentConfig)

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


class ModelFolder(ABC, Generic[Model, Config]):
    """How the finished model of one task is kept: model.json, a canary, and what the task adds to them.

    Attributes:
        sections: Of the experiment, those that model.json keeps.
        section: The one of them that the pretrained part stands in, with mode, quantization and dtype.
    """

    sections: tuple[str, ...]
    section: str

    @abstractmethod
    def write(self, model: Model, config: Config, folder: Path) -> None:
        """Write everything that was trained, and what rebuilding the model takes."""

    @abstractmethod
    def write_merged(self, model: Model, folder: Path) -> None:
        """Write a model without adapters as a plain Hugging Face folder, and what else it is made of."""

    @abstractmethod
    def rebuild(self, folder: Path, record: Mapping[str, Any], config: Config) -> Model:
        """Return the model with its trained tensors in eval mode, on the CPU unless it is quantised.

        Args:
            folder: That `write` or `write_merged` wrote into.
            record: All that model.json says; of a merged model it has `merged`.
            config: The experiment in it.

        Raises:
            CheckpointError: A part is missing, broken or of another model.
        """

    def facts(self, model: Model, config: Config) -> dict[str, Any]:
        """Return what model.json says beside the experiment."""
        return {}

    def save(self, model: Model, config: Config, folder: Path, stored: Canary) -> Path:
        """Write a finished model; the folder appears whole or not at all.

        Raises:
            CheckpointError: It cannot be written.
        """
        with atomic_model_folder(folder, USE_RESUME) as temporary:
            self.write(model, config, temporary)
            save_file(stored.tensors(), temporary / CANARY)
            describe(temporary, config, self.sections, self.facts(model, config))
        return folder

    def save_merged(
        self,
        model: Model,
        config: Config,
        folder: Path,
        stored: Canary,
        measured: Mapping[str, Any],
    ) -> Path:
        """Write a model whose adapters were merged, as a plain Hugging Face folder that stands by itself.

        Args:
            model: After its `merge`.
            config: Of the run.
            folder: Appears whole or not at all.
            stored: The canary, with the merged model's logits.
            measured: What was compared with the unmerged model; kept in model.json.

        Raises:
            CheckpointError: It cannot be written, or still has adapters.
        """
        dtype = str(model.dtype).removeprefix("torch.")
        plain = self._with(config, mode="frozen", quantization="none", dtype=dtype)
        with atomic_model_folder(folder, USE_OUTPUT) as temporary:
            self.write_merged(model, temporary)
            save_file(stored.tensors(), temporary / CANARY)
            facts = {"merged": dict(measured), **self.facts(model, config)}
            describe(temporary, plain, self.sections, facts)
        return folder

    def read(self, folder: Path) -> tuple[dict[str, Any], Config]:
        """Return what model.json says, and the experiment in it.

        Raises:
            CheckpointError: The folder is no finished model.
        """
        path = description_path(folder)
        try:
            return cast("tuple[dict[str, Any], Config]", described(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}).") from error

    def load(self, folder: Path) -> tuple[Model, Config]:
        """Rebuild a saved model in eval mode: tensors are checked by name and shape, and the canary's logits.

        Raises:
            CheckpointError: The folder is no finished model, a part is missing, broken or of another model,
                or it answers differently than when it was saved.
            ConfigError: It cannot run here; the weights it was trained on are others.
            AssetError: The weights it was trained on cannot be found.
        """
        record, config = self.read(folder)
        model = self.rebuild(folder, record, config)
        stored = read_canary(folder)
        canary.check(model, stored.sample, stored.trained, stored.untouched, str(folder))
        return model, config

    def load_unquantized(self, folder: Path) -> Model:
        """Rebuild a saved model on weights that are not quantised, to be merged.

        It answers a little differently than in training, so its canary is not checked.
        """
        record, config = self.read(folder)
        return self.rebuild(folder, record, self._with(config, quantization="none"))

    def _with(self, config: Config, **changes: str) -> Config:
        """Return the experiment with other options of its pretrained part."""
        changed = getattr(config, self.section).model_copy(update=changes)
        return config.model_copy(update={self.section: changed})
