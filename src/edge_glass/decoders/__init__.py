"""Features and words → words: decoders that answer."""

from edge_glass.decoders.decoder import Decoder, DecoderOutput, Generation, GenerationSettings
from edge_glass.decoders.plain import PlainConfig, PlainDecoder
from edge_glass.decoders.trm import TRMConfig, TRMDecoder

__all__ = [
    "Decoder",
    "DecoderOutput",
    "Generation",
    "GenerationSettings",
    "PlainConfig",
    "PlainDecoder",
    "TRMConfig",
    "TRMDecoder",
]
