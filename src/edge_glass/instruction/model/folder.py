"""A finished answering model as a folder.

model.json             what was built: the sections of the experiment it depends on
trained.safetensors    everything that was trained
canary.safetensors     a sample with its logits, trained and untouched; see `edge_glass.core.canary`
vision_encoder/        weights, architecture and preprocessing; audio_encoder/ in models that hear
decoder/               the tokenizer; the LoRA adapter in peft's form

A language model that was adapted is named (`decoder.source`), not copied. `save_merged_model` writes it out,
as a plain Hugging Face folder (config.json, model.safetensors, tokenizer.json) with the above beside it, but
for decoder/; trained.safetensors then holds the prefix alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

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
from edge_glass.core.errors import CheckpointError
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.sources import quiet_transformers
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.instruction.model.answering import AnsweringModel
from edge_glass.instruction.model.build import build_answering_model

TRAINED = "trained.safetensors"
DECODER = "decoder"
SECTIONS = (
    "name",
    "task",
    "seed",
    "tiny",
    "dataset",
    "vision_encoder",
    "audio_encoder",
    "fusion",
    "prefix",
    "decoder",
    "generation",
    "evaluation",
)


def save_answering_model(
    model: AnsweringModel, config: ExperimentConfig, folder: Path, canary: Canary
) -> Path:
    """Write the finished model; the folder appears whole or not at all.

    Raises:
        CheckpointError: It cannot be written.
    """
    with atomic_model_folder(folder, USE_RESUME) as temporary:
        (temporary / DECODER).mkdir()
        decoder_kind(config.decoder.kind).save(model.decoder, temporary / DECODER)
        _save_parts(model, temporary, canary)
        write_description(config, temporary)
    return folder


def save_merged_model(
    model: AnsweringModel,
    config: ExperimentConfig,
    folder: Path,
    canary: Canary,
    measured: Mapping[str, Any],
) -> Path:
    """Write a model whose adapters were merged, as a plain Hugging Face folder that stands by itself.

    Args:
        model: After `QwenDecoder.merge`.
        config: Of the run.
        folder: Appears whole or not at all.
        canary: With the merged model's logits.
        measured: What was compared with the unmerged model; kept in model.json.

    Raises:
        CheckpointError: It cannot be written.
    """
    with atomic_model_folder(folder, USE_OUTPUT) as temporary:
        with quiet_transformers():
            model.decoder.save(temporary)
        _save_parts(model, temporary, canary)
        dtype = str(next(model.decoder.parameters()).dtype).removeprefix("torch.")
        plain = config.decoder.model_copy(update={"mode": "frozen", "quantization": "none", "dtype": dtype})
        write_description(config.model_copy(update={"decoder": plain}), temporary, dict(measured))
    return folder


def _save_parts(model: AnsweringModel, folder: Path, canary: Canary) -> None:
    """Encoders, trained tensors and canary."""
    for name, tower in model.towers.items():
        tower.encoder.save(folder / f"{name}_encoder")
    state = {name: value.detach().cpu() for name, value in model.trainable_state_dict().items()}
    save_file(state, folder / TRAINED)
    save_file(canary.tensors(), folder / CANARY)


def write_description(
    config: ExperimentConfig, folder: Path, merged: Mapping[str, Any] | None = None
) -> None:
    """Write what the model is built from; of a merged one, what was measured too."""
    describe(folder, config, SECTIONS, None if merged is None else {"merged": merged})


def read_description(folder: Path) -> ExperimentConfig:
    """What a saved model was built from.

    Raises:
        CheckpointError: The folder is no finished model.
    """
    path = description_path(folder)
    try:
        return described(path)[1]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}).") from error


def load_answering_model(folder: Path) -> tuple[AnsweringModel, ExperimentConfig]:
    """Rebuild a saved model in eval mode: tensors checked by name and shape, and the canary's logits.

    Raises:
        CheckpointError: The folder is no finished model, a part is missing or broken, or it answers otherwise
            than when it was saved.
        AssetError: The language model it was trained on cannot be found.
    """
    config = read_description(folder)
    model = _load_parts(folder, config)
    stored = read_canary(folder)
    if not model.decoder.prefix_first and "opening" not in stored.sample:
        raise CheckpointError(
            f"{folder}: saved when pictures still stood before all words (until November 2026); they now "
            "stand where the user begins to speak, so it has to be trained again"
        )
    canary.check(model, stored.sample, stored.trained, stored.untouched, str(folder))
    return model, config


def load_unquantized_model(folder: Path) -> AnsweringModel:
    """A saved model whose language model is loaded without quantization, to be merged.

    It answers a little otherwise than it did in training, so its canary is not checked.
    """
    config = read_description(folder)
    plain = config.decoder.model_copy(update={"quantization": "none"})
    return _load_parts(folder, config.model_copy(update={"decoder": plain}))


def _load_parts(folder: Path, config: ExperimentConfig) -> AnsweringModel:
    """The model with its trained tensors, in eval mode."""
    decoder = decoder_kind(config.decoder.kind).load(config, folder / DECODER)
    model = build_answering_model(config, decoder, _load_encoders(config, folder))
    try:
        state = load_file(folder / TRAINED)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the model cannot be read ({error}).") from error
    model.load_trainable_state_dict(state)
    # A quantised language model is on the GPU already: the rest goes where the decoder is.
    return model.to(next(model.decoder.parameters()).device).eval()


def _load_encoders(config: ExperimentConfig, folder: Path) -> dict[str, Any]:
    if config.prefix.blind:
        return {}
    encoders: dict[str, Any] = {
        "vision": VisionEncoder.load(folder / "vision_encoder", frozen=config.vision_encoder.frozen)
    }
    if config.audio_encoder is not None:
        encoders["audio"] = AudioEncoder.load(folder / "audio_encoder", frozen=config.audio_encoder.frozen)
    return encoders
