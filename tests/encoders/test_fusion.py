"""Fusion: what each kind computes, and what a missing modality must never do."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.fusion import MultimodalFusion

KINDS = ["concat", "cross_attention", "gated"]
NAMES = ["vision", "audio", "text"]
LENGTHS = {"vision": 3, "audio": 5, "text": 4}
WIDTH = 16
GARBAGE = [0.0, 1e30, math.inf, math.nan]


def make(kind: str, trained: bool = True, seed: int = 0) -> MultimodalFusion:
    """A fusion; `trained` moves every parameter away from where it starts."""
    torch.manual_seed(seed)
    fusion = MultimodalFusion(WIDTH, NAMES, kind, num_heads=4)
    if trained:
        for parameter in fusion.parameters():
            nn.init.normal_(parameter, std=0.3)
    return fusion


def eight_rows() -> dict[str, Tensor]:
    """Presence `[8]` of each modality: every subset once, the empty one first."""
    subsets = torch.tensor(list(itertools.product([False, True], repeat=3)))
    return dict(zip(NAMES, subsets.unbind(dim=1), strict=True))


def vectors(seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: 3 * torch.randn(8, WIDTH, generator=generator) for name in NAMES}


def token_parts(garbage: float = 0.5) -> dict[str, TokenFeatures]:
    """Tokens of `eight_rows`; the last token of a present modality is padding, when there is one to spare."""
    generator = torch.Generator().manual_seed(2)
    parts = {}
    for name, present in eight_rows().items():
        mask = present[:, None].repeat(1, LENGTHS[name])
        mask[::2, -1] = False
        tokens = torch.randn(*mask.shape, WIDTH, generator=generator)
        parts[name] = TokenFeatures(tokens.masked_fill(~mask[..., None], garbage), mask)
    return parts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", GARBAGE)
def test_fuse_never_sees_a_missing_modality(kind: str, garbage: float) -> None:
    fusion, present = make(kind), eight_rows()
    dirty = {name: value.masked_fill(~present[name][:, None], garbage) for name, value in vectors().items()}
    for value in dirty.values():
        value.requires_grad_()
    fused = fusion.fuse(dirty, present)
    assert torch.equal(fused, fusion.fuse(vectors(), present))
    assert not fused[0].any()
    assert fused[1:].any(dim=1).all()
    (fused * torch.randn(8, WIDTH)).sum().backward()
    for name, value in dirty.items():
        assert value.grad is not None
        assert not value.grad[~present[name]].any(), name
        assert value.grad[present[name]].any(dim=1).all(), name
    assert all(torch.isfinite(p.grad).all() for p in fusion.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("garbage", GARBAGE)
def test_forward_never_sees_padding_or_a_missing_modality(kind: str, garbage: float) -> None:
    fusion, dirty = make(kind), token_parts(garbage)
    for part in dirty.values():
        part.tokens.requires_grad_()
    fused, expected = fusion(dirty), fusion(token_parts())
    assert torch.equal(fused.tokens, expected.tokens)
    assert torch.equal(fused.mask, expected.mask)
    assert not fused.tokens[~fused.mask].any()
    assert not fused.mask[0].any()
    assert fused.mask[1:].any(dim=1).all()
    (fused.tokens * torch.randn(fused.tokens.shape)).sum().backward()
    for name, part in dirty.items():
        assert part.tokens.grad is not None
        assert not part.tokens.grad[~part.mask].any(), name
        assert part.tokens.grad[part.mask].any(dim=-1).all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_present_modality_changes_the_result(kind: str) -> None:
    fusion, present = make(kind), eight_rows()
    before, tokens_before = fusion.fuse(vectors(), present), fusion(token_parts()).tokens
    for name in NAMES:
        changed, parts = vectors(), token_parts()
        changed[name] = vectors(seed=9)[name]
        parts[name] = TokenFeatures(parts[name].tokens.flip(-1), parts[name].mask)
        moved = (fusion.fuse(changed, present) - before).abs().amax(dim=1) > 1e-4
        assert moved.tolist() == present[name].tolist(), name
        moved = (fusion(parts).tokens - tokens_before).abs().amax(dim=(1, 2)) > 1e-4
        assert moved.tolist() == present[name].tolist(), name


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_fuse_is_the_mean_of_the_present_directions(kind: str) -> None:
    present, given = eight_rows(), vectors()
    fused = make(kind, trained=False).fuse(given, present)
    for row in range(1, 8):
        units = [F.normalize(given[name][row], dim=0) for name in NAMES if present[name][row]]
        torch.testing.assert_close(fused[row], torch.stack(units).mean(dim=0))


@pytest.mark.parametrize("kind", KINDS)
def test_training_can_leave_the_mean(kind: str) -> None:
    """The start is no saddle: a few steps bring the fused vectors to targets that are not the mean."""
    fusion, present, target = make(kind, trained=False), eight_rows(), vectors()["audio"]
    present = {**present, "audio": torch.ones(8, dtype=torch.bool)}
    optimizer = torch.optim.AdamW(fusion.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = 1 - F.cosine_similarity(fusion.fuse(vectors(), present), target).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_absent_keys_are_missing_modalities(kind: str) -> None:
    fusion, given = make(kind), vectors()
    everywhere, nowhere = torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    some = {"text": given["text"], "vision": given["vision"]}
    expected = fusion.fuse(given, {"vision": everywhere, "audio": nowhere, "text": everywhere})
    assert torch.equal(fusion.fuse(some), expected)
    assert torch.equal(fusion.fuse(some, {"audio": nowhere}), expected)

    parts = token_parts()
    silent = TokenFeatures(parts["audio"].tokens, torch.zeros_like(parts["audio"].mask))
    without, masked = (
        fusion({"text": parts["text"], "vision": parts["vision"]}),
        fusion({**parts, "audio": silent}),
    )
    assert torch.equal(without.mask.sum(dim=1), masked.mask.sum(dim=1))
    torch.testing.assert_close(without.tokens[without.mask], masked.tokens[masked.mask])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [0, 2])
def test_empty_batches_and_no_tokens(kind: str, rows: int) -> None:
    """No rows at all, and rows whose modalities have no token at all."""
    fusion = make(kind)
    length = 4 if rows == 0 else 0
    part = TokenFeatures(
        torch.randn(rows, length, WIDTH, requires_grad=True), torch.ones(rows, length, dtype=torch.bool)
    )
    fused = fusion({"vision": part, "text": part})
    assert fused.tokens.shape == (*fused.mask.shape, WIDTH)
    assert len(fused.tokens) == rows
    vector = torch.randn(0, WIDTH, requires_grad=True)
    query = fusion.fuse({"vision": vector, "text": vector})
    assert query.shape == (0, WIDTH)
    (fused.tokens.sum() + query.sum()).backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_concat_joins_tokens_in_order() -> None:
    fusion, parts = make("concat"), token_parts()
    fused = fusion({name: parts[name] for name in reversed(NAMES)})
    assert fused.tokens.shape == (8, 12, WIDTH)
    expected = parts["audio"].tokens[7] + fusion.method.embedding[1]
    torch.testing.assert_close(fused.tokens[7, 3:8], expected)


def test_concat_puts_a_learned_vector_where_one_is_missing() -> None:
    fusion, given = make("concat"), vectors()
    units = {name: F.normalize(value, dim=-1) * math.sqrt(WIDTH) for name, value in given.items()}
    stand_in = fusion.method.missing[1].expand(8, -1)
    corrected = fusion.method.mlp(torch.cat([units["vision"], stand_in, units["text"]], dim=-1))
    expected = ((units["vision"] + units["text"]) / 2 + corrected) / math.sqrt(WIDTH)
    fused = fusion.fuse({name: given[name] for name in ("vision", "text")})
    torch.testing.assert_close(fused, expected, rtol=1e-4, atol=1e-5)


def test_cross_attention_lets_the_first_present_modality_ask() -> None:
    fusion, parts = make("cross_attention"), token_parts()
    tokens, mask = fusion(parts)
    assert tokens.shape == (8, 5, WIDTH)
    first = {1: "text", 2: "audio", 3: "audio", 4: "vision", 5: "vision", 6: "vision", 7: "vision"}
    for row, name in first.items():
        assert mask[row].sum() == parts[name].mask[row].sum(), row
    # alone it stays as it is
    torch.testing.assert_close(tokens[4, :2], parts["vision"].tokens[4, :2])
    method, text = fusion.method, parts["text"].tokens[5]
    heard = method.attention(
        method.query_norm(parts["vision"].tokens[5:6]),
        (method.key_norm(text) + method.embedding[2])[None],
        parts["text"].mask[5:6],
    )
    torch.testing.assert_close(tokens[5:6, :3], parts["vision"].tokens[5:6] + heard)


def test_gates_are_shares_of_the_present_modalities() -> None:
    fusion = make("gated")
    present = torch.stack(list(eight_rows().values()), dim=1)
    stacked = torch.stack(list(vectors().values()), dim=1).masked_fill(~present[..., None], 0.0)
    weights = fusion.method.weights(stacked, present)
    assert not weights[~present].any()
    torch.testing.assert_close(weights.sum(dim=1), torch.tensor([0.0] + [1.0] * 7))
    units = F.normalize(stacked, dim=-1)
    shares = fusion.method.weights(units * math.sqrt(WIDTH), present)
    expected = (shares[..., None] * units).sum(dim=1)
    fused = fusion.fuse(vectors(), eight_rows())
    torch.testing.assert_close(fused, expected, rtol=1e-4, atol=1e-5)


def test_untrained_gates_leave_tokens_alone() -> None:
    parts = token_parts()
    fused = make("gated", trained=False)(parts)
    expected = torch.cat([parts[name].tokens for name in NAMES], dim=1)
    torch.testing.assert_close(fused.tokens[fused.mask], expected[fused.mask])


def test_refused() -> None:
    with pytest.raises(ConfigError, match="concat, cross_attention, gated; got 'sum'"):
        MultimodalFusion(WIDTH, NAMES, "sum")
    with pytest.raises(ConfigError, match="each once; got 'smell'"):
        MultimodalFusion(WIDTH, ["vision", "smell"])
    with pytest.raises(ConfigError, match="vision, audio, text, each once"):
        MultimodalFusion(WIDTH, ["vision", "vision"])
    with pytest.raises(ConfigError, match="divide the width 20, got 8"):
        MultimodalFusion(20, NAMES, "cross_attention")
    fusion = MultimodalFusion(WIDTH, ["vision", "text"])
    vector = torch.randn(2, WIDTH)
    with pytest.raises(ConfigError, match="unknown modality 'audio'"):
        fusion.fuse({"audio": vector})
    with pytest.raises(ConfigError, match="unknown modality 'audio'"):
        fusion({"audio": TokenFeatures(vector[None], torch.ones(1, 2, dtype=torch.bool))})
    with pytest.raises(ConfigError, match="unknown modality 'audio'"):
        fusion.fuse({"text": vector}, {"audio": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(ConfigError, match="text is present, but has no vectors"):
        fusion.fuse({"vision": vector}, {"text": torch.ones(2, dtype=torch.bool)})
    with pytest.raises(ConfigError, match="expected text of width 16, got 8"):
        fusion.fuse({"text": torch.randn(2, 8)})
    with pytest.raises(ConfigError, match="expected 2 rows of text"):
        fusion.fuse({"vision": vector, "text": torch.randn(3, WIDTH)})
    with pytest.raises(ConfigError, match="expected at least one of"):
        fusion.fuse({})
