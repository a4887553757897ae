"""The Perceiver resampler: fixed length out, whatever comes in; padding means nothing, positions do."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.perceiver import CrossAttention, PerceiverResampler, real_positions

POSITIONS = ["none", "fourier", "learned"]
WIDTH = 16


def make(positions: str = "none", seed: int = 0, **options: int) -> PerceiverResampler:
    torch.manual_seed(seed)
    sizes = {"num_latents": 4, "depth": 2, "num_heads": 4, "max_tokens": 12, **options}
    return PerceiverResampler(WIDTH, positions=positions, **sizes)


def real(rows: int, length: int) -> Tensor:
    return torch.ones(rows, length, dtype=torch.bool)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("length", "width"), [(49, 1280), (1, 384), (1500, 384), (12, 384)])
def test_any_encoder_any_length(positions: str, length: int, width: int) -> None:
    perceiver = PerceiverResampler(64, num_latents=8, positions=positions, input_width=width)
    tokens, mask = perceiver(torch.randn(2, length, width), real(2, length))
    assert tokens.shape == (2, 8, 64)
    assert mask.tolist() == [[True] * 8] * 2
    assert torch.isfinite(tokens).all()


@settings(max_examples=25, deadline=None)
@given(
    positions=st.sampled_from(POSITIONS),
    rows=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4),
    garbage=st.sampled_from([0.0, 1e30, math.inf, -math.inf, math.nan]),
    training=st.booleans(),
)
def test_padding_changes_nothing(
    positions: str, rows: list[list[bool]], garbage: float, training: bool
) -> None:
    mask = torch.tensor(rows)
    perceiver = make(positions).train(training)
    tokens = torch.randn(*mask.shape, WIDTH)
    clean, dirty = (tokens.masked_fill(~mask[..., None], value) for value in (0.5, garbage))
    expected, result = perceiver(clean, mask), perceiver(dirty, mask)
    assert torch.equal(result.tokens, expected.tokens)
    assert torch.isfinite(result.tokens).all()
    something = mask.any(dim=1)
    assert torch.equal(result.mask, something[:, None].expand(-1, 4))
    assert not result.tokens[~something].any()
    assert result.tokens[something].any(dim=-1).all()


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("where", ["right", "left", "between"])
def test_where_padding_stands_changes_nothing(positions: str, where: str) -> None:
    """Also beyond max_tokens, which counts real tokens only."""
    perceiver, tokens = make(positions), torch.randn(3, 6, WIDTH)
    cut = {"right": 6, "left": 0, "between": 2}[where]
    longer = torch.cat([tokens[:, :cut], torch.randn(3, 9, WIDTH), tokens[:, cut:]], dim=1)
    mask = torch.cat([real(3, cut), ~real(3, 9), real(3, 6 - cut)], dim=1)
    expected = perceiver(tokens, real(3, 6)).tokens
    torch.testing.assert_close(perceiver(longer, mask).tokens, expected, rtol=1e-4, atol=1e-4)


def test_positions_see_order_and_none_does_not() -> None:
    tokens, mask = torch.randn(2, 6, WIDTH), real(2, 6)
    for positions in POSITIONS:
        perceiver = make(positions)
        difference = perceiver(tokens, mask).tokens - perceiver(tokens.flip(1), mask).tokens
        assert (difference.abs().max() > 1e-3) == (positions != "none"), positions


@pytest.mark.parametrize("length", [49, 1500])
def test_fourier_positions_tell_neighbours_apart(length: int) -> None:
    positions = PerceiverResampler(64, positions="fourier", max_tokens=1500).positions
    codes = positions(real(1, length))[0]
    assert (codes[1:] - codes[:-1]).norm(dim=-1).min() > 0.05 * codes.norm(dim=-1).mean()


def test_real_positions_by_hand() -> None:
    mask = torch.tensor([[False, True, False, True, True], [False] * 5])
    assert real_positions(mask)[mask].tolist() == [0, 1, 2]


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("shape", [(0, 5), (0, 0), (2, 0)])
def test_an_empty_batch_goes_forward_and_backward(positions: str, shape: tuple[int, int]) -> None:
    perceiver = make(positions)
    tokens = torch.randn(*shape, WIDTH, requires_grad=True)
    result = perceiver(tokens, torch.ones(shape, dtype=torch.bool))
    assert result.tokens.shape == (shape[0], 4, WIDTH)
    assert result.mask.shape == (shape[0], 4)
    assert not result.tokens.any()
    assert not result.mask.any()
    result.tokens.sum().backward()
    for name, parameter in perceiver.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_starts_at_a_sane_scale(positions: str, scale: float) -> None:
    torch.manual_seed(0)
    tokens = PerceiverResampler(64, positions=positions)(torch.randn(4, 49, 64) * scale, real(4, 49)).tokens
    assert 0.9 < tokens.std() < 1.1


def test_starts_with_latents_that_differ_and_depend_on_the_tokens() -> None:
    torch.manual_seed(0)
    perceiver = PerceiverResampler(64)
    rows = torch.randn(8, 1, 64) + torch.randn(8, 49, 64)
    tokens = perceiver(rows, real(8, 49)).tokens
    assert tokens.std(dim=0).mean() > 0.25  # over rows
    assert tokens.std(dim=1).mean() > 0.25  # over latents


@pytest.mark.parametrize("positions", POSITIONS)
def test_gradients_reach_every_token_and_parameter_but_no_padding(positions: str) -> None:
    perceiver = make(positions, max_tokens=3)
    tokens = torch.randn(2, 4, WIDTH, requires_grad=True)
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    # not the sum of squares, which the last norm keeps constant
    (perceiver(tokens, mask).tokens * torch.randn(2, 4, WIDTH)).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad[mask].abs().amax(dim=-1).min() > 1e-4
    assert not tokens.grad[~mask].any()
    for name, parameter in perceiver.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
        assert torch.isfinite(parameter.grad).all(), name
    assert perceiver.latents.grad.abs().amax(dim=-1).min() > 1e-4


def test_cross_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(WIDTH, num_heads=4)
    queries, keys = torch.randn(1, 2, WIDTH), torch.randn(1, 3, WIDTH)
    mask = torch.tensor([[True, True, False]])
    parts = []
    for head in range(4):
        rows = slice(head * 4, head * 4 + 4)
        query, key, value = (
            source @ linear.weight[rows].T
            for source, linear in (
                (queries[0], attention.to_query),
                (keys[0, :2], attention.to_key),
                (keys[0, :2], attention.to_value),
            )
        )
        parts.append((query @ key.T / math.sqrt(4)).softmax(-1) @ value)
    expected = torch.cat(parts, dim=-1) @ attention.out.weight.T
    torch.testing.assert_close(attention(queries, keys, mask)[0], expected, rtol=1e-4, atol=1e-5)


def test_parameters_as_the_docstring_counts_them() -> None:
    counts = {
        width: sum(p.numel() for p in PerceiverResampler(width).parameters()) / 1e6 for width in (384, 1280)
    }
    assert counts[384] == pytest.approx(12 * 2 * 384**2 / 1e6, rel=0.02)
    assert counts[1280] == pytest.approx(39, abs=0.5)


def test_refused() -> None:
    with pytest.raises(ConfigError, match="divide the width 20, got 8"):
        PerceiverResampler(20)
    with pytest.raises(ConfigError, match="none, fourier or learned; got 'sine'"):
        make("sine")
    with pytest.raises(ConfigError, match="num_latents of at least 1, got 0"):
        make(num_latents=0)
    with pytest.raises(ConfigError, match="expected tokens of width 16, got 8"):
        make()(torch.randn(1, 2, 8), real(1, 2))
    with pytest.raises(ConfigError, match=r"at most 12 tokens a row .*got 13"):
        make("learned")(torch.randn(1, 13, WIDTH), real(1, 13))
