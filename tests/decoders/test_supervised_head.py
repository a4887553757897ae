"""The LM head on supervised positions: the loss and gradients of the full logits, in less memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edge_glass.decoders.supervised_head import find_supervision, supervised_cross_entropy

WIDTH, VOCABULARY = 8, 29


def naive(hidden: Tensor, head: nn.Module, labels: Tensor) -> Tensor:
    """All logits, shifted by one; right for rows without padding between tokens."""
    logits = head(hidden)[:, :-1].flatten(0, 1)
    return F.cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, nn.Module]:
    """Hidden states, a right-padded mask, ragged labels, a head."""
    torch.manual_seed(seed)
    lengths = torch.tensor([9, 4, 1, 7])
    mask = torch.arange(9) < lengths[:, None]
    labels = torch.randint(0, VOCABULARY, (4, 9)).masked_fill(~mask | (torch.rand(4, 9) < 0.4), -100)
    return torch.randn(4, 9, WIDTH, requires_grad=True), mask, labels, nn.Linear(WIDTH, VOCABULARY)


@pytest.mark.parametrize("max_logits", [1, VOCABULARY, 3 * VOCABULARY + 1, 2**25])
def test_equals_the_naive_loss_and_gradients(max_logits: int) -> None:
    hidden, mask, labels, head = batch()
    expected = naive(hidden, head, labels)
    expected_gradients = torch.autograd.grad(expected, [hidden, *head.parameters()])
    supervision = find_supervision(mask, labels)
    result = supervised_cross_entropy(hidden, head, VOCABULARY, supervision, max_logits)
    torch.testing.assert_close(result.loss_sum, expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(result.loss_sum, [hidden, *head.parameters()])
    for found, right in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-5)
    best = head(hidden)[:, :-1].argmax(-1)
    assert result.correct.sum() == (best == labels[:, 1:]).sum()


@pytest.mark.parametrize("max_logits", [64, 4 * 64, 2**25])
def test_no_more_logits_at_a_time_than_allowed(max_logits: int) -> None:
    seen: list[int] = []

    def head(vectors: Tensor) -> Tensor:
        seen.append(len(vectors) * 64)
        return F.linear(vectors, weight)

    weight = torch.randn(64, WIDTH, requires_grad=True)
    hidden = torch.randn(2, 20, WIDTH, requires_grad=True)
    labels = torch.full((2, 20), 3)
    supervision = find_supervision(labels > 0, labels)
    supervised_cross_entropy(hidden, head, 64, supervision, max_logits).loss_sum.backward()
    assert max(seen) <= max_logits
    assert max(seen) == min(max_logits, 38 * 64)  # and only the 38 positions that have a next token


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from("pP.x"), min_size=6, max_size=6).map("".join), min_size=1, max_size=3
    )
)
def test_pairs_by_hand(rows: list[str]) -> None:
    """p: padding, P: padding with a label, which means nothing, .: a token, x: a supervised token."""
    mask = torch.tensor([[letter not in "pP" for letter in row] for row in rows])
    labels = torch.tensor([[10 + i if x in "xP" else -100 for i, x in enumerate(row)] for row in rows])
    expected = []
    for number, row in enumerate(rows):
        before = None
        for place, letter in enumerate(row):
            if letter == "x" and before is not None:
                expected.append((number, before, 10 + place))
            before = before if letter in "pP" else place
    found = find_supervision(mask, labels)
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_without_supervision_a_zero_with_a_graph() -> None:
    for rows in (3, 0):
        hidden, head = torch.randn(rows, 5, WIDTH, requires_grad=True), nn.Linear(WIDTH, VOCABULARY)
        labels = torch.full((rows, 5), -100)
        result = supervised_cross_entropy(hidden, head, VOCABULARY, find_supervision(labels < 0, labels))
        assert result.loss_sum.item() == 0.0
        result.loss_sum.backward()
        for tensor in (hidden, *head.parameters()):
            assert tensor.grad is not None
            assert not tensor.grad.any()


def test_the_loss_is_float32_under_autocast() -> None:
    hidden, mask, labels, head = batch()
    with torch.autocast("cpu", torch.bfloat16):
        result = supervised_cross_entropy(hidden, head, VOCABULARY, find_supervision(mask, labels))
    assert result.loss_sum.dtype == torch.float32
    torch.testing.assert_close(result.loss_sum, naive(hidden, head, labels), rtol=0.02, atol=0.1)
