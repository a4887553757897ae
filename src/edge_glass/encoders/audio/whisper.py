"""The encoder of a transformers Whisper model as a backbone, for clips of any length up to its window."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.encoders.features import inference
from edge_glass.encoders.freezing import FingerprintCache
from edge_glass.encoders.log_mel import LogMel
from edge_glass.encoders.sources import describe_transformers, load_transformers_model, read_source_json

# The encoder's tensors in saves of WhisperForConditionalGeneration and WhisperModel.
ENCODER_KEYS = {r"^model\.encoder\.": "", r"^encoder\.": ""}


class WhisperBackbone(nn.Module):
    """`WhisperEncoder`, without its demand for exactly 30 seconds.

    Attributes:
        width: Numbers per token.
        window: Most frames at once; two frames make one token.
    """

    kind = "transformers"
    trainable = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        self.width = int(config.d_model)
        self.window = 2 * int(config.max_source_positions)
        self._fingerprint = FingerprintCache()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def forward(self, mel: Tensor) -> Tensor:
        """Map `[B, M, T]`, T up to `window` → `[B, ceil(T / 2), D]`.

        The steps of `WhisperEncoder.forward`, with as many positions as there are frames. Its LayerDrop,
        which leaves layers out at random in training, is not applied.
        """
        model: Any = self.model
        hidden = F.gelu(model.conv1(mel))
        hidden = F.gelu(model.conv2(hidden)).transpose(1, 2)
        hidden = hidden + model.embed_positions.weight[: hidden.shape[1]]
        hidden = F.dropout(hidden, p=model.dropout, training=self.training)
        for layer in model.layers:
            hidden = layer(hidden, None)
        return model.layer_norm(hidden)

    def inference(self, dtype: torch.dtype) -> AbstractContextManager[None]:
        """Hold eval mode without gradients, see `features.inference`."""
        return inference(self, dtype)

    def fingerprint(self, description: str) -> str:
        """Return SHA-256 over `description`, architecture and all weights as they are now."""
        return self._fingerprint.get(f"{describe_transformers(self.model)}\n{description}", self.model)

    def save(self, folder: Path) -> None:
        """Write config.json and the weights."""
        self.model.save_pretrained(folder)  # type: ignore[operator]


def recognises(source: str) -> bool:
    """Say whether `source` has a config.json of a Whisper model."""
    if (folder := Path(source)).is_dir() and not (folder / "config.json").is_file():
        return False
    record = read_source_json(source, "config.json", required=True)
    return isinstance(record, dict) and record.get("model_type") == "whisper"


def load(source: str) -> tuple[WhisperBackbone, LogMel]:
    """Load the encoder of a folder or hub repository with its spectrogram's settings.

    Raises:
        AssetError: Weights of the encoder are missing: left to itself transformers would find none under the
            name it looks for, and fill all of them with random numbers.
    """
    from transformers import AutoConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    model = load_transformers_model(WhisperEncoder, source, key_mapping=ENCODER_KEYS)
    processor = read_source_json(source, "processor_config.json")
    settings = processor.get("feature_extractor") if isinstance(processor, dict) else None
    settings = settings or read_source_json(source, "preprocessor_config.json") or {}
    return WhisperBackbone(model), LogMel.from_settings(dict(settings), config.num_mel_bins, source)


def tiny_whisper(seed: int) -> tuple[WhisperBackbone, LogMel]:
    """Make a toy `WhisperEncoder` of about 25,000 random weights with windows of 2 seconds."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=64,
        num_mel_bins=20,
        max_source_positions=100,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = WhisperEncoder(config)
    return WhisperBackbone(model), LogMel(mels=config.num_mel_bins)
