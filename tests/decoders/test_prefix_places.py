"""Prefix and words as one sequence: in front of the words, or inside of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from causal_decoders import TEXTS, decoder, prefix, supervised, tokenize
from torch import Tensor

from edge_glass.decoders.decoder import GenerationSettings, PlacedPrefix, join, join_labels
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.decoders.kinds.plain import PlainDecoder
from edge_glass.encoders.features import TokenFeatures

torch.set_num_threads(1)

OPENINGS = torch.tensor([2, 0, 3])


def placed(openings: Tensor = OPENINGS) -> PlacedPrefix:
    return PlacedPrefix(*prefix(), openings)


def cut(words: Tensor, tokens: Tensor, opening: int) -> Tensor:
    """One row by hand: words, prefix, words."""
    return torch.cat([words[:opening], tokens, words[opening:]])


@pytest.mark.parametrize("side", ["right", "left"])
def test_it_stands_behind_so_many_words(side: str) -> None:
    made = decoder("gpt2")
    ids, mask = tokenize(made, TEXTS, side)
    words = made.embed_tokens(ids)
    pre = placed()
    joined, seen = join(pre, words, mask)
    assert joined.shape == (3, 4 + ids.shape[1], 32)
    for row, opening in enumerate(OPENINGS.tolist()):
        expected = cut(words[row][mask[row]], pre.tokens[row][pre.mask[row]], opening)
        assert torch.equal(joined[row][seen[row]], expected)


def test_without_a_place_it_stands_in_front() -> None:
    made = decoder("gpt2")
    ids, mask = tokenize(made, TEXTS, "left")
    words, pre = made.embed_tokens(ids), prefix()
    joined, seen = join(pre, words, mask)
    assert torch.equal(joined, torch.cat([pre.tokens, words], dim=1))
    nought, also = join(placed(torch.zeros(3, dtype=torch.int64)), words, mask)
    for row in range(3):
        assert torch.equal(joined[row][seen[row]], nought[row][also[row]])
    assert join(None, words, mask)[0] is words


@pytest.mark.parametrize("rows, length", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_join(rows: int, length: int) -> None:
    pre = PlacedPrefix(
        torch.ones(rows, 2, 4), torch.ones(rows, 2).bool(), torch.zeros(rows, dtype=torch.int64)
    )
    joined, seen = join(pre, torch.ones(rows, length, 4), torch.ones(rows, length).bool())
    assert joined.shape == (rows, length + 2, 4) and seen.shape == (rows, length + 2)


@pytest.mark.parametrize("side", ["right", "left"])
def test_labels_stay_with_their_words(side: str) -> None:
    made = decoder("gpt2")
    ids, mask = tokenize(made, TEXTS, side)
    labels = supervised(ids, mask)
    pre = placed()
    numbers, _ = join(narrow(pre), ids[..., None].float(), mask)
    found = join_labels(pre, mask, labels)
    assert torch.equal(found[found != -100], labels[labels != -100])
    assert torch.equal(numbers[..., 0][found != -100], found[found != -100].float())


def narrow(pre: PlacedPrefix) -> PlacedPrefix:
    """The same places with tokens one number wide."""
    return pre._replace(tokens=torch.full((*pre.mask.shape, 1), -1.0))


@pytest.mark.parametrize("kind", ["qwen2", "gpt2", "small"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_loss_and_gradients_are_those_of_rows_put_together_by_hand(kind: str, side: str) -> None:
    made = PlainDecoder.tiny(0) if kind == "small" else decoder(kind)
    ids, mask = tokenize(made, TEXTS, side)  # type: ignore[arg-type]
    labels, pre = supervised(ids, mask), placed()
    tokens = pre.tokens.clone().requires_grad_()
    output = made(pre._replace(tokens=tokens), ids, mask, labels)
    (ours,) = torch.autograd.grad(output.loss_sum, tokens)
    total = torch.zeros(())
    for row, opening in enumerate(OPENINGS.tolist()):
        own, real = tokens[row][pre.mask[row]], mask[row]
        words = made.embed_tokens(ids[row][real])
        logits = logits_of(made, cut(words, own, opening))
        wanted = cut(labels[row][real], torch.full((len(own),), -100), opening)
        total = total + F.cross_entropy(logits[:-1], wanted[1:], reduction="sum", ignore_index=-100)
    (theirs,) = torch.autograd.grad(total, tokens)
    torch.testing.assert_close(output.loss_sum, total, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    front = made(TokenFeatures(pre.tokens, pre.mask), ids, mask, labels).loss_sum
    assert not torch.equal(front, output.loss_sum)


def logits_of(made: QwenDecoder | PlainDecoder, row: Tensor) -> Tensor:
    """`[S, width]` → `[S, V]`, without padding."""
    if isinstance(made, QwenDecoder):
        return made.lm(inputs_embeds=row[None]).logits[0]
    from edge_glass.decoders.blocks import AttentionContext

    sight = AttentionContext(torch.ones(1, len(row)).bool(), len(row), made.rotary)
    return made.lm_head(made.answers(row[None], sight)[-1][0])


@pytest.mark.parametrize("kind", ["qwen2", "gpt2", "small"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_answers_of_a_batch_are_those_of_its_rows(kind: str, side: str) -> None:
    made = PlainDecoder.tiny(0) if kind == "small" else decoder(kind)
    ids, mask = tokenize(made, TEXTS, side)  # type: ignore[arg-type]
    pre, settings = placed(), GenerationSettings(max_new_tokens=6)
    together = made.generate(pre, ids, mask, settings)
    for row in range(3):
        keep, real = pre.mask[row], mask[row]
        alone = PlacedPrefix(
            pre.tokens[row][keep][None], torch.ones(1, int(keep.sum())).bool(), pre.opening[row : row + 1]
        )
        single = made.generate(alone, ids[row][real][None], real[real][None], settings)
        assert single.tokens[0] == together.tokens[row]
    if kind == "gpt2":
        front = made.generate(prefix(), ids, mask, settings)
        assert front.tokens != together.tokens
