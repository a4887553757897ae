"""`--tiny`: the same experiment at toy size, in seconds, without weights, data files or a network."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge_glass.config.overrides import key_path, leaf_paths, merged, nested
from edge_glass.config.problems import dotted, value_at
from edge_glass.config.schema import ExperimentConfig
from edge_glass.config.sections.data import DatasetConfig
from edge_glass.config.sections.encoders import PerceiverConfig
from edge_glass.config.sections.large_models import GenerationConfig
from edge_glass.config.sections.training import GenerationEvaluationConfig
from edge_glass.config.variants import apply_variant

TOY_WIDTH = 32
TOY_HIDDEN = 32
TOY_BATCH = 8
TOY_EPOCHS = 2
TOY_RESAMPLES = 100
TOY_LATENTS = 4
TOY_HEADS = 2  # they divide TOY_WIDTH into parts of an even width
TOY_LAYERS = 2
TOY_STEPS = 2
TOY_VOCABULARY = 300
TOY_RANK = 4
TOY_GRID = 2
TOY_ROWS = 16
TOY_BEAMS = 2
TOY_NEW_TOKENS = 16
TOY_QUESTION, TOY_ANSWER = 256, 64  # toy tokenizers read bytes, so words take more tokens
TOY_PICTURE = 16  # tokens: generated scenes are 112 pixels along a side
TOY_BOXES, TOY_BOXES_WRITTEN = 256, 96  # tokens: digits are one each; a box takes 25 to 40
TOY_ROW = 1024
TOY_IOU_STEPS, TOY_IOU_ROWS, TOY_IOU_SECONDS = 2, 4, 10.0

_MAX_FRACTION = 0.3

logger = logging.getLogger(__name__)


def shrink(config: ExperimentConfig, keep: Iterable[str] = ()) -> dict[str, Any]:
    """Return the experiment at toy size, as plain data that still has to be validated.

    What the config switches on stays on (loss, pooling, Matryoshka, adapters, ablation variants); only sizes
    shrink, and they shrink together, so that a config that is consistent stays so, and each of its variants
    too. Quantization and attention kernels that need a GPU go.

    Args:
        config: a checked experiment at full size.
        keep: dotted keys that stay as they are, because the user set them beside `--tiny`. Paths of data and
            the weights of a vision-language model are dropped all the same.
    """
    always_toy = {"tiny", "vlm.source", *(f"dataset.{path}" for path in config.data_paths)}
    if dropped := sorted(set(keep) & always_toy - {"tiny"}):
        logger.warning("--tiny generates its rows and weights; not used: %s", ", ".join(dropped))
    kept = set(keep) - always_toy
    ablation = config.ablation
    variants = {
        name: variant
        for name, overrides in (ablation.variants.items() if ablation else ())
        if (variant := apply_variant(config, overrides)[0]) is not None  # else refused by the checks before
    }
    family = [config, *variants.values()]
    raw = merged(config.model_dump(), _without(_settings(config, family, kept), kept))
    if ablation is not None:
        raw["ablation"] |= {
            "variants": {
                name: _toy_variant(variant, ablation.variants[name], family, kept)
                for name, variant in variants.items()
            },
            "seeds": ablation.seeds[:1],
            "metrics": [config.toy_metric(metric, family, kept) for metric in ablation.metrics],
        }
    return raw


def _settings(config: ExperimentConfig, family: Sequence[ExperimentConfig], kept: set[str]) -> dict[str, Any]:
    """Return the toy settings, to merge over the config."""
    training = config.training
    cache = getattr(training, "feature_cache", None)
    common = {
        "name": config.name if config.name.endswith("-tiny") else f"{config.name}-tiny",
        "tiny": True,
        "dataset": _toy_dataset(config.dataset, config.data_paths),
        "training": {
            "epochs": min(training.epochs, TOY_EPOCHS),
            "eval_epochs": min(training.eval_epochs, 1.0),
            "precision": "auto",  # a config for a GPU must pass on a laptop
            "report_to": [],
            **({} if cache is None else {"feature_cache": "off" if cache == "off" else "auto"}),
        },
        "evaluation": {"bootstrap_samples": TOY_RESAMPLES},
    }
    return merged(common, config.toy_settings(family, kept))


def _toy_dataset(dataset: DatasetConfig, paths: Iterable[str]) -> dict[str, Any]:
    """Drop paths, as rows are generated; a split that had its own file is split off instead."""
    toy: dict[str, Any] = {path: type(dataset).model_fields[path].default for path in paths}
    toy["batch_size"] = min(dataset.batch_size, TOY_BATCH)
    toy["num_workers"] = 0
    for split in ("val", "test"):
        fraction = f"{split}_fraction"
        default = DatasetConfig.model_fields[fraction].default
        toy[fraction] = default if dataset.own_file(split) else min(getattr(dataset, fraction), _MAX_FRACTION)
    return toy


def _toy_variant(
    variant: ExperimentConfig,
    overrides: Mapping[str, Any],
    family: Sequence[ExperimentConfig],
    kept: set[str],
) -> dict[str, Any]:
    """Return toy values for the keys that a variant sets."""
    values = merged(variant.model_dump(), _settings(variant, family, kept))
    schema = type(variant)
    paths = [
        path for key, value in overrides.items() for path in leaf_paths(nested(key_path(key, schema), value))
    ]
    paths += [(*path[:-1], "rank") for path in paths if path[-1] == "preset"]  # which would enlarge it
    return {dotted(path): value_at(values, path) for path in paths}


def _without(settings: Mapping[str, Any], kept: set[str], prefix: str = "") -> dict[str, Any]:
    """Return the settings minus the kept keys and everything below them."""
    result = {}
    for key, value in settings.items():
        if prefix + key in kept:
            continue
        result[key] = _without(value, kept, f"{prefix}{key}.") if isinstance(value, Mapping) else value
    return result


# Toy settings that tasks share


def toy_perceiver(perceiver: PerceiverConfig) -> dict[str, int]:
    """Return settings of a resampler of few latents, a block and few heads."""
    return {
        "num_latents": min(perceiver.num_latents, TOY_LATENTS),
        "depth": min(perceiver.depth, 1),
        "num_heads": min(perceiver.num_heads, TOY_HEADS),
    }


def toy_generation(generation: GenerationConfig, longest: int, tokens: int) -> dict[str, int]:
    """Return settings that write short answers, of at most `longest` and `tokens`, for few rows at a time."""
    return {
        "max_new_tokens": min(generation.max_new_tokens or longest, tokens),
        "num_beams": min(generation.num_beams, TOY_BEAMS),
        "batch_size": min(generation.batch_size, TOY_BATCH),
    }


def toy_rows(evaluation: GenerationEvaluationConfig) -> dict[str, int | None]:
    """Return settings that measure few rows."""
    return {
        "validation_rows": min(evaluation.validation_rows, TOY_ROWS),
        "test_rows": evaluation.test_rows and min(evaluation.test_rows, TOY_ROWS),
    }
