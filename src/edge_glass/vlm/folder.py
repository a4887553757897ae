"""A finished detection model as a folder.

model.json             what was built: the sections of the experiment it depends on, how boxes are written,
                       the pixel budget, versions
processor/             tokenizer, chat template, picture processing
adapter/               mode lora: the adapters in peft's form, with a manifest
vlm/                   mode full: the whole model, its tensors by their names in memory
canary.safetensors     a sample with its logits, trained and untouched; see `edge_glass.core.canary`

A model that was adapted is named (`vlm.source`), or built again from `seed`; it is not copied.
`save_merged_detector` writes it out, as a plain Hugging Face folder with model.json and the canary beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from edge_glass.assets.model_folder import (
    USE_OUTPUT,
    USE_RESUME,
    atomic_model_folder,
    describe,
    described,
    description_path,
)
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import canary
from edge_glass.core.canary import FILE as CANARY
from edge_glass.core.canary import Canary as Canary
from edge_glass.core.canary import read_canary as read_canary
from edge_glass.core.errors import AssetError, CheckpointError, ConfigError
from edge_glass.encoders.sources import quiet_transformers
from edge_glass.vlm.family import load_family
from edge_glass.vlm.loading import fit_processor, load_model, load_pretrained, load_processor
from edge_glass.vlm.model import DetectionModel, as_detection_model
from edge_glass.vlm.pixel_budget import PixelBudget, require_effect

PROCESSOR = "processor"
ADAPTER = "adapter"
WEIGHTS = "vlm"
SECTIONS = ("name", "task", "seed", "tiny", "dataset", "vlm", "detection", "generation", "evaluation")
PACKAGES = ("edge-glass", "torch", "transformers", "peft")


@dataclass(frozen=True)
class Description:
    """What a saved model says of itself.

    Attributes:
        config: The sections it depends on.
        budget: What its processor was trained with.
        boxes: How boxes are written.
        merged: Of a merged model, what was measured; else None.
    """

    config: ExperimentConfig
    budget: PixelBudget
    boxes: Mapping[str, str]
    merged: Mapping[str, Any] | None = None


def box_convention(config: ExperimentConfig) -> dict[str, str]:
    """How the boxes of an experiment are written."""
    convention = load_family(config.vlm.family).boxes
    return {
        "family": config.vlm.family,
        "format": config.detection.box_format,
        "coordinates": convention.coordinates,
        "corners": convention.corners,
    }


def require_convention(config: ExperimentConfig, folder: Path) -> None:
    """Refuse to run a saved model as something else than it was trained as.

    Args:
        config: What is about to be run.
        folder: The saved model.

    Raises:
        CheckpointError: The folder is no finished model.
        ConfigError: Another family, box format or pixel budget.
    """
    stored = read_description(folder)
    for path in ("vlm.family", "detection.box_format", "vlm.min_pixels", "vlm.max_pixels"):
        section, key = path.split(".")
        found, right = getattr(getattr(config, section), key), getattr(getattr(stored, section), key)
        if found != right:
            raise ConfigError(
                f"{path} is {found}, but {folder} was trained with {right}; boxes would be wrong with another"
            )


def save_detection_model(
    model: DetectionModel, config: ExperimentConfig, folder: Path, canary: Canary
) -> Path:
    """Write the finished model; the folder appears whole or not at all.

    Raises:
        CheckpointError: It cannot be written.
    """
    with atomic_model_folder(folder, USE_RESUME) as temporary:
        with quiet_transformers():
            model.processor.save_pretrained(temporary / PROCESSOR)
            if model.mode == "full":
                model.vlm.save_pretrained(temporary / WEIGHTS, save_original_format=False)
        if model.adapter is not None:
            model.adapter.save(temporary / ADAPTER)
        save_file(canary.tensors(), temporary / CANARY)
        _write_description(model, config, temporary)
    return folder


def save_merged_detector(
    model: DetectionModel,
    config: ExperimentConfig,
    folder: Path,
    canary: Canary,
    measured: Mapping[str, Any],
) -> Path:
    """Write a model whose adapters were merged, as a plain Hugging Face folder that stands by itself.

    Args:
        model: After `DetectionModel.merge`.
        config: Of the run.
        folder: Appears whole or not at all.
        canary: With the merged model's logits.
        measured: What was compared with the unmerged model; kept in model.json.

    Raises:
        CheckpointError: It cannot be written, or still has adapters.
    """
    if model.adapter is not None:
        raise CheckpointError("a model with adapters is no plain one; merge it first")
    with atomic_model_folder(folder, USE_OUTPUT) as temporary:
        with quiet_transformers():
            model.vlm.save_pretrained(temporary)
            model.processor.save_pretrained(temporary)
        save_file(canary.tensors(), temporary / CANARY)
        dtype = str(model.vlm.dtype).removeprefix("torch.")
        plain = config.vlm.model_copy(update={"mode": "frozen", "quantization": "none", "dtype": dtype})
        _write_description(model, config.model_copy(update={"vlm": plain}), temporary, dict(measured))
    return folder


def _write_description(
    model: DetectionModel, config: ExperimentConfig, folder: Path, merged: Mapping[str, Any] | None = None
) -> None:
    record: dict[str, Any] = {}
    if merged is not None:
        record["merged"] = merged
    record["boxes"] = box_convention(config)
    record["pixel_budget"] = PixelBudget.of(model.processor).record()
    if model.adapter is not None:
        record["adapted_layers"] = model.adapter.targets
    record["parameters"] = {
        row.component: {"total": row.total, "trained": row.trained} for row in model.parameter_counts()
    }
    record["versions"] = {name: _version(name) for name in PACKAGES}
    describe(folder, config, SECTIONS, record)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_record(folder: Path) -> Description:
    """What a saved model was built from.

    Raises:
        CheckpointError: The folder is no finished model, or its boxes are written in another way than this
            version writes those of its family.
    """
    path = description_path(folder)
    try:
        record, config = described(path)
        found = Description(
            config, PixelBudget(**record["pixel_budget"]), dict(record["boxes"]), record.get("merged")
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error
    for name, right in box_convention(config).items():
        if found.boxes.get(name) != right:
            raise CheckpointError(
                f"{path}: {name} of its boxes is {found.boxes.get(name)!r}, but they would be read as "
                f"{right!r}; a model of another box convention cannot be used"
            )
    return found


def read_description(folder: Path) -> ExperimentConfig:
    """The sections of the experiment that a saved model was built from.

    Raises:
        CheckpointError: As `read_record`.
    """
    return read_record(folder).config


def load_detection_model(folder: Path) -> tuple[DetectionModel, ExperimentConfig]:
    """Rebuild a saved model in eval mode: tensors by name and shape, pixel budget by effect, canary's logits.

    Raises:
        CheckpointError: The folder is no finished model, a part is missing, broken or of another model, or it
            answers otherwise than when it was saved.
        ConfigError: It cannot run here; the weights it was trained on are of another family.
        AssetError: The weights it was trained on cannot be found.
    """
    description = read_record(folder)
    model = _load_parts(folder, description, description.config)
    stored = read_canary(folder)
    canary.check(model, stored.sample, stored.trained, stored.untouched, str(folder))
    return model, description.config


def load_unquantized_detector(folder: Path) -> DetectionModel:
    """A saved model whose base is loaded without quantization, to be merged.

    It answers a little otherwise than it did in training, so its canary is not checked.
    """
    description = read_record(folder)
    plain = description.config.vlm.model_copy(update={"quantization": "none"})
    return _load_parts(folder, description, description.config.model_copy(update={"vlm": plain}))


def _load_parts(folder: Path, description: Description, config: ExperimentConfig) -> DetectionModel:
    """The model with its trained tensors, in eval mode, on the CPU unless it is quantised."""
    merged = description.merged is not None
    processor = _load_processor(folder if merged else folder / PROCESSOR, description.budget)
    if merged:
        vlm = _load_own(folder, config)
    elif config.vlm.mode == "full":
        # All of it in float32, which loses nothing; frozen parts get their dtype back below.
        exact = config.vlm.model_copy(update={"dtype": "float32"})
        vlm = _load_own(folder / WEIGHTS, config.model_copy(update={"vlm": exact}))
    else:
        vlm = load_model(config)
    fit_processor(vlm, processor, str(folder))
    model = as_detection_model(vlm, processor, config)
    if model.adapter is not None:
        model.adapter.load(folder / ADAPTER)
    return model


def _load_own(folder: Path, config: ExperimentConfig) -> Any:
    """Weights of this artefact: whatever is wrong with them is the artefact's fault."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing: the model is not complete")
    try:
        return load_pretrained(str(folder), config.vlm, exact=True)
    except AssetError as error:
        raise CheckpointError(f"{folder}: the model cannot be read ({error}).") from error


def _load_processor(folder: Path, budget: PixelBudget) -> Any:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is missing: the model is not complete")
    try:
        processor = load_processor(str(folder))
    except AssetError as error:
        raise CheckpointError(f"{folder}: the processor cannot be read ({error}).") from error
    budget.require(PixelBudget.of(processor), str(folder))
    require_effect(processor, budget)
    return processor
