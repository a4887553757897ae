"""Towers, losses and closed-form baselines."""

from edge_glass.models.alignment import MultimodalAlignmentModel, Tower, build_alignment_model
from edge_glass.models.closed_form import CanonicalCorrelation, RidgeRegression
from edge_glass.models.losses import AlignmentLoss

__all__ = [
    "AlignmentLoss",
    "CanonicalCorrelation",
    "MultimodalAlignmentModel",
    "RidgeRegression",
    "Tower",
    "build_alignment_model",
]
