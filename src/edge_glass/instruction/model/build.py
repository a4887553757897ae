"""From the experiment to an `AnsweringModel` with fresh weights, which are a function of `config.seed`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edge_glass.config.schema import DecoderConfig, ExperimentConfig
from edge_glass.decoders.causal_lm_loading import find_gguf
from edge_glass.decoders.decoder import Decoder, decoder_kind
from edge_glass.decoders.tokenizers import train_tokenizer
from edge_glass.encoders.fusion import MultimodalFusion
from edge_glass.encoders.sources import plain_errors, resolve_source
from edge_glass.encoders.tower import seeded
from edge_glass.instruction.model.answering import AnsweringModel
from edge_glass.instruction.model.prefix import build_prefix_tower


def build_decoder(config: ExperimentConfig, tokenizer: Any = None) -> Decoder:
    """Return the decoder of an experiment, as training finds it; see `DecoderKind.build`."""
    return decoder_kind(config.decoder.kind).build(config, tokenizer)


def build_tokenizer(decoder: DecoderConfig, texts: Iterable[str]) -> Any:
    """The tokenizer of a small decoder: of the named source, or learned from texts.

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
    config: ExperimentConfig, decoder: Decoder, encoders: Mapping[str, Any]
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
    poolings: dict[str, str] = {"vision": config.vision_encoder.pooling_type or "none"}
    if config.audio_encoder is not None:
        poolings["audio"] = config.audio_encoder.pooling_type
    towers = {
        name: build_prefix_tower(
            name,
            encoder,
            poolings[name],
            config.vision_encoder.grid_size,
            config.prefix,
            decoder.width,
            scale,
            config.seed,
        )
        for name, encoder in encoders.items()
    }
    fusion = None
    if config.fusion is not None and len(towers) > 1:
        with seeded(config.seed, "fusion"):
            fusion = MultimodalFusion(
                decoder.width, list(towers), kind=config.fusion.kind, num_heads=config.fusion.num_heads
            )
    return AnsweringModel(decoder, towers, fusion)
