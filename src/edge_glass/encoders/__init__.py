"""Pictures, sounds and words → token features, pooled and projected."""

from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.features import TokenFeatures, fast_dtype
from edge_glass.encoders.image_transform import ImageTransform
from edge_glass.encoders.mrl import MRLProjection, truncate_and_normalize
from edge_glass.encoders.perceiver import PerceiverResampler
from edge_glass.encoders.pooling import (
    AttentionPooling,
    ClsPooling,
    MeanPooling,
    PerceiverPooling,
    SimpleAttentionPooling,
    build_pooling,
)
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

__all__ = [
    "AttentionPooling",
    "AudioEncoder",
    "ClsPooling",
    "ImageTransform",
    "MRLProjection",
    "MeanPooling",
    "PerceiverPooling",
    "PerceiverResampler",
    "SimpleAttentionPooling",
    "TextEncoder",
    "TokenFeatures",
    "VisionEncoder",
    "build_pooling",
    "fast_dtype",
    "truncate_and_normalize",
]
