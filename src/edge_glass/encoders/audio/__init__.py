"""`AudioEncoder`: sounds → tokens. Each library whose models can be read is a file of this package.

Such a file defines:

- `recognises(source) -> bool`: whether this folder or hub id is for it;
- `load(source) -> (backbone, LogMel)`.

A backbone is a `torch.nn.Module`: log-mel `[B, M, T]` → tokens `[B, ceil(T / 2), D]`. It has `kind` (kept in
saved encoders), `width`, `window` (most frames at once), `trainable`, `device`, `inference(dtype)` (a
context), `fingerprint(description) -> str` and `save(folder)`. `whisper.py` is an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.core.registry import Registry
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.freezing import FreezableModule
from edge_glass.encoders.log_mel import LogMel
from edge_glass.encoders.sources import (
    ENCODER_FILE,
    library_of,
    plain_errors,
    read_encoder_record,
    resolve_source,
    write_record,
)

LIBRARIES: Final = Registry("edge_glass.encoders.audio", "audio library")

Sounds = Sequence[tuple[np.ndarray, int]]


class AudioEncoder(FreezableModule):
    """Sounds → token features, one token for two frames of 10 ms.

    A clip is not padded to the 30 seconds that Whisper was trained on; a longer one is cut into windows of
    that length, one after the other, whose tokens are joined.

    Attributes:
        width: Numbers per token.
        max_seconds: Longest sound that `preprocess` takes; None for any.
        has_cls_token: False: no token stands for the whole sound.
        transform: Sound → log-mel; give this, not the encoder, to data workers.
    """

    has_cls_token = False

    def __init__(
        self,
        backbone: Any,
        transform: LogMel,
        max_seconds: float | None = None,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.transform = transform
        self.max_seconds = max_seconds
        self.width = backbone.width
        if not frozen and not backbone.trainable:
            raise ConfigError(
                f"audio_encoder: a model of {backbone.kind} cannot be trained; set frozen to true, or give a "
                "transformers Whisper model"
            )
        if frozen:
            self.freeze()

    @property
    def sampling_rate(self) -> int:
        """Samples per second (Hz) that the encoder was made for; other sounds are resampled to it."""
        return self.transform.sampling_rate

    @property
    def device(self) -> torch.device:
        """Where it computes: always the CPU for CTranslate2."""
        return self.backbone.device

    @property
    def transform_id(self) -> str:
        """Stable text of the spectrogram and the windows."""
        return f"{self.transform.id};window={self.backbone.window}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over architecture, preprocessing and all weights as they are now."""
        return self.backbone.fingerprint(self.transform_id)

    def preprocess(self, sound: tuple[np.ndarray, int]) -> Tensor:
        """Map samples `[T]` float, mono, and their rate in Hz → log-mel `[n_mels, frames]` float32.

        Raises:
            DataError: Longer than `max_seconds`, not mono float samples, or not finite.
        """
        seconds = len(sound[0]) / max(1, sound[1])
        if self.max_seconds is not None and seconds > self.max_seconds:
            raise DataError(
                f"expected at most {self.max_seconds:g} s (audio_encoder.max_seconds); "
                f"got a sound of {seconds:.1f} s"
            )
        return self.transform(sound)

    def collate(self, mels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Pad log-mels `[n_mels, T]` → `mel` `[B, n_mels, longest]` with zeros, and `frames` `[B]` int64.

        A row of no frames is legal and gives no token.
        """
        frames = torch.tensor([mel.shape[1] for mel in mels], dtype=torch.long)
        batch = torch.zeros(len(mels), self.transform.mels, max(frames.tolist(), default=0))
        for row, mel in zip(batch, mels, strict=True):
            row[:, : mel.shape[1]] = mel
        return {"mel": batch, "frames": frames}

    def forward(self, inputs: Mapping[str, Tensor], micro_batch: int = 64) -> TokenFeatures:
        """Encode a collated batch; without gradients when frozen.

        Whisper has no attention mask: padding would be heard. So windows of the same length are computed
        together, none is padded, and a row's tokens do not depend on the others, up to the last bits.

        Args:
            inputs: What `collate` gives; `mel` on the encoder's device.
            micro_batch: Windows at a time.

        Returns:
            Tokens `[B, N, D]`, zero at padding, which the mask marks.
        """
        mel, window = inputs["mel"], self.backbone.window
        pieces = [
            (row, start, min(window, frames - start))
            for row, frames in enumerate(inputs["frames"].tolist())
            for start in range(0, frames, window)
        ]
        found: dict[tuple[int, int, int], Tensor] = {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            for chunk in _equal_lengths(pieces, micro_batch):
                values = torch.stack([mel[row, :, start : start + size] for row, start, size in chunk])
                found.update(zip(chunk, self.backbone(values), strict=True))
            rows: list[list[Tensor]] = [[] for _ in range(len(mel))]
            for piece in pieces:
                rows[piece[0]].append(found[piece])
            nothing = torch.zeros(0, self.width, device=mel.device)
            return _pad_rows([torch.cat(row or [nothing]) for row in rows], nothing)

    def frozen_forward(
        self,
        inputs: Sounds | Mapping[str, Tensor],
        micro_batch: int = 8,
        dtype: torch.dtype = torch.float32,
    ) -> TokenFeatures:
        """Encode in inference mode.

        Args:
            inputs: Sounds, or what `collate` made of their log-mels.
            micro_batch: Windows at a time.
            dtype: Arithmetic. bfloat16 is an approximation (see `fast_dtype`); CTranslate2 ignores it.

        Returns:
            Tokens `[B, N, D]` float32 on the encoder's device, zero at padding, without gradient.
        """
        if not isinstance(inputs, Mapping):
            inputs = self.collate([self.preprocess(sound) for sound in inputs])
        moved = {"mel": inputs["mel"].to(self.device), "frames": inputs["frames"]}
        with self.backbone.inference(dtype), torch.no_grad():
            features = self(moved, micro_batch)
        # Outside: what is made in inference mode may not meet a loss.
        return TokenFeatures(features.tokens.float().clone(), features.mask.clone())

    def save(self, folder: str | Path) -> None:
        """Write everything that `load(folder)` needs, offline."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.backbone.save(folder)
        record = {
            "format": 1,
            "modality": "audio",
            "kind": self.backbone.kind,
            "transform": self.transform.to_dict(),
            "max_seconds": self.max_seconds,
        }
        write_record(folder / ENCODER_FILE, record)

    @classmethod
    def load(cls, source: str | Path, frozen: bool = True, max_seconds: float | None = None) -> Self:
        """Load an encoder.

        Args:
            source: `asset:NAME`, a folder (saved by `save`, Hugging Face layout or CTranslate2 layout), or a
                hub id.
            frozen: Freeze it at once.
            max_seconds: Longest sound that `preprocess` takes; None for any, or for what was saved.

        Raises:
            AssetError: It cannot be found, reached or understood, or has not all its weights.
            ConfigError: A CTranslate2 model that is to be trained, or a package is missing.
        """
        source = resolve_source(source)
        with plain_errors(source, "audio encoder"):
            record = read_encoder_record(source, "audio") or {}
            backbone, transform = library_of(LIBRARIES, source).load(source)
        if "transform" in record:
            transform = LogMel(**record["transform"])
        limit = max_seconds if max_seconds is not None else record.get("max_seconds")
        return cls(backbone, transform, limit, frozen)

    @classmethod
    def tiny(cls, seed: int = 0, frozen: bool = True) -> Self:
        """Make a toy Whisper encoder with random weights, a function of `seed`; no network."""
        from edge_glass.encoders.audio.whisper import tiny_whisper

        return cls(*tiny_whisper(seed), frozen=frozen)


def _equal_lengths(
    pieces: Sequence[tuple[int, int, int]], micro_batch: int
) -> list[list[tuple[int, int, int]]]:
    """Yield (row, start, length) in groups of one length, at most `micro_batch` each."""
    by_length: dict[int, list[tuple[int, int, int]]] = {}
    for piece in pieces:
        by_length.setdefault(piece[2], []).append(piece)
    return [
        group[first : first + micro_batch]
        for group in by_length.values()
        for first in range(0, len(group), micro_batch)
    ]


def _pad_rows(rows: Sequence[Tensor], nothing: Tensor) -> TokenFeatures:
    """Pad tokens `[n, D]` of each row → `[B, longest, D]` with their mask; `nothing` is `[0, D]`."""
    counts = torch.tensor([len(row) for row in rows], dtype=torch.long, device=nothing.device)
    longest = max((len(row) for row in rows), default=1)
    padded = [F.pad(row, (0, 0, 0, longest - len(row))) for row in rows]
    tokens = torch.stack(padded) if rows else nothing.new_zeros(0, longest, nothing.shape[1])
    return TokenFeatures(tokens, torch.arange(longest, device=nothing.device) < counts[:, None])
