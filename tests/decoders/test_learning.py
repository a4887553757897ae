"""The decoders learn, in seconds, to answer a question about one of three features in their prefix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edge_glass.decoders.decoder import GenerationSettings
from edge_glass.decoders.kinds.plain import PlainDecoder
from edge_glass.decoders.kinds.trm import TRMDecoder
from edge_glass.decoders.small_decoder import SmallDecoder
from edge_glass.encoders.features import TokenFeatures

WIDTH = 32
CLASSES = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))


def rows(count: int, generator: torch.Generator) -> tuple[TokenFeatures, Tensor, Tensor, Tensor]:
    """User, which of the three, assistant, its class, end; only the last two are trained."""
    classes = torch.randint(0, 6, (count, 3), generator=generator)
    tokens = CLASSES[classes] + 0.3 * torch.randn(count, 3, WIDTH, generator=generator)
    which = torch.randint(0, 3, (count,), generator=generator)
    answer = 20 + classes[torch.arange(count), which]
    same = torch.ones_like(which)
    ids = torch.stack([3 * same, 10 + which, 4 * same, answer, 2 * same], dim=1)
    labels = ids.masked_fill(torch.arange(5) < 3, -100)
    return TokenFeatures(tokens, torch.ones(count, 3).bool()), ids, torch.ones_like(ids).bool(), labels


def accuracy_after(decoder: SmallDecoder, steps: int) -> float:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    for _ in range(steps):
        output = decoder(*rows(32, generator))
        (output.loss_sum / output.count).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    prefix, ids, mask, _ = rows(200, generator)
    written = decoder.generate(prefix, ids[:, :3], mask[:, :3], GenerationSettings(max_new_tokens=3))
    return sum(a == [b] for a, b in zip(written.tokens, ids[:, 3].tolist(), strict=True)) / 200


@pytest.mark.slow
@pytest.mark.parametrize("halting", [False, True])
def test_recursion_learns(halting: bool) -> None:
    assert accuracy_after(TRMDecoder.tiny(halting=halting), 300) > 0.95


@pytest.mark.slow
def test_the_plain_decoder_learns() -> None:
    assert accuracy_after(PlainDecoder.tiny(), 300) > 0.95


def test_an_untouched_decoder_knows_nothing() -> None:
    assert accuracy_after(TRMDecoder.tiny(), 0) < 0.3
