"""The LM head and its loss on supervised positions only, in bounded memory.

With a vocabulary of 151,936 words the logits of 740 positions are 450 MB, where the answer has 40 tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from edge_glass.core.labels import NOT_TRAINED

MAX_LOGITS = 2**24  # float32 logits at a time, 67 MB; twice or three times that in the backward pass


class Supervision(NamedTuple):
    """Where a loss is taken: K (position, next token) pairs, row by row.

    Attributes:
        rows: `[K]` int64, the row of each.
        positions: `[K]` int64, the position whose hidden state predicts.
        targets: `[K]` int64, the token to be predicted.
    """

    rows: Tensor
    positions: Tensor
    targets: Tensor


class HeadLoss(NamedTuple):
    """What the head gives.

    Attributes:
        loss_sum: Scalar float32, the sum of the cross entropies.
        correct: `[K]` bool, whether the best guess is the target.
    """

    loss_sum: Tensor
    correct: Tensor


def find_supervision(mask: Tensor, labels: Tensor) -> Supervision:
    """Pair every supervised token with the real token before it, over any padding between them.

    A supervised token without a real token before it is left out: nothing could predict it.

    Args:
        mask: `[B, S]` bool, True at real tokens.
        labels: `[B, L]` int64 at their own positions (not shifted), -100 where not trained; of the last L
            positions, those before them being a prefix that is never trained.
    """
    labels = F.pad(labels, (mask.shape[1] - labels.shape[1], 0), value=NOT_TRAINED)
    position = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    last_real = position.masked_fill(~mask, -1).cummax(dim=1).values if mask.numel() else position
    before = F.pad(last_real, (1, 0), value=-1)[:, : mask.shape[1]]
    rows, tokens = torch.nonzero((labels != NOT_TRAINED) & mask & (before >= 0), as_tuple=True)
    return Supervision(rows, before[rows, tokens], labels[rows, tokens])


def supervised_cross_entropy(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    vocabulary: int,
    supervision: Supervision,
    max_logits: int = MAX_LOGITS,
) -> HeadLoss:
    """Return the sum of the cross entropies at the supervised positions, equal to that of the full logits.

    Beyond `max_logits` numbers the head runs chunk by chunk, and again in the backward pass.

    Args:
        hidden: `[B, S, D]`, what the head reads.
        head: `[K, D]` → `[K, V]` logits; a module, or a function of one.
        vocabulary: V.
        supervision: What `find_supervision` gives.
        max_logits: Logits in memory at a time; a chunk has at least one position.

    Returns:
        Without supervision a zero that has `hidden` and the head in its graph, with gradients of zero.
    """
    chosen = hidden[supervision.rows, supervision.positions]
    if not len(chosen):
        # a real position through the head, so that the head's weights stand in the graph of every rank
        nothing = hidden.flatten(0, -2)[:1]
        zero = 0.0 * (head(nothing).float().sum() + hidden.float().sum())
        return HeadLoss(zero, torch.zeros(0, dtype=torch.bool, device=hidden.device))
    size = max(1, max_logits // vocabulary)
    if len(chosen) <= size:
        return HeadLoss(*_cross_entropy(chosen, head, supervision.targets))
    sums, correct = [], []
    for vectors, targets in zip(chosen.split(size), supervision.targets.split(size), strict=True):
        loss, right = checkpoint(_cross_entropy, vectors, head, targets, use_reentrant=False)
        sums.append(loss)
        correct.append(right)
    return HeadLoss(torch.stack(sums).sum(), torch.cat(correct))


def _cross_entropy(
    vectors: Tensor, head: Callable[[Tensor], Tensor], targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Map `[K, D]`, `[K]` → the summed loss in float32 and `[K]` bool."""
    logits = head(vectors).float()
    return F.cross_entropy(logits, targets, reduction="sum"), logits.detach().argmax(dim=-1) == targets
