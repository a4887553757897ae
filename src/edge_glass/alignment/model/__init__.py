"""Towers, losses and the closed form."""

from edge_glass.alignment.model.alignment import MultimodalAlignmentModel, build_alignment_model
from edge_glass.alignment.model.cca import CanonicalCorrelation
from edge_glass.alignment.model.losses import AlignmentLoss
from edge_glass.encoders.fusion import MultimodalFusion
from edge_glass.encoders.tower import Tower

__all__ = [
    "AlignmentLoss",
    "CanonicalCorrelation",
    "MultimodalAlignmentModel",
    "MultimodalFusion",
    "Tower",
    "build_alignment_model",
]
