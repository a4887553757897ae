"""What an experiment stands on: its splits, its encoders, its device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.data import CaptionsConfig, QuestionsConfig
from edge_glass.core.errors import DataError
from edge_glass.data.datasets import complete_splits
from edge_glass.data.folder import read_folder
from edge_glass.data.generated import generated_splits
from edge_glass.data.parquet import read_parquet
from edge_glass.data.samples import SampleTable, check_rejected, join_tables
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

if TYPE_CHECKING:
    from edge_glass.config.alignment import AlignmentConfig
    from edge_glass.config.instruction import InstructionConfig


def load_splits(config: AlignmentConfig) -> dict[str, SampleTable]:
    """Train, val and test of an experiment, with no picture on two sides.

    Raises:
        DataError: See `complete_splits`; or no row of a split has a modality that the experiment needs.
    """
    dataset, sounds = config.dataset, config.audio_encoder is not None
    tables = generated_splits(sounds) if config.tiny else _read_tables(dataset, sounds)
    for table in tables.values():
        check_rejected(table, dataset.max_bad_fraction)
    splits = complete_splits(tables, dataset.val_fraction, dataset.test_fraction, dataset.shared_pictures)
    _check_modalities(splits, ("vision", "text", *(("audio",) if sounds else ())))
    return splits


def _check_modalities(splits: dict[str, SampleTable], modalities: tuple[str, ...]) -> None:
    nouns = {"vision": "picture", "audio": "sound", "text": "caption"}
    for name, table in splits.items():
        for modality in modalities:
            count = int(np.sum([bool(keys) for keys in table.keys(modality)]))
            if count < 2:
                raise DataError(
                    f"{table.source}: {count} rows of the {name} split have a {nouns[modality]}; two "
                    f"are needed. Name the right column with dataset.{_COLUMNS[modality]}."
                )


_COLUMNS = {"vision": "image_column", "audio": "audio_column", "text": "text_column"}


def _read_tables(dataset: CaptionsConfig, sounds: bool) -> dict[str, SampleTable]:
    if dataset.image_folder is not None and dataset.metadata_file is not None:
        table = read_folder(
            dataset.image_folder, dataset.metadata_file, dataset.text_column, dataset.id_column
        )
        return {"train": table}
    files = {
        "train": [dataset.train_parquet, *dataset.extra_train_parquet],
        "val": [dataset.val_parquet],
        "test": [dataset.test_parquet],
    }
    return {
        name: join_tables([read_captions(dataset, path, sounds) for path in paths if path is not None])
        for name, paths in files.items()
        if paths[0] is not None
    }


def read_captions(dataset: CaptionsConfig | QuestionsConfig, path: str, sounds: bool) -> SampleTable:
    """Read one parquet file of pictures, captions and perhaps sounds."""
    return read_parquet(
        path,
        dataset.image_column,
        dataset.text_column,
        dataset.extra_captions_column if isinstance(dataset, CaptionsConfig) else None,
        dataset.id_column,
        dataset.audio_column if sounds else None,
        dataset.group_column,
        dataset.max_audio_seconds,
    )


def load_encoders(
    config: AlignmentConfig,
) -> tuple[VisionEncoder, TextEncoder] | tuple[VisionEncoder, TextEncoder, AudioEncoder]:
    """Load the encoders of an alignment experiment, frozen as it says."""
    pictures, words, audio = load_vision(config), load_text(config), load_audio(config)
    return (pictures, words) if audio is None else (pictures, words, audio)


def load_vision(config: AlignmentConfig | InstructionConfig) -> VisionEncoder:
    """Load the picture encoder of an experiment."""
    vision = config.vision_encoder
    if config.tiny:
        architecture = "test_vit" if vision.pooling_type == "cls" else "test_efficientnet"
        layers = ["blocks.*"] if vision.feature_layers else []
        return VisionEncoder.tiny(config.seed, architecture, frozen=vision.frozen, layers=layers)
    return VisionEncoder.load(
        vision.source, vision.image_size, vision.frozen, vision.feature_layers, vision.layer_pooling
    )


def load_text(config: AlignmentConfig) -> TextEncoder:
    """Load the text encoder of an experiment."""
    text = config.text_encoder
    if config.tiny:
        return TextEncoder.tiny(config.seed, text.frozen, layers=[0, 2] if text.feature_layers else [])
    return TextEncoder.load(text.source, config.dataset.max_text_length, text.frozen, text.feature_layers)


def load_audio(config: AlignmentConfig | InstructionConfig) -> AudioEncoder | None:
    """Load the sound encoder of an experiment, if it has one."""
    audio = config.audio_encoder
    if audio is None:
        return None
    return (
        AudioEncoder.tiny(config.seed, audio.frozen)
        if config.tiny
        else AudioEncoder.load(audio.source, audio.frozen)
    )


def training_device(config: ExperimentConfig) -> torch.device:
    """Return the GPU of this process if there is one and the config allows it."""
    if config.training.device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def cache_obstacle(config: AlignmentConfig | InstructionConfig) -> str | None:
    """Return why features cannot be cached; None when they can."""
    if config.training.feature_cache == "off":
        return "training.feature_cache is off"
    encoders = [getattr(config, f"{kind}_encoder", None) for kind in ("vision", "text", "audio")]
    if not all(encoder.frozen for encoder in encoders if encoder is not None):
        return "an encoder is trained, so its features change"
    if config.dataset.augmentation != "none":
        return f"dataset.augmentation={config.dataset.augmentation} makes every picture different each time"
    if config.dataset.audio_augmentation != "none" and config.audio_encoder is not None:
        return f"dataset.audio_augmentation={config.dataset.audio_augmentation} makes every sound different"
    return None
