"""`--tiny`: the same experiment at toy size, in seconds, without weights, data files or a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edge_glass.config.overrides import key_path, leaf_paths, merged, nested
from edge_glass.config.problems import dotted, value_at
from edge_glass.config.schema import (
    AblationConfig,
    AudioEncoderConfig,
    DatasetConfig,
    ExperimentConfig,
    TextEncoderConfig,
    TrainingConfig,
    VisionEncoderConfig,
)
from edge_glass.config.tiny_answers import answer_settings
from edge_glass.config.tiny_detection import detection_settings
from edge_glass.config.tiny_sizes import (
    TOY_BATCH,
    TOY_EPOCHS,
    TOY_HEADS,
    TOY_HIDDEN,
    TOY_RESAMPLES,
    TOY_WIDTH,
    toy_perceiver,
)
from edge_glass.config.variants import apply_variant

_MAX_FRACTION = 0.3
_DATA_PATHS = (
    *("train_parquet", "val_parquet", "test_parquet"),
    *("train_conversations", "val_conversations", "test_conversations", "image_root"),
    *("image_folder", "metadata_file", "train", "val", "test"),
)
_ALWAYS_TOY = {"tiny", "vlm.source", *(f"dataset.{path}" for path in _DATA_PATHS)}
_DIMENSION_KEYS = {"vision_encoder.projection_dim", "vision_encoder.mrl_dimensions"}


def shrink(config: ExperimentConfig, keep: Iterable[str] = ()) -> dict[str, Any]:
    """The experiment at toy size, as plain data that still has to be validated.

    What the config switches on stays on (loss, pooling, Matryoshka, adapters, ablation variants); only sizes
    shrink, and they shrink together, so that a config that is consistent stays so, and each of its variants
    too. Quantization and attention kernels that need a GPU go.

    Args:
        config: a checked experiment at full size.
        keep: dotted keys that stay as they are, because the user set them beside `--tiny`. Paths of data and
            the weights of a vision-language model are dropped all the same.
    """
    kept = set(keep) - _ALWAYS_TOY
    dimensions = {} if kept & _DIMENSION_KEYS else _toy_dimensions(config)
    settings = _without(_settings(config, dimensions), kept)
    raw = merged(config.model_dump(), settings)
    if config.ablation is not None:
        raw["ablation"] |= {
            "variants": _toy_variants(config, config.ablation, dimensions),
            "seeds": config.ablation.seeds[:1],
            "metrics": [_toy_metric(metric, dimensions) for metric in config.ablation.metrics],
        }
    return raw


def _settings(config: ExperimentConfig, dimensions: Mapping[int, int]) -> dict[str, Any]:
    """The toy settings, to merge over the config."""
    common = {
        "name": config.name if config.name.endswith("-tiny") else f"{config.name}-tiny",
        "tiny": True,
        "dataset": _toy_dataset(config.dataset),
        "vision_encoder": {"image_size": None},
        **({"fusion": {"num_heads": TOY_HEADS}} if config.fusion else {}),
        "training": _toy_training(config.training),
        "evaluation": {"bootstrap_samples": TOY_RESAMPLES},
    }
    # Only what the task reads: the checks refuse other settings that are not at their default.
    if config.task == "instruction":
        return merged(common, answer_settings(config))
    if config.task == "detection":
        return merged(common, detection_settings(config))
    return merged(common, _alignment_settings(config, dimensions))


def _alignment_settings(config: ExperimentConfig, dimensions: Mapping[int, int]) -> dict[str, Any]:
    vision = config.vision_encoder
    return {
        "vision_encoder": {
            "projection_dim": dimensions.get(vision.projection_dim, vision.projection_dim),
            "mrl_dimensions": [dimensions.get(one, one) for one in vision.mrl_dimensions],
            **_toy_encoder(vision),
        },
        "text_encoder": _toy_encoder(config.text_encoder),
        **({"audio_encoder": _toy_encoder(config.audio_encoder)} if config.audio_encoder else {}),
        "evaluation": {"primary_metric": _toy_metric(config.evaluation.primary_metric, dimensions)},
    }


def _toy_encoder(encoder: VisionEncoderConfig | TextEncoderConfig | AudioEncoderConfig) -> dict[str, Any]:
    return {
        "head": {"hidden_dim": min(encoder.head.hidden_dim, TOY_HIDDEN)},
        "perceiver": toy_perceiver(encoder.perceiver),
    }


def _toy_training(training: TrainingConfig) -> dict[str, Any]:
    return {
        "epochs": min(training.epochs, TOY_EPOCHS),
        "eval_epochs": min(training.eval_epochs, 1.0),
        "precision": "auto",  # a config for a GPU must pass on a laptop
        "report_to": [],
        "feature_cache": "off" if training.feature_cache == "off" else "auto",
    }


def _toy_dataset(dataset: DatasetConfig) -> dict[str, Any]:
    """Rows are generated, so paths go; a split that had its own file is split off instead."""
    toy: dict[str, Any] = dict.fromkeys(_DATA_PATHS)
    toy["extra_train_parquet"] = []
    toy["batch_size"] = min(dataset.batch_size, TOY_BATCH)
    toy["num_workers"] = 0
    for split in ("val", "test"):
        fraction = f"{split}_fraction"
        own_file = any(getattr(dataset, f"{split}{kind}") for kind in ("_parquet", "_conversations", ""))
        default = DatasetConfig.model_fields[fraction].default
        toy[fraction] = default if own_file else min(getattr(dataset, fraction), _MAX_FRACTION)
    return toy


def _toy_variants(
    config: ExperimentConfig, ablation: AblationConfig, dimensions: Mapping[int, int]
) -> dict[str, dict[str, Any]]:
    """The variants with toy values for the keys they set."""
    toy: dict[str, dict[str, Any]] = {}
    for name, overrides in ablation.variants.items():
        variant, _ = apply_variant(config, overrides)
        if variant is None:  # refused by the checks before this is called
            continue
        values = merged(variant.model_dump(), _settings(variant, dimensions))
        paths = [
            path for key, value in overrides.items() for path in leaf_paths(nested(key_path(key), value))
        ]
        paths += [(*path[:-1], "rank") for path in paths if path[-1] == "preset"]  # which would enlarge it
        toy[name] = {dotted(path): value_at(values, path) for path in paths}
    return toy


def _toy_dimensions(config: ExperimentConfig) -> dict[int, int]:
    """Every dimension of the experiment and its variants → its toy size: 1024, 512, 256 → 32, 16, 8.

    One order-preserving table for all of them: what was smaller, equal or among the dimensions stays so.
    """
    variants = config.ablation.variants.values() if config.ablation else []
    family = [
        config,
        *(variant for overrides in variants if (variant := apply_variant(config, overrides)[0])),
    ]
    sizes = {one.vision_encoder.projection_dim for one in family}
    sizes |= {dimension for one in family for dimension in one.vision_encoder.mrl_dimensions}
    descending = sorted(sizes, reverse=True)
    if descending[0] <= TOY_WIDTH:
        return {}
    if TOY_WIDTH >> (len(descending) - 1) >= 2:
        return {size: TOY_WIDTH >> index for index, size in enumerate(descending)}
    width = max(TOY_WIDTH, len(descending))
    return {size: width - index * (width // len(descending)) for index, size in enumerate(descending)}


def _toy_metric(metric: str, dimensions: Mapping[int, int]) -> str:
    """`i2t_r1@256` at the toy size of 256."""
    name, at, dimension = metric.partition("@")
    return f"{name}@{dimensions.get(int(dimension), int(dimension))}" if at else metric


def _without(settings: Mapping[str, Any], kept: set[str], prefix: str = "") -> dict[str, Any]:
    """The settings minus the kept keys and everything below them."""
    result = {}
    for key, value in settings.items():
        if prefix + key in kept:
            continue
        result[key] = _without(value, kept, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return result
