"""A finished answering model as a folder.

model.json             what was built: the sections of the experiment it depends on
trained.safetensors    everything that was trained
canary.safetensors     a sample with its logits, trained and untouched; see `edge_glass.core.canary`
vision_encoder/        weights, architecture and preprocessing; audio_encoder/ in models that hear
decoder/               the tokenizer; the LoRA adapter in peft's form

A language model that was adapted is named (`decoder.source`), not copied. A merged one is written out,
as a plain Hugging Face folder (config.json, model.safetensors, tokenizer.json) with the above beside it, but
for decoder/; trained.safetensors then holds the prefix alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edge_glass.assets.model_folder import ModelFolder
from edge_glass.config.instruction import InstructionConfig
from edge_glass.core.canary import read_canary
from edge_glass.core.errors import CheckpointError
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.sources import quiet_transformers
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.instruction.model.answering import AnsweringModel
from edge_glass.instruction.model.build import build_answering_model

TRAINED = "trained.safetensors"
DECODER = "decoder"


class AnsweringFolder(ModelFolder[AnsweringModel, InstructionConfig]):
    """See the module."""

    sections = (
        *("name", "task", "seed", "tiny", "dataset", "vision_encoder", "audio_encoder", "fusion", "prefix"),
        *("decoder", "generation", "evaluation"),
    )
    section = "decoder"

    def write(self, model: AnsweringModel, config: InstructionConfig, folder: Path) -> None:
        (folder / DECODER).mkdir()
        decoder_kind(config.decoder.kind).save(model.decoder, folder / DECODER)
        _write_prefix(model, folder)

    def write_merged(self, model: AnsweringModel, folder: Path) -> None:
        with quiet_transformers():
            model.decoder.save(folder)
        _write_prefix(model, folder)

    def rebuild(self, folder: Path, record: Mapping[str, Any], config: InstructionConfig) -> AnsweringModel:
        decoder = decoder_kind(config.decoder.kind).load(config, folder / DECODER)
        model = build_answering_model(config, decoder, _load_encoders(config, folder))
        try:
            state = load_file(folder / TRAINED)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder}: the model cannot be read ({error}).") from error
        if not decoder.prefix_first and "opening" not in read_canary(folder).sample:
            raise CheckpointError(
                f"{folder}: saved when pictures still stood before all words (until November 2026); they now "
                "stand where the user begins to speak, so it has to be trained again"
            )
        model.load_trainable_state_dict(state)
        # A quantised language model is on the GPU already: the rest goes where the decoder is.
        return model.to(next(model.decoder.parameters()).device).eval()


def _write_prefix(model: AnsweringModel, folder: Path) -> None:
    """Write encoders and trained tensors."""
    for name, tower in model.towers.items():
        tower.encoder.save(folder / f"{name}_encoder")
    state = {name: value.detach().cpu() for name, value in model.trainable_state_dict().items()}
    save_file(state, folder / TRAINED)


def _load_encoders(config: InstructionConfig, folder: Path) -> dict[str, Any]:
    if config.prefix.blind:
        return {}
    encoders: dict[str, Any] = {
        "vision": VisionEncoder.load(folder / "vision_encoder", frozen=config.vision_encoder.frozen)
    }
    if config.audio_encoder is not None:
        encoders["audio"] = AudioEncoder.load(folder / "audio_encoder", frozen=config.audio_encoder.frozen)
    return encoders


ANSWERING_FOLDER = AnsweringFolder()
save_answering_model, load_answering_model = ANSWERING_FOLDER.save, ANSWERING_FOLDER.load
