"""Poolings that change the width: what is pooled already stays so, whoever pooled it."""

from __future__ import annotations

import pytest
import torch

from edge_glass.config.schema import HeadConfig, PerceiverConfig
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.pooling import pooled_width
from edge_glass.encoders.tower import Tower, build_tower


def tower_of(pooling: str, components: int | None = None) -> Tower:
    head = HeadConfig(components=components)
    tower = build_tower(
        "audio_encoder", AudioEncoder.tiny(), pooling, PerceiverConfig(num_heads=2), head, [16, 8], seed=1
    ).eval()
    if pooling == "codebook":
        torch.manual_seed(0)
        tower.pooling.fit(torch.randn(900, tower.encoder.width))
    return tower


@pytest.mark.parametrize("components", [None, 12])
@pytest.mark.parametrize("pooling", ["mean", "mean_max", "codebook"])
@torch.no_grad()
def test_pooling_what_is_pooled_changes_nothing(pooling: str, components: int | None) -> None:
    tower = tower_of(pooling, components)
    width = tower.encoder.width
    mask = torch.tensor([[True] * 5, [False, True, True, False, False], [False] * 5])
    raw = {"tokens": torch.randn(3, 5, width), "mask": mask}
    once = tower.features(raw)
    assert once.tokens.shape == (3, 1, pooled_width(tower.pooling, width))
    assert once.mask.tolist() == [[True], [True], [False]]
    again = tower.features(once._asdict())
    assert torch.equal(again.tokens, once.tokens) and torch.equal(again.mask, once.mask)
    torch.testing.assert_close(once.tokens[:, 0], tower.pooling(raw["tokens"], mask), rtol=0, atol=0)
    for way in (TokenFeatures(**raw), once):
        assert torch.equal(tower.pooled(way), once.tokens[:, 0])
        assert torch.equal(tower.embed(way), tower(raw))
        assert torch.equal(tower(way._asdict()), tower(raw))
    assert tower(raw)[0].any() and not torch.equal(tower(raw)[0], tower(raw)[1])


@pytest.mark.parametrize("pooling", ["mean_max", "codebook"])
@torch.no_grad()
def test_nothing_to_pool(pooling: str) -> None:
    tower = tower_of(pooling)
    nothing = {"tokens": torch.zeros(0, 4, tower.encoder.width), "mask": torch.zeros(0, 4, dtype=torch.bool)}
    width = pooled_width(tower.pooling, tower.encoder.width)
    assert tower.features(nothing).tokens.shape == (0, 1, width)
    empty = tower.encoder.collate([])
    assert tower.features(empty).tokens.shape == (0, 1, width) and tower(empty).shape == (0, 16)


def test_the_cache_knows_poolings_by_name_and_codebooks_by_content() -> None:
    assert tower_of("mean").pooling.fingerprint != tower_of("mean_max").pooling.fingerprint
    one, same = tower_of("codebook"), tower_of("codebook")
    assert one.pooling.fingerprint == same.pooling.fingerprint
    same.pooling.fit(torch.randn(900, same.encoder.width) + 1)
    assert one.pooling.fingerprint != same.pooling.fingerprint
