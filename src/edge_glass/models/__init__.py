"""Towers, losses and the closed form."""

from edge_glass.models.alignment import MultimodalAlignmentModel, build_alignment_model
from edge_glass.models.closed_form import CanonicalCorrelation
from edge_glass.models.fusion import MultimodalFusion
from edge_glass.models.losses import AlignmentLoss
from edge_glass.models.tower import Tower

__all__ = [
    "AlignmentLoss",
    "CanonicalCorrelation",
    "MultimodalAlignmentModel",
    "MultimodalFusion",
    "Tower",
    "build_alignment_model",
]
