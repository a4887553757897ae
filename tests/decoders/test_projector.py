"""`Projector`: scale from the start, padding, Perceiver before it, empty batches."""

from __future__ import annotations

import pytest
import torch

from edge_glass.core.errors import ConfigError
from edge_glass.decoders.projector import Projector
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.perceiver import PerceiverResampler


def features(batch: int = 3, tokens: int = 5, width: int = 48) -> TokenFeatures:
    """Random tokens; row 0 has two of padding, which is NaN, and row 1 no token at all."""
    values = torch.randn(batch, tokens, width, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(batch, tokens, dtype=torch.bool)
    if batch > 1:
        mask[0, 3:] = False
        mask[1] = False
        values[~mask] = float("nan")
    return TokenFeatures(values, mask)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("incoming", [0.01, 1.0, 300.0])
def test_starts_at_the_scale_of_the_decoder(kind: str, incoming: float) -> None:
    torch.manual_seed(0)
    projector = Projector(48, 256, kind, scale=0.03)
    tokens, mask = features(batch=8)
    prefix = projector(TokenFeatures(tokens * incoming + 2 * incoming, mask))
    rms = prefix.tokens[prefix.mask].square().mean().sqrt().item()
    assert rms == pytest.approx(0.03, rel=0.12)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_padding_is_zero_and_without_gradient(kind: str) -> None:
    projector = Projector(48, 16, kind, scale=0.1)
    for name, parameter in projector.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.ones_(parameter)
    prefix = projector(features())
    assert torch.equal(prefix.mask, features().mask)
    assert not prefix.tokens[~prefix.mask].any()
    prefix.tokens.square().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in projector.parameters())


def test_a_token_is_projected_alone() -> None:
    projector = Projector(48, 16)
    tokens, mask = features(batch=1)
    together = projector(TokenFeatures(tokens, mask)).tokens
    alone = projector(TokenFeatures(tokens[:, 2:3], mask[:, 2:3])).tokens
    torch.testing.assert_close(together[:, 2:3], alone)


def test_perceiver_before() -> None:
    perceiver = PerceiverResampler(32, num_latents=4, depth=1, num_heads=4, input_width=48)
    prefix = Projector(48, 64, scale=0.05, perceiver=perceiver)(features())
    assert prefix.tokens.shape == (3, 4, 64)
    assert prefix.mask.tolist() == [[True] * 4, [False] * 4, [True] * 4]
    assert not prefix.tokens[1].any()
    assert prefix.tokens[0].square().mean().sqrt().item() == pytest.approx(0.05, rel=0.3)


@pytest.mark.parametrize("latents", [0, 4])
def test_empty_batch_keeps_its_graph(latents: int) -> None:
    perceiver = PerceiverResampler(48, num_latents=latents, num_heads=4) if latents else None
    projector = Projector(48, 16, perceiver=perceiver)
    prefix = projector(features(batch=0))
    assert prefix.tokens.shape == (0, latents or 5, 16)
    prefix.tokens.sum().backward()
    assert all(parameter.grad is not None for parameter in projector.project.parameters())


def test_the_scale_is_kept_in_checkpoints() -> None:
    state = Projector(48, 16, scale=0.25).state_dict()
    other = Projector(48, 16)
    other.load_state_dict(state)
    assert other.scale.item() == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "conv"}, "expected linear or mlp, got 'conv'"),
        ({"scale": 0.0}, "scale: expected a number above 0, got 0.0"),
        ({"out_width": 0}, "out_width: expected 1 or more, got 0"),
        ({"perceiver": PerceiverResampler(16, num_heads=4)}, "reads 48 numbers, got 16"),
    ],
)
def test_wrong_settings(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Projector(**{"in_width": 48, "out_width": 16, **arguments})  # type: ignore[arg-type]


def test_tokens_of_another_width() -> None:
    with pytest.raises(ConfigError, match="12 wide, got 48"):
        Projector(12, 16)(features())
