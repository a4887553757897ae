"""The codebook of sounds, and mean beside maximum: by hand, and what padding must never do."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from edge_glass.core.errors import DataError
from edge_glass.encoders.pooling import build_pooling, pooled_width
from edge_glass.encoders.poolings.codebook import CodebookPooling

WIDTH, CODES = 6, 5
KINDS = ["mean_max", "codebook"]


def clusters(rows: int = 400, seed: int = 0) -> Tensor:
    """Tokens `[rows, WIDTH]` around as many centres as there are codes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 4 * torch.randn(CODES, WIDTH, generator=generator)
    owners = torch.randint(CODES, (rows,), generator=generator)
    return 3 + centres[owners] + 0.3 * torch.randn(rows, WIDTH, generator=generator)


def fitted(tokens: Tensor, codes: int = CODES, components: int = WIDTH, seed: int = 0) -> CodebookPooling:
    torch.manual_seed(seed)
    pooling = CodebookPooling(WIDTH, codes, components)
    pooling.fit(tokens)
    return pooling


def make(kind: str) -> torch.nn.Module:
    return fitted(clusters()) if kind == "codebook" else build_pooling(kind, WIDTH)


def error_of(pooling: CodebookPooling, tokens: Tensor) -> float:
    """Mean squared distance to the nearest code."""
    return float(pooling._distances((tokens - pooling.mean) @ pooling.whitening).amin(dim=1).mean())


MASK = torch.tensor([[True] * 4, [True, True, False, False], [False, True, False, True], [False] * 4])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", [1e30, math.inf, -math.inf, math.nan])
def test_padding_changes_nothing(kind: str, garbage: float) -> None:
    pooling, tokens = make(kind), clusters(16).reshape(4, 4, WIDTH)
    pooled = pooling(tokens.masked_fill(~MASK[..., None], garbage), MASK)
    assert torch.equal(pooled, pooling(tokens, MASK)) and torch.isfinite(pooled).all()
    torch.testing.assert_close(pooled[1:2], pooling(tokens[1:2, :2], MASK[1:2, :2]))
    torch.testing.assert_close(pooled[2:3], pooling(tokens[2:3, 1::2], MASK[2:3, 1::2]))
    assert not pooled[3].any() and pooled[:3].any(dim=1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_and_the_width(kind: str) -> None:
    pooling = make(kind)
    width = pooled_width(pooling, WIDTH)
    assert width == WIDTH + (CODES if kind == "codebook" else WIDTH)
    for shape in ((0, 3), (0, 0)):
        assert pooling(torch.zeros(*shape, WIDTH), torch.zeros(shape, dtype=torch.bool)).shape == (0, width)
    assert pooling(clusters(8).reshape(2, 4, WIDTH), MASK[:2]).shape == (2, width)


def test_the_width_of_other_poolings_is_that_of_the_tokens() -> None:
    assert [pooled_width(build_pooling(kind, 16), 16) for kind in ("mean", "simple", "multihead")] == [16] * 3


def test_mean_and_maximum_by_hand() -> None:
    tokens = torch.tensor([[[1.0, -5.0], [3.0, -1.0], [9.0, 9.0]]])
    pooled = build_pooling("mean_max", 2)(tokens, torch.tensor([[True, True, False]]))
    assert pooled.tolist() == [[2.0, -3.0, 3.0, -1.0]]


def test_the_histogram_by_hand() -> None:
    pooling, tokens = fitted(clusters()), clusters(7, seed=1)
    x = (tokens.double() - pooling.mean) @ pooling.whitening.double()
    distances = (x[:, None] - pooling.codes.double()).square().sum(dim=2)
    weights = torch.exp(-(distances - distances.amin(1, keepdim=True)) / pooling.softness)
    shares = (weights / weights.sum(1, keepdim=True)).mean(dim=0)
    pooled = pooling(tokens[None], torch.ones(1, 7, dtype=torch.bool))[0].double()
    torch.testing.assert_close(pooled, torch.cat([tokens.double().mean(0), shares.sqrt()]), rtol=0, atol=1e-3)


def test_shares_sum_to_one_and_tell_clusters_apart() -> None:
    tokens = clusters()
    pooling = fitted(tokens)
    pooled = pooling(tokens.reshape(100, 4, WIDTH), torch.ones(100, 4, dtype=torch.bool))
    torch.testing.assert_close(pooled[:, WIDTH:].square().sum(dim=1), torch.ones(100))
    one_each = pooling(tokens[:, None], torch.ones(400, 1, dtype=torch.bool))[:, WIDTH:]
    assert one_each.amax(dim=1).median() > 0.9
    assert one_each.argmax(dim=1).unique().numel() >= 3


def test_fitting_is_deterministic_and_keeps_the_generator() -> None:
    tokens = clusters()
    state = torch.get_rng_state()
    pooling = CodebookPooling(WIDTH, CODES)
    torch.set_rng_state(state)
    again = CodebookPooling(WIDTH, CODES)
    after = torch.get_rng_state()
    pooling.fit(tokens)
    assert torch.equal(torch.get_rng_state(), after)
    assert pooling.fingerprint != again.fingerprint
    again.fit(tokens)
    assert pooling.fingerprint == again.fingerprint
    assert fitted(tokens, seed=5).fingerprint == pooling.fingerprint, (
        "where the codes started does not matter"
    )
    assert fitted(clusters(seed=1)).fingerprint != pooling.fingerprint
    changed = pooling.codes.clone()
    changed[-1, -1] += 1e-3
    pooling.codes.copy_(changed)
    assert pooling.fingerprint != again.fingerprint


def test_each_step_of_k_means_lessens_the_error() -> None:
    tokens = clusters()
    pooling = fitted(tokens)
    x = (tokens - pooling.mean) @ pooling.whitening
    pooling.codes.copy_(x[:CODES])
    errors = [error_of(pooling, tokens)]
    for _ in range(8):
        pooling._move_codes(x)
        errors.append(error_of(pooling, tokens))
    assert all(later <= earlier + 1e-5 for earlier, later in pairwise(errors))
    assert errors[-1] < 0.9 * errors[0]
    assert error_of(fitted(tokens), tokens) < 0.5 * float(x.square().sum(dim=1).mean())


def test_a_step_of_k_means_by_hand() -> None:
    """One code has three tokens, one has one, one has none."""
    pooling = CodebookPooling(2, 3, 2)
    pooling.codes.copy_(torch.tensor([[0.0, 0.0], [10.0, 0.0], [-50.0, 50.0]]))
    pooling._move_codes(torch.tensor([[1.0, 0.0], [-1.0, 3.0], [0.0, 3.0], [9.0, 1.0]]))
    assert pooling.codes.tolist() == [[0.0, 2.0], [9.0, 1.0], [-50.0, 50.0]]


def test_whitened_axes_are_the_principal_ones() -> None:
    tokens = clusters(2000)
    pooling = fitted(tokens, components=3)
    x = (tokens - pooling.mean) @ pooling.whitening
    values = torch.linalg.eigvalsh(torch.cov(tokens.T, correction=0)).flip(0)
    expected = values[:3] / (values[:3] + 0.1 * values.mean())
    torch.testing.assert_close(torch.cov(x.T, correction=0), torch.diag(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, CODES - 1])
def test_fewer_tokens_than_codes(rows: int) -> None:
    tokens = clusters(rows)
    pooling = fitted(tokens)
    assert all(torch.isfinite(value).all() for value in pooling.buffers())
    assert error_of(pooling, tokens) < 1e-6
    pooled = pooling(clusters(8, seed=3).reshape(2, 4, WIDTH), MASK[:2])
    torch.testing.assert_close(pooled[:, WIDTH:].square().sum(dim=1), torch.ones(2))
    own = pooling(tokens[:, None], torch.ones(rows, 1, dtype=torch.bool))[:, WIDTH:]
    assert own.argmax(dim=1).unique().numel() == rows, "each has a code of its own"
    if rows > 1:
        assert pooling.softness > 1e-4, "not blown up by rounding"


def test_tokens_that_are_all_equal() -> None:
    pooling = fitted(torch.ones(20, WIDTH))
    pooled = pooling(torch.ones(1, 4, WIDTH), MASK[:1])
    assert torch.isfinite(pooled).all()


@pytest.mark.parametrize(
    ("tokens", "found"),
    [(torch.zeros(0, WIDTH), "found none"), (torch.full((9, WIDTH), math.nan), "found NaN or infinite")],
)
def test_nothing_to_measure(tokens: Tensor, found: str) -> None:
    with pytest.raises(DataError, match=found):
        fitted(tokens)


def test_saved_and_loaded() -> None:
    pooling, other = fitted(clusters()), CodebookPooling(WIDTH, CODES)
    assert not list(pooling.parameters())
    other.load_state_dict(pooling.state_dict())
    assert other.fingerprint == pooling.fingerprint
    tokens = clusters(16).reshape(4, 4, WIDTH)
    assert torch.equal(other(tokens, MASK), pooling(tokens, MASK))


def test_autocast_changes_nothing() -> None:
    pooling, tokens = fitted(clusters()), clusters(16).reshape(4, 4, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pooling(tokens, MASK)
    assert torch.equal(found, pooling(tokens, MASK))
