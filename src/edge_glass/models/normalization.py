"""Frozen features brought to one scale and to their main directions, measured on the training rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

CLIP = 8.0
_FLOOR = 1e-3


class FeatureNormalizer(nn.Module):
    """`z = clip((x - mean) / scale, ±8)`, turned onto its principal axes, with a mean square of 1.

    Nothing is trained by gradient: `fit` measures the training features once, and the values are kept as
    buffers. Components are not whitened: directions with little variance stay small. Before `fit` it is a
    fixed random rotation, so that an untouched model is well defined.

    Args:
        width: Numbers per feature vector.
        components: Principal axes kept.
    """

    mean: Tensor
    inverse_scale: Tensor
    rotation: Tensor

    def __init__(self, width: int, components: int) -> None:
        super().__init__()
        components = min(components, width)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("inverse_scale", torch.ones(width))
        self.register_buffer("rotation", torch.randn(width, components) / components**0.5)

    @property
    def out_dim(self) -> int:
        """Numbers it gives."""
        return self.rotation.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width]` → `[B, components]`."""
        return self._standardized(x) @ self.rotation

    def _standardized(self, x: Tensor) -> Tensor:
        return ((x - self.mean) * self.inverse_scale).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def fit(self, features: np.ndarray) -> None:
        """Measure `[N, width]` training features; components beyond their rank become zero."""
        x = torch.from_numpy(np.asarray(features, dtype=np.float32))
        deviation = x.std(dim=0, correction=0)
        self.mean.copy_(x.mean(dim=0))
        self.inverse_scale.copy_(1.0 / (deviation + _FLOOR * deviation.square().mean().sqrt() + 1e-12))
        z = self._standardized(x.to(self.mean.device))
        axes = _principal_axes(z - z.mean(dim=0), self.out_dim)
        gain = 1.0 / (z @ axes).square().mean().sqrt().clamp(min=1e-12)
        self.rotation.zero_()
        self.rotation[:, : axes.shape[1]] = axes * gain


def _principal_axes(z: Tensor, most: int) -> Tensor:
    """Axes `[width, k]` of centred rows `[N, width]` by descending variance, from the smaller Gram matrix."""
    rows, width = z.shape
    if width <= rows:
        values, vectors = torch.linalg.eigh((z.T @ z).double())
        keep = values.flip(0)[:most] > 1e-6 * values[-1]
        return vectors.flip(1)[:, :most][:, keep].float()
    values, vectors = torch.linalg.eigh((z @ z.T).double())
    values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most]
    keep = values > 1e-6 * values[0]
    return (z.T.double() @ vectors[:, keep] / values[keep].sqrt()).float()
