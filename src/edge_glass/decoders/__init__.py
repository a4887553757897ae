"""Features and words → words: decoders that answer."""

from edge_glass.decoders.causal_lm import QwenDecoder
from edge_glass.decoders.decoder import Decoder, DecoderOutput, Generation, GenerationSettings
from edge_glass.decoders.lora import LoraSettings
from edge_glass.decoders.plain import PlainConfig, PlainDecoder
from edge_glass.decoders.projector import Projector
from edge_glass.decoders.trm import TRMConfig, TRMDecoder

__all__ = [
    "Decoder",
    "DecoderOutput",
    "Generation",
    "GenerationSettings",
    "LoraSettings",
    "PlainConfig",
    "PlainDecoder",
    "Projector",
    "QwenDecoder",
    "TRMConfig",
    "TRMDecoder",
]
