"""Features from several depths of a picture encoder, pooled and joined.

Early layers know colours and strokes, late ones objects; a last layer trained to tell ImageNet's classes
apart has thrown away much that words for other things need.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError


class DepthFeatures(nn.Module):
    """Runs a backbone and joins the pooled outputs of some of its modules into one token.

    Args:
        backbone: Pictures `[B, 3, H, W]` → tokens `[B, N, D]`.
        layers: Names of modules below `backbone.model`, with `*` for any part of a name between two
            dots, such as `blocks.*.0.bn2`.
            Their outputs must be feature maps `[B, C, H, W]` or tokens `[B, N, C]`.
        pooling: `max` (is it anywhere in the picture?) or `mean` (how much of it is there?).

    Raises:
        ConfigError: A pattern matches no module.
    """

    has_cls_token = False

    def __init__(self, backbone: Any, layers: Sequence[str], pooling: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = list(layers)
        self.pooling = pooling
        self.kind = backbone.kind
        self.names = matching_modules([name for name, _ in backbone.model.named_modules() if name], layers)
        # Each thread that calls `forward` collects its own outputs.
        self._collecting = threading.local()
        for name in self.names:
            backbone.model.get_submodule(name).register_forward_hook(self._hook(name))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `[B, 3, H, W]` → `[B, 1, D]`, D being the sum of the layers' widths."""
        self._collecting.found = {}
        self.backbone(pixels)
        found = self._collecting.found
        return torch.cat([found[name] for name in self.names], dim=1).unsqueeze(1)

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            features: Tensor = output[0] if isinstance(output, tuple) else output
            self._collecting.found[name] = pool_places(features, self.pooling).float()

        return keep

    def describe(self) -> str:
        """Return the architecture as stable text."""
        return f"{self.backbone.describe()} {self.pooling} of {','.join(self.names)}"


def pool_places(features: Tensor, pooling: str) -> Tensor:
    """Pool a feature map `[B, C, H, W]` or tokens `[B, N, C]` → `[B, C]`, by `max` or `mean`."""
    if features.ndim == 3:
        return features.amax(1) if pooling == "max" else features.mean(1)
    # On CPUs eight times faster than `amax` over channels_last maps.
    pool = F.adaptive_max_pool2d if pooling == "max" else F.adaptive_avg_pool2d
    return pool(features, 1).flatten(1)


def matching_modules(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return dotted names that match a pattern part by part, in the order of `names`.

    Raises:
        ConfigError: A pattern matches nothing.
    """
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            some = ", ".join(names[:: max(1, len(names) // 6)][:6])
            raise ConfigError(
                f"vision_encoder.feature_layers: {pattern!r} matches no layer of this encoder; "
                f"it has {some} …"
            )
    return [name for name in names if any(_matches(name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
