"""A finished alignment model as a folder that needs nothing else: no cache, no hub, no training data.

model.json            what was built: the encoder, head and loss sections of the experiment
heads.safetensors     everything that was trained
vision_encoder/       weights, architecture and preprocessing
text_encoder/         weights, architecture and tokenizer
audio_encoder/        weights, architecture and spectrogram, in models that hear
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from edge_glass.alignment.model.alignment import MultimodalAlignmentModel, build_alignment_model
from edge_glass.assets.model_folder import (
    USE_RESUME,
    atomic_model_folder,
    describe,
    described,
    description_path,
)
from edge_glass.config.alignment import AlignmentConfig
from edge_glass.core.errors import CheckpointError
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

HEADS = "heads.safetensors"
_SECTIONS = (
    "name",
    "task",
    "seed",
    "vision_encoder",
    "text_encoder",
    "audio_encoder",
    "fusion",
    "losses",
)


def save_model(model: MultimodalAlignmentModel, config: AlignmentConfig, folder: Path) -> Path:
    """Write the finished model; the folder appears whole or not at all.

    Raises:
        CheckpointError: It cannot be written.
    """
    with atomic_model_folder(folder, USE_RESUME) as temporary:
        for name, tower in model.towers.items():
            tower.encoder.save(temporary / f"{name}_encoder")
        state = {
            name: value.detach().cpu().contiguous() for name, value in model.trainable_state_dict().items()
        }
        save_file(state, temporary / HEADS)
        describe(temporary, config, _SECTIONS)
    return folder


def load_model(folder: Path) -> MultimodalAlignmentModel:
    """Rebuild a saved model in eval mode, with all weights checked by name and shape.

    Raises:
        CheckpointError: The folder is no finished model, or a part is missing or broken.
    """
    path = description_path(folder)
    try:
        config = cast(AlignmentConfig, described(path)[1])
        state = load_file(folder / HEADS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: the model cannot be read ({error}).") from error
    vision = VisionEncoder.load(folder / "vision_encoder", frozen=config.vision_encoder.frozen)
    text = TextEncoder.load(folder / "text_encoder", frozen=config.text_encoder.frozen)
    audio = None
    if config.audio_encoder is not None:
        audio = AudioEncoder.load(folder / "audio_encoder", frozen=config.audio_encoder.frozen)
    model = build_alignment_model(config, vision, text, audio)
    model.load_trainable_state_dict(state)
    return model.eval()
