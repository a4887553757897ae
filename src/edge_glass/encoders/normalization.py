"""Frozen features brought to one scale and to their main directions, measured on the training rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

CLIP = 8.0
_FLOOR = 1e-3


class Standardizer(nn.Module):
    """`clip((x - mean) / scale, ±8)`, number by number.

    Nothing is trained by gradient: mean and scale are measured on training features once and kept.
    Before that they change nothing.

    Args:
        width: Numbers per feature vector.
    """

    mean: Tensor
    inverse_scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("inverse_scale", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., width]` → the same."""
        return ((x - self.mean) * self.inverse_scale).clamp(-CLIP, CLIP)

    @torch.no_grad()
    def measure(self, parts: Iterable[Tensor]) -> None:
        """Take mean and scale of training features `[N, width]`, given in parts; nothing for no features."""
        count, total, squares = 0, torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        for part in parts:
            x = part.double().cpu()
            count, total, squares = count + len(x), total + x.sum(dim=0), squares + x.square().sum(dim=0)
        if count:
            mean = total / count
            self._set(mean, (squares / count - mean.square()).clamp(min=0.0).sqrt())

    def _set(self, mean: Tensor, deviation: Tensor) -> None:
        floor = _FLOOR * deviation.square().mean().sqrt() + 1e-12  # numbers that hardly ever change
        self.mean.copy_(mean)
        self.inverse_scale.copy_(1.0 / (deviation + floor))


class FeatureNormalizer(Standardizer):
    """Standardised features, turned onto their principal axes, with a mean square of 1.

    Components are not whitened: directions with little variance stay small. Before `fit` it is a fixed random
    rotation, so that an untouched model is well defined.

    Args:
        width: Numbers per feature vector.
        components: Principal axes kept.
    """

    rotation: Tensor

    def __init__(self, width: int, components: int) -> None:
        super().__init__(width)
        components = min(components, width)
        self.register_buffer("rotation", torch.randn(width, components) / components**0.5)

    @property
    def out_dim(self) -> int:
        """Numbers it gives."""
        return self.rotation.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, width]` → `[B, components]`."""
        return super().forward(x) @ self.rotation

    @torch.no_grad()
    def fit(self, features: np.ndarray) -> None:
        """Measure `[N, width]` training features; components beyond their rank become zero."""
        x = torch.from_numpy(np.asarray(features, dtype=np.float32))
        self._set(x.mean(dim=0), x.std(dim=0, correction=0))
        z = super().forward(x.to(self.mean.device))
        axes = _principal_axes(z - z.mean(dim=0), self.out_dim)
        gain = 1.0 / (z @ axes).square().mean().sqrt().clamp(min=1e-12)
        self.rotation.zero_()
        self.rotation[:, : axes.shape[1]] = axes * gain


def _principal_axes(z: Tensor, most: int) -> Tensor:
    """Find axes `[width, k]` of centred rows `[N, width]`, most variance first."""
    rows, width = z.shape
    if width <= rows:
        values, vectors = torch.linalg.eigh((z.T @ z).double())
        keep = values.flip(0)[:most] > 1e-6 * values[-1]
        return vectors.flip(1)[:, :most][:, keep].float()
    values, vectors = torch.linalg.eigh((z @ z.T).double())
    values, vectors = values.flip(0)[:most], vectors.flip(1)[:, :most]
    keep = values > 1e-6 * values[0]
    return (z.T.double() @ vectors[:, keep] / values[keep].sqrt()).float()
