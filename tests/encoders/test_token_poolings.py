"""Poolings that keep tokens: the fields of a grid, and none at all."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.pooling import build_pooling, pooled_width
from edge_glass.encoders.poolings.grid import GridPooling
from edge_glass.encoders.poolings.none import KeepTokens
from edge_glass.encoders.vision import VisionEncoder


def test_a_grid_by_hand() -> None:
    """Places 0..15 row by row, after two tokens that are no places."""
    tokens = torch.cat([torch.tensor([100.0, 200.0]), torch.arange(16.0)]).view(1, 18, 1)
    pooled = GridPooling(2)(tokens, torch.ones(1, 18, dtype=torch.bool))
    assert isinstance(pooled, TokenFeatures)
    assert pooled.tokens[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pooled.mask.tolist() == [[True] * 4]


@pytest.mark.parametrize(("places", "side"), [(7, 3), (3, 3), (2, 3), (4, 1), (5, 4)])
def test_fields_are_those_of_the_feature_map(places: int, side: int) -> None:
    maps = torch.randn(2, 8, places, places)
    tokens = maps.flatten(2).transpose(1, 2)
    pooled = GridPooling(side)(tokens, torch.ones(2, places**2, dtype=torch.bool)).tokens
    expected = F.adaptive_avg_pool2d(maps, side).flatten(2).transpose(1, 2)
    torch.testing.assert_close(pooled, expected)
    again = GridPooling(side)(pooled, torch.ones(2, side**2, dtype=torch.bool)).tokens
    assert torch.equal(again, pooled)  # so features that were pooled and cached may come by once more


def test_padding_changes_nothing() -> None:
    mask = torch.ones(2, 16, dtype=torch.bool)
    mask[0, [0, 1, 4, 5]] = False  # the whole upper left field
    mask[0, 15] = False
    mask[1] = False
    tokens = torch.randn(2, 16, 3).masked_fill(~mask[..., None], math.nan).requires_grad_()
    pooled = GridPooling(2)(tokens, mask)
    assert pooled.mask.tolist() == [[False, True, True, True], [False] * 4]
    assert not pooled.tokens[~pooled.mask].any()
    torch.testing.assert_close(pooled.tokens[0, 3], tokens[0, [10, 11, 14]].mean(0))
    pooled.tokens.square().sum().backward()
    assert tokens.grad is not None
    assert torch.isfinite(tokens.grad).all() and not tokens.grad[~mask].any()


@pytest.mark.parametrize("kind", ["grid", "none"])
def test_an_empty_batch(kind: str) -> None:
    tokens = torch.randn(0, 17, 4, requires_grad=True)
    pooled = build_pooling(kind, 4)(tokens, torch.ones(0, 17, dtype=torch.bool))
    assert pooled.tokens.shape == (0, 9 if kind == "grid" else 17, 4)
    assert pooled.mask.shape == pooled.tokens.shape[:2] and pooled.mask.dtype == torch.bool
    pooled.tokens.sum().backward()
    assert tokens.grad is not None


def test_none_keeps_everything() -> None:
    tokens, mask = torch.randn(2, 5, 4), torch.rand(2, 5) > 0.5
    kept = build_pooling("none", 4)(tokens, mask)
    assert kept.tokens is tokens and kept.mask is mask


@pytest.mark.parametrize(("architecture", "tokens"), [("test_efficientnet", 4), ("test_vit", 17)])
def test_places_of_real_encoders(architecture: str, tokens: int) -> None:
    encoder = VisionEncoder.tiny(architecture=architecture)
    features = encoder(torch.randn(2, 3, 64, 64))
    assert features.tokens.shape[1] == encoder.num_tokens == tokens
    places = math.isqrt(tokens) ** 2
    pooled = GridPooling(math.isqrt(tokens))(*features).tokens
    torch.testing.assert_close(pooled, features.tokens[:, tokens - places :])


def test_one_token_is_no_grid() -> None:
    encoder = VisionEncoder.tiny(layers=["blocks.*.0"])
    pooling = GridPooling(3)
    assert encoder.num_tokens == 1
    with pytest.raises(ConfigError, match=r"got 1 token\. With feature_layers that is always so"):
        pooling(*encoder(torch.randn(2, 3, 64, 64)))
    with pytest.raises(ConfigError, match="got 0 tokens"):
        pooling.require_places(0)
    assert pooling.require_places(50) == 7
    with pytest.raises(ConfigError, match="at least 1; got 0"):
        GridPooling(0)


def test_built_by_name() -> None:
    grid, none = build_pooling("grid", 16, grid_size=4), build_pooling("none", 16)
    assert isinstance(grid, GridPooling) and grid.side == 4
    assert isinstance(none, KeepTokens)
    for pooling in (grid, none):
        assert (pooling.learned, pooling.keeps_tokens) == (False, True)
        assert pooled_width(pooling, 16) == 16
        assert not list(pooling.state_dict())
    assert not build_pooling("mean", 16).keeps_tokens
