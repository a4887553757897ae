"""Pooling: what it computes, and what padding must never do."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.pooling import build_pooling
from edge_glass.encoders.poolings.multihead import AttentionPooling
from edge_glass.encoders.poolings.simple import SimpleAttentionPooling

KINDS = ["cls", "mean", "simple", "multihead", "perceiver"]
LEARNED = ["simple", "multihead", "perceiver"]
WIDTH = 16


def make(kind: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    options = {"num_latents": 3, "depth": 2, "positions": "fourier"} if kind == "perceiver" else None
    pooling = build_pooling(kind, WIDTH, num_heads=4, perceiver=options)
    for parameter in pooling.parameters():
        nn.init.normal_(parameter)
    return pooling


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    rows=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4),
    garbage=st.sampled_from([0.0, 1e30, math.inf, -math.inf, math.nan]),
    training=st.booleans(),
)
def test_padding_changes_nothing(kind: str, rows: list[list[bool]], garbage: float, training: bool) -> None:
    mask = torch.tensor(rows)
    pooling = make(kind).train(training)
    tokens = torch.randn(*mask.shape, WIDTH)
    clean, dirty = (tokens.masked_fill(~mask[..., None], value) for value in (0.5, garbage))
    expected, pooled = pooling(clean, mask), pooling(dirty, mask)
    assert torch.equal(pooled, expected)
    assert torch.isfinite(pooled).all()
    assert not pooled[~mask.any(dim=1)].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_a_row_of_padding_gives_zeros(kind: str, training: bool) -> None:
    mask = torch.tensor([[False] * 5, [True] * 5])
    pooled = make(kind).train(training)(torch.randn(2, 5, WIDTH), mask)
    assert not pooled[0].any()
    assert pooled[1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_more_padding_changes_nothing(kind: str) -> None:
    pooling, tokens = make(kind), torch.randn(3, 6, WIDTH)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True] + [False] * 5])
    longer = torch.cat([tokens, torch.randn(3, 9, WIDTH)], dim=1)
    longer_mask = torch.cat([mask, torch.zeros(3, 9, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(pooling(longer, longer_mask), pooling(tokens, mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", LEARNED)
def test_gradients_are_finite_and_none_reaches_padding(kind: str) -> None:
    pooling = make(kind)
    tokens = torch.randn(2, 4, WIDTH, requires_grad=True)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    pooling(tokens, mask).square().sum().backward()
    assert tokens.grad is not None
    assert tokens.grad[mask].any()
    assert not tokens.grad[~mask].any()
    assert all(torch.isfinite(parameter.grad).all() for parameter in pooling.parameters())


def test_cls_and_mean_by_hand() -> None:
    tokens = torch.tensor([[[1.0], [2.0], [6.0]], [[4.0], [8.0], [9.0]]]).expand(2, 3, WIDTH)
    mask = torch.tensor([[True, True, True], [False, True, False]])
    assert build_pooling("cls", WIDTH)(tokens, mask)[:, 0].tolist() == [1.0, 8.0]
    assert build_pooling("mean", WIDTH)(tokens, mask)[:, 0].tolist() == [3.0, 8.0]


def test_simple_attention_by_hand() -> None:
    pooling = SimpleAttentionPooling(2)
    pooling.query.data = torch.tensor([math.sqrt(2.0) * math.log(3.0), 0.0])
    tokens = torch.tensor([[[1.0, 4.0], [0.0, 8.0]]])
    # scores ln 3 and 0, weights 3/4 and 1/4
    torch.testing.assert_close(
        pooling(tokens, torch.ones(1, 2, dtype=torch.bool)), torch.tensor([[0.75, 5.0]])
    )


def test_simple_attention_starts_as_the_mean() -> None:
    tokens, mask = torch.randn(3, 5, WIDTH), torch.rand(3, 5) > 0.3
    first = build_pooling("simple", WIDTH)(tokens, mask)
    torch.testing.assert_close(first, build_pooling("mean", WIDTH)(tokens, mask))


def test_multihead_by_hand() -> None:
    pooling = make("multihead")
    tokens, mask = torch.randn(1, 5, WIDTH), torch.tensor([[True, True, True, False, False]])
    weights, bias = pooling.attention.in_proj_weight.chunk(3), pooling.attention.in_proj_bias.chunk(3)
    real = tokens[0, :3]
    query, key, value = (
        (source @ weight.T + shift).view(-1, 4, WIDTH // 4).transpose(0, 1)
        for source, weight, shift in zip((pooling.queries, real, real), weights, bias, strict=True)
    )
    heads = (query @ key.transpose(1, 2) / math.sqrt(WIDTH // 4)).softmax(-1) @ value
    expected = pooling.attention.out_proj(heads.transpose(0, 1).reshape(1, WIDTH))
    torch.testing.assert_close(pooling(tokens, mask), expected, rtol=1e-4, atol=1e-4)


def test_several_queries_are_averaged() -> None:
    pooling = AttentionPooling(WIDTH, num_heads=2, num_queries=3)
    tokens, mask = torch.randn(2, 5, WIDTH), torch.ones(2, 5, dtype=torch.bool)
    single = AttentionPooling(WIDTH, num_heads=2)
    single.attention.load_state_dict(pooling.attention.state_dict())
    results = []
    for query in pooling.queries.detach():
        single.queries.data = query[None]
        results.append(single(tokens, mask))
    torch.testing.assert_close(pooling(tokens, mask), torch.stack(results).mean(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 5), (0, 0), (2, 0)])
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_goes_forward_and_backward(kind: str, shape: tuple[int, int], training: bool) -> None:
    """A rank without rows still has to give every parameter a gradient, of zero."""
    pooling = make(kind).train(training)
    tokens = torch.randn(*shape, WIDTH, requires_grad=True)
    pooled = pooling(tokens, torch.ones(shape, dtype=torch.bool))
    assert pooled.shape == (shape[0], WIDTH)
    assert not pooled.any()
    pooled.sum().backward()
    assert tokens.grad is not None
    for name, parameter in pooling.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize("kind", LEARNED)
def test_a_batch_of_nothing_but_padding_has_gradients_of_zero(kind: str) -> None:
    pooling = make(kind)
    tokens = torch.full((2, 5, WIDTH), math.nan, requires_grad=True)
    pooled = pooling(tokens, torch.zeros(2, 5, dtype=torch.bool))
    assert not pooled.any()
    pooled.sum().backward()
    assert tokens.grad is not None
    assert not tokens.grad.any()
    for name, parameter in pooling.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_perceiver_is_the_mean_of_its_latents() -> None:
    pooling = build_pooling("perceiver", WIDTH, perceiver={"num_latents": 5, "depth": 1, "num_heads": 2})
    tokens, mask = torch.randn(2, 4, WIDTH), torch.ones(2, 4, dtype=torch.bool)
    latents = pooling.resampler(tokens, mask).tokens
    assert latents.shape == (2, 5, WIDTH)
    assert pooling.resampler.blocks[0].attention.num_heads == 2
    assert len(pooling.resampler.blocks) == 1
    torch.testing.assert_close(pooling(tokens, mask), latents.sum(dim=1) / 5)


def test_learned_and_refused() -> None:
    assert [build_pooling(kind, WIDTH).learned for kind in KINDS] == [False, False, True, True, True]
    with pytest.raises(ConfigError, match=r"options among num_latents, depth.*got 'latents'"):
        build_pooling("perceiver", WIDTH, perceiver={"latents": 3})
    with pytest.raises(ConfigError, match="divide the encoder's width 20; got 8"):
        build_pooling("multihead", 20)
    with pytest.raises(
        ConfigError,
        match=r"cls, codebook, grid, .*perceiver, simple; got 'max'",
    ):
        build_pooling("max", WIDTH)
