"""Matryoshka projection and the one function that cuts."""

from __future__ import annotations

import pytest
import torch

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.mrl import MRLProjection, truncate_and_normalize


@pytest.mark.parametrize("dim", [1, 5, 16, None])
def test_cut_then_normalise(dim: int | None) -> None:
    x = torch.randn(7, 16)
    cut = truncate_and_normalize(x, dim)
    assert cut.shape == (7, dim or 16)
    torch.testing.assert_close(cut.norm(dim=-1), torch.ones(7))
    expected = x[:, : dim or 16]
    torch.testing.assert_close(cut, expected / expected.norm(dim=-1, keepdim=True))


def test_cutting_a_normalised_full_embedding_gives_the_same() -> None:
    x = torch.randn(7, 16)
    torch.testing.assert_close(
        truncate_and_normalize(truncate_and_normalize(x), 4), truncate_and_normalize(x, 4)
    )


def test_zero_stays_zero_and_leading_axes_are_kept() -> None:
    assert not truncate_and_normalize(torch.zeros(2, 3, 8), 4).any()
    assert truncate_and_normalize(torch.ones(2, 3, 8), 4).shape == (2, 3, 4)


@pytest.mark.parametrize("dim", [0, -1, 17])
def test_dimension_out_of_range(dim: int) -> None:
    with pytest.raises(ConfigError, match="this embedding has 1 to 16"):
        truncate_and_normalize(torch.ones(2, 16), dim)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_every_dimension_of_a_large_projection(kind: str) -> None:
    given = [128, 256, 4096, 512, 1024, 2048, 256]
    projection = MRLProjection(24, 4096, given, kind=kind, hidden_dim=8).eval()
    assert projection.dimensions == [4096, 2048, 1024, 512, 256, 128]
    x = torch.randn(3, 24)
    full = projection.embed(x)
    assert projection(x).shape == full.shape == (3, 4096)
    for dim in projection.dimensions:
        embedding = projection.embed(x, dim)
        torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))
        torch.testing.assert_close(embedding, truncate_and_normalize(full, dim))


def test_full_dimension_is_always_there() -> None:
    assert MRLProjection(8, 16).dimensions == [16]
    assert MRLProjection(8, 16, [4]).dimensions == [16, 4]


def test_shapes_of_heads_and_dropout() -> None:
    names = [type(layer).__name__ for layer in MRLProjection(8, 16, kind="mlp", hidden_dim=32).net]
    assert names == ["Dropout", "Linear", "GELU", "Dropout", "Linear"]
    projection = MRLProjection(8, 16, dropout=0.5)
    x = torch.randn(4, 8)
    assert not torch.equal(projection.train()(x), projection.train()(x))
    assert torch.equal(projection.eval()(x), projection.eval()(x))


def test_refused() -> None:
    with pytest.raises(ConfigError, match=r"mrl_dimensions: expected .* got 32"):
        MRLProjection(8, 16, [32])
    with pytest.raises(ConfigError, match="linear, mlp or residual"):
        MRLProjection(8, 16, kind="cubic")


@pytest.mark.parametrize("kind", ["linear", "residual"])
def test_a_head_starts_from_a_linear_map(kind: str) -> None:
    head = MRLProjection(6, 4, [4, 2], kind=kind, hidden_dim=8).eval()
    weights, offset = torch.randn(6, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    head.start_from(weights, offset)
    x = torch.randn(5, 6)
    expected = x.double() @ weights - offset
    torch.testing.assert_close(head(x)[:, :3].double(), expected, rtol=1e-4, atol=1e-5)
    assert (head(x)[:, 3] == 0).all()


def test_an_mlp_has_no_linear_map_to_start_from() -> None:
    with pytest.raises(ConfigError, match="linear or residual"):
        MRLProjection(6, 4, kind="mlp", hidden_dim=8).start_from(torch.eye(6), torch.zeros(6))


def test_the_mlp_of_a_residual_head_learns() -> None:
    torch.manual_seed(0)
    head = MRLProjection(6, 4, kind="residual", hidden_dim=8)
    head(torch.randn(5, 6)).square().sum().backward()
    assert head.net.mlp[-1].weight.grad.abs().sum() > 0  # type: ignore[union-attr]
