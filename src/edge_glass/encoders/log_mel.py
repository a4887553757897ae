"""Sound → log-mel spectrogram as Whisper wants it, at the encoder's own rate."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_glass.core.errors import AssetError, DataError
from edge_glass.core.extras import optional_module

MAX_FREQUENCY = 8000.0  # Hz; Whisper's filters end here whatever the rate


@dataclass(frozen=True)
class LogMel:
    """Samples → log-mel spectrogram; picklable, so that data workers need not carry the encoder.

    The numbers are those of transformers' `WhisperFeatureExtractor` for a clip that is not padded to 30
    seconds; of a longer sound the loudest place sets the floor of all its windows.

    Attributes:
        sampling_rate: Hz; sounds at other rates are resampled.
        mels: Number of mel bands.
        n_fft: Samples of one Fourier transform.
        hop: Samples from one frame to the next.
        min_seconds: Shorter sounds are followed by silence up to here: of single words, spoken by two voices,
            the features then agree better, for the time of half a second more.
    """

    sampling_rate: int = 16_000
    mels: int = 80
    n_fft: int = 400
    hop: int = 160
    min_seconds: float = 1.5

    @property
    def id(self) -> str:
        """Stable text that changes whenever the numbers could."""
        return (
            f"log-mel-v1;mono;rate={self.sampling_rate};resample=soxr-HQ;at-least={self.min_seconds:g}s;"
            f"mels={self.mels};fft={self.n_fft};hop={self.hop}"
        )

    def __call__(self, sound: tuple[np.ndarray, int]) -> Tensor:
        """Transform one sound of any length and rate.

        Args:
            sound: Samples `[T]` float, mono, full scale -1 to 1; and their rate in Hz.

        Returns:
            `[mels, frames]` float32, one frame per `hop` samples.

        Raises:
            DataError: Not mono float samples, not finite, or an impossible rate.
        """
        samples = self.resample(sound)
        shortest = max(round(self.min_seconds * self.sampling_rate), self.n_fft)
        if len(samples) < shortest:
            samples = np.pad(samples, (0, shortest - len(samples)))
        framed = np.pad(samples, self.n_fft // 2, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(framed, self.n_fft)[:: self.hop]
        frames = frames[: len(samples) // self.hop]
        # In numpy, on the calling thread: waking torch's threads for so little costs more than the work.
        power = np.abs(np.fft.rfft(frames * hann_window(self.n_fft), axis=1)).astype(np.float32) ** 2
        mel = power @ mel_filters(self.mels, self.n_fft, self.sampling_rate)
        values = np.log10(np.maximum(mel, 1e-10))
        values = (np.maximum(values, values.max() - 8.0) + 4.0) / 4.0
        return torch.from_numpy(np.ascontiguousarray(values.T, dtype=np.float32))

    def resample(self, sound: tuple[np.ndarray, int]) -> np.ndarray:
        """Return samples `[T]` float32 at `sampling_rate`."""
        samples, rate = np.asarray(sound[0]), int(sound[1])
        if samples.ndim != 1 or samples.dtype.kind != "f" or rate < 1:
            raise DataError(
                f"a sound with {samples.dtype} samples {samples.shape} at {rate} Hz; "
                "float samples [T], mono, and their rate in Hz are needed"
            )
        if not np.isfinite(samples).all():
            raise DataError("a sound with samples that are NaN or infinite; numbers from -1 to 1 are needed")
        samples = samples.astype(np.float32, copy=False)
        if rate == self.sampling_rate or not len(samples):
            return samples
        return optional_module("soxr", "audio").resample(samples, rate, self.sampling_rate, quality="HQ")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_settings(cls, settings: dict[str, Any], mels: int, source: str) -> LogMel:
        """Read the settings of a feature extractor; Whisper's own where they leave something out.

        Raises:
            AssetError: They speak of another number of mel bands than the model.
        """
        if settings.get("feature_size", mels) != mels:
            raise AssetError(
                f"{source!r}: the feature extractor has {settings['feature_size']} mel bands, "
                f"the model {mels}"
            )
        defaults = cls()
        return cls(
            sampling_rate=int(settings.get("sampling_rate", defaults.sampling_rate)),
            mels=mels,
            n_fft=int(settings.get("n_fft", defaults.n_fft)),
            hop=int(settings.get("hop_length", defaults.hop)),
        )


@lru_cache(maxsize=8)
def hann_window(size: int) -> np.ndarray:
    """Return a periodic Hann window `[size]` float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


@lru_cache(maxsize=8)
def mel_filters(mels: int, n_fft: int, sampling_rate: int) -> np.ndarray:
    """Return the map from power spectrum to mel bands on Slaney's scale, `[n_fft // 2 + 1, mels]` float32."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + n_fft // 2,
        num_mel_filters=mels,
        min_frequency=0.0,
        max_frequency=MAX_FREQUENCY,
        sampling_rate=sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    return np.ascontiguousarray(filters, dtype=np.float32)
