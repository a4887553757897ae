"""Pictures and sounds as an encoder receives them, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from edge_glass.config.schema import ExperimentConfig
from edge_glass.data.conversation_batches import stack_pixels
from edge_glass.decoders.decoder import decoder_kind
from edge_glass.encoders.pooling import build_pooling
from edge_glass.instruction.data.table import InstructionTable
from edge_glass.reporting.inspection import InspectedInput


class InputInspector:
    """What becomes of the inputs of samples, on their way to a prefix.

    Args:
        config: The experiment.
        encoders: Modality → encoder.
    """

    def __init__(self, config: ExperimentConfig, encoders: Mapping[str, Any]) -> None:
        self.config, self.encoders = config, encoders
        self.within_text = decoder_kind(config.decoder.kind).pretrained  # others read a prefix first

    def inspect(
        self, table: InstructionTable, row: int, item: Mapping[str, Any]
    ) -> tuple[InspectedInput, ...]:
        """The inputs of one row, in the order of their prefix tokens.

        Args:
            table: The rows.
            row: One of them.
            item: What `ConversationDataset` gives for it.
        """
        inputs: list[InspectedInput] = []
        for modality in self.encoders:
            name = "pixels" if modality == "vision" else "mel"
            if name not in item:
                continue
            # Cross attention keeps the tokens of the first modality; they attend to those of the others.
            heard = bool(inputs) and self._asks()
            tokens = 0 if heard else self._tokens(modality, item[name])
            note = f"read by the {inputs[0].word}'s tokens" if heard else ""
            make = self._picture if modality == "vision" else self._sound
            inputs.append(make(table, row, item[name], tokens, note))
        return tuple(inputs)

    def _asks(self) -> bool:
        return self.config.fusion is not None and self.config.fusion.kind == "cross_attention"

    def _picture(
        self, table: InstructionTable, row: int, pixels: Tensor, tokens: int, note: str
    ) -> InspectedInput:
        source = table.image(row)
        seen = self.encoders["vision"].transform.to_picture(pixels)
        return InspectedInput("vision", tokens, source, seen, _size(source), _size(seen), note)

    def _sound(
        self, table: InstructionTable, row: int, mel: Tensor, tokens: int, note: str
    ) -> InspectedInput:
        sound = table.sound(row)
        takes = len(table.keys("audio")[row])
        if takes > 1:
            note = "; ".join(filter(None, (note, f"{takes} takes, training draws one of them")))
        seconds = f"{len(sound.samples) / sound.rate:.1f} s"
        size = f"{mel.shape[0]} bands × {mel.shape[1]} frames"
        return InspectedInput("audio", tokens, None, _spectrogram(mel), seconds, size, note)

    def _tokens(self, modality: str, tensor: Tensor) -> int:
        """Prefix tokens of one item."""
        if self.config.prefix.perceiver is not None:
            return self.config.prefix.perceiver.num_latents
        encoder, audio = self.encoders[modality], self.config.audio_encoder
        pooling: str = self.config.vision_encoder.pooling_type or "none"
        if modality == "audio" and audio is not None:
            pooling = audio.pooling_type
        raw = stack_pixels([tensor])["pixels"] if modality == "vision" else encoder.collate([tensor])
        features = encoder.frozen_forward(raw)
        pool = build_pooling(pooling, encoder.width, grid_size=self.config.vision_encoder.grid_size)
        pooled = pool(*features)
        return int(pooled.mask.sum()) if hasattr(pooled, "mask") else 1


def _size(picture: Image.Image) -> str:
    return f"{picture.width} × {picture.height}"


def _spectrogram(mel: Tensor) -> Image.Image | None:
    """Low tones at the bottom, loud ones bright; None for a sound of no frames."""
    values = mel.float().numpy()[::-1]
    if not values.size:
        return None
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / max(high - low, 1e-6) * 255
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
