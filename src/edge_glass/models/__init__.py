"""Towers, losses and the closed form."""

from edge_glass.models.alignment import MultimodalAlignmentModel, Tower, build_alignment_model
from edge_glass.models.closed_form import CanonicalCorrelation
from edge_glass.models.losses import AlignmentLoss

__all__ = [
    "AlignmentLoss",
    "CanonicalCorrelation",
    "MultimodalAlignmentModel",
    "Tower",
    "build_alignment_model",
]
