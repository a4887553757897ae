"""From the experiment to an `AnsweringModel` with fresh weights, which are a function of `config.seed`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge_glass.config.instruction import InstructionConfig
from edge_glass.config.schema import DecoderConfig
from edge_glass.core.errors import ConfigError
from edge_glass.decoders.causal_lm_loading import find_gguf
from edge_glass.decoders.decoder import Decoder, decoder_kind
from edge_glass.decoders.projector import Projector
from edge_glass.decoders.tokenizers import train_tokenizer
from edge_glass.encoders.fusion import MultimodalFusion
from edge_glass.encoders.normalization import Standardizer
from edge_glass.encoders.perceiver import PerceiverResampler
from edge_glass.encoders.pooling import build_pooling, pooled_width
from edge_glass.encoders.sources import plain_errors, resolve_source
from edge_glass.encoders.tower import seeded
from edge_glass.instruction.model.answering import AnsweringModel, PrefixTower
from edge_glass.tasks.sources import load_audio, load_vision


def build_decoder(config: InstructionConfig, tokenizer: Any = None) -> Decoder:
    """Return the decoder of an experiment, as training finds it; see `DecoderKind.build`."""
    return decoder_kind(config.decoder.kind).build(config, tokenizer)


def build_tokenizer(decoder: DecoderConfig, texts: Iterable[str]) -> Any:
    """Build the tokenizer of a small decoder: of the named source, or learned from texts.

    Raises:
        AssetError: The source cannot be found or understood.
        ConfigError: It has no pad or no end token.
    """
    if decoder.tokenizer is None:
        return train_tokenizer(texts, decoder.vocabulary)
    from transformers import AutoTokenizer

    place = resolve_source(decoder.tokenizer)
    gguf = find_gguf(Path(place))
    with plain_errors(decoder.tokenizer, "tokenizer"):
        return AutoTokenizer.from_pretrained(
            place, trust_remote_code=False, **({"gguf_file": gguf.name} if gguf else {})
        )


def build_answering_model(
    config: InstructionConfig, decoder: Decoder, encoders: Mapping[str, Any]
) -> AnsweringModel:
    """Put a prefix before the decoder.

    Args:
        config: The experiment.
        decoder: What `build_decoder` gives.
        encoders: Modality (`vision`, `audio`) → encoder; none for a model that sees nothing.

    Raises:
        ConfigError: Settings that do not fit the encoders.
    """
    scale = float(getattr(decoder, "embedding_rms", 1.0))
    towers = {
        name: _build_tower(config, name, encoder, decoder.width, scale) for name, encoder in encoders.items()
    }
    fusion = None
    if config.fusion is not None and len(towers) > 1:
        with seeded(config.seed, "fusion"):
            fusion = MultimodalFusion(
                decoder.width, list(towers), kind=config.fusion.kind, num_heads=config.fusion.num_heads
            )
    return AnsweringModel(decoder, towers, fusion)


def pooling_of(config: InstructionConfig, modality: str) -> str:
    """Return how the tokens of a modality are pooled: none, grid, mean, cls or mean_max."""
    encoder = config.audio_encoder if modality == "audio" else config.vision_encoder
    return (encoder.pooling_type if encoder is not None else None) or "none"


def _build_tower(
    config: InstructionConfig, modality: str, encoder: Any, width: int, scale: float
) -> PrefixTower[Any]:
    """Build a tower with a fresh projector into embeddings of this width and RMS (`scale`).

    Raises:
        ConfigError: Class-token pooling over an encoder without one, or sizes that do not fit.
    """
    prefix, pooling_type = config.prefix, pooling_of(config, modality)
    if pooling_type == "cls" and not getattr(encoder, "has_cls_token", False):
        raise ConfigError(
            f"{modality}_encoder.pooling_type is cls, but this encoder has no class token; use mean"
        )
    pooling = build_pooling(pooling_type, encoder.width, grid_size=config.vision_encoder.grid_size)
    if pooling.learned or pooling.measured:
        raise ConfigError(
            f"{modality}_encoder.pooling_type: expected one with nothing to learn or measure, such as mean; "
            f"got {pooling_type}. prefix.perceiver learns what the decoder reads"
        )
    inner = pooled_width(pooling, encoder.width)
    with seeded(config.seed, f"prefix.{modality}"):
        perceiver = None
        if prefix.perceiver is not None:
            narrow = min(inner, width)  # as wide as a large language model it would be larger than all else
            perceiver = PerceiverResampler(narrow, input_width=inner, **prefix.perceiver.model_dump())
        projector = Projector(inner, width, prefix.projector, scale, perceiver)
    return PrefixTower(encoder, pooling, projector, Standardizer(inner) if prefix.standardize else None)


def load_prefix_encoders(config: InstructionConfig) -> dict[str, Any]:
    """Load the encoders of an experiment, by modality; none for one that sees and hears nothing."""
    if config.prefix.blind:
        return {}
    audio = load_audio(config)
    return {"vision": load_vision(config), **({} if audio is None else {"audio": audio})}
