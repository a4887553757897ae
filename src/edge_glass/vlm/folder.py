"""A finished detection model as a folder.

model.json             what was built: the sections of the experiment it depends on, how boxes are written,
                       the pixel budget, versions
processor/             tokenizer, chat template, picture processing
adapter/               mode lora: the adapters in peft's form, with a manifest
vlm/                   mode full: the whole model, its tensors by their names in memory
canary.safetensors     a sample with its logits, trained and untouched; see `edge_glass.core.canary`

A model that was adapted is named (`vlm.source`), or built again from `seed`; it is not copied.
A merged one is written out, as a plain Hugging Face folder with model.json and the canary beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_glass.assets.model_folder import ModelFolder, description_path
from edge_glass.config.detection import DetectionConfig
from edge_glass.core.errors import AssetError, CheckpointError, ConfigError
from edge_glass.encoders.sources import quiet_transformers
from edge_glass.vlm.family import load_family
from edge_glass.vlm.loading import fit_processor, load_model, load_pretrained, load_processor
from edge_glass.vlm.model import DetectionModel, as_detection_model
from edge_glass.vlm.pixel_budget import PixelBudget, require_effect

PROCESSOR = "processor"
ADAPTER = "adapter"
WEIGHTS = "vlm"
PACKAGES = ("edge-glass", "torch", "transformers", "peft")


class DetectionFolder(ModelFolder[DetectionModel, DetectionConfig]):
    """See the module."""

    sections = ("name", "task", "seed", "tiny", "dataset", "vlm", "detection", "generation", "evaluation")
    section = "vlm"

    def write(self, model: DetectionModel, config: DetectionConfig, folder: Path) -> None:
        with quiet_transformers():
            model.processor.save_pretrained(folder / PROCESSOR)
            if model.mode == "full":
                model.vlm.save_pretrained(folder / WEIGHTS, save_original_format=False)
        if model.adapter is not None:
            model.adapter.save(folder / ADAPTER)

    def write_merged(self, model: DetectionModel, folder: Path) -> None:
        if model.adapter is not None:
            raise CheckpointError("expected a model without adapters, got one with them; merge it first")
        with quiet_transformers():
            model.vlm.save_pretrained(folder)
            model.processor.save_pretrained(folder)

    def facts(self, model: DetectionModel, config: DetectionConfig) -> dict[str, Any]:
        counts = model.parameter_counts()
        return {
            "boxes": box_convention(config),
            "pixel_budget": PixelBudget.of(model.processor).record(),
            **({} if model.adapter is None else {"adapted_layers": model.adapter.targets}),
            "parameters": {row.component: {"total": row.total, "trained": row.trained} for row in counts},
            "versions": {name: _version(name) for name in PACKAGES},
        }

    def read(self, folder: Path) -> tuple[dict[str, Any], DetectionConfig]:
        """Return what model.json says, and the experiment in it.

        Raises:
            CheckpointError: The folder is no finished model, or its boxes are written in another way than
                this version writes those of its family.
        """
        record, config = super().read(folder)
        path = description_path(folder)
        try:
            boxes, _ = dict(record["boxes"]), PixelBudget(**record["pixel_budget"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}).") from error
        for name, expected in box_convention(config).items():
            if boxes.get(name) != expected:
                raise CheckpointError(
                    f"{path}: {name} of its boxes is {boxes.get(name)!r}, but they would be read as "
                    f"{expected!r}; a model of another box convention cannot be used"
                )
        return record, config

    def rebuild(self, folder: Path, record: Mapping[str, Any], config: DetectionConfig) -> DetectionModel:
        merged = "merged" in record
        budget = PixelBudget(**record["pixel_budget"])
        processor = _load_processor(folder if merged else folder / PROCESSOR, budget)
        if merged:
            vlm = _load_own(folder, config)
        elif config.vlm.mode == "full":
            # All of it in float32, which loses nothing; frozen parts get their dtype back below.
            vlm = _load_own(folder / WEIGHTS, self._with(config, dtype="float32"))
        else:
            vlm = load_model(config)
        fit_processor(vlm, processor, str(folder))
        model = as_detection_model(vlm, processor, config)
        if model.adapter is not None:
            model.adapter.load(folder / ADAPTER)
        return model


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def box_convention(config: DetectionConfig) -> dict[str, str]:
    """Return how the boxes of an experiment are written."""
    convention = load_family(config.vlm.family).boxes
    return {
        "family": config.vlm.family,
        "format": config.detection.box_format,
        "coordinates": convention.coordinates,
        "corners": convention.corners,
    }


def require_convention(config: DetectionConfig, folder: Path) -> None:
    """Refuse to run a saved model as something else than it was trained as.

    Args:
        config: What is about to be run.
        folder: The saved model.

    Raises:
        CheckpointError: The folder is no finished model.
        ConfigError: Another family, box format or pixel budget.
    """
    _, stored = DETECTION_FOLDER.read(folder)
    for path in ("vlm.family", "detection.box_format", "vlm.min_pixels", "vlm.max_pixels"):
        section, key = path.split(".")
        found, trained = getattr(getattr(config, section), key), getattr(getattr(stored, section), key)
        if found != trained:
            raise ConfigError(
                f"{path} is {found}, but {folder} was trained with {trained}; with another, boxes are wrong"
            )


def _load_own(folder: Path, config: DetectionConfig) -> Any:
    """Load weights of this folder: whatever is wrong with them is the folder's fault."""
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


DETECTION_FOLDER = DetectionFolder()
save_detection_model, load_detection_model = DETECTION_FOLDER.save, DETECTION_FOLDER.load
