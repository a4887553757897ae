"""The contrastive losses over Matryoshka dimensions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.core.gathering import (
    Shares,
    column_logsumexp,
    gather_rows,
    sum_over_ranks,
    zero_touching,
)
from edge_glass.encoders.mrl import truncate_and_normalize

MAX_LOGIT_SCALE = math.log(100.0)
SIGLIP_LOGIT_SCALE = math.log(10.0)
SIGLIP_LOGIT_BIAS = -10.0
RANK_ROWS = 128  # a sample is enough to see a collapse; the cost grows with the cube
EVERY = slice(None)


def sampled_dimension(seed: int, step: int, dimensions: Sequence[int]) -> int:
    """One of `dimensions`, a pure function of (seed, step): every rank and every resume draws the same."""
    digest = hashlib.sha256(f"{seed}-{step}".encode()).digest()
    return dimensions[int.from_bytes(digest[:8], "big") % len(dimensions)]


def excluded_pairs(x_group: Tensor, y_group: Tensor, mine: slice = EVERY) -> Tensor:
    """Pairs of different rows that share their x or their y, and so are no negatives.

    Args:
        x_group: `[B]` int64; equal numbers mean the same picture.
        y_group: `[B]` int64; equal numbers mean the same caption.
        mine: The b rows of this process; all B on one process.

    Returns:
        `[b, B]` bool, False where a row meets itself. It serves both directions: the relation is symmetric.
    """
    same = (x_group[mine, None] == x_group) | (y_group[mine, None] == y_group)
    _diagonal(same, mine).fill_(False)
    return same


def infonce(x: Tensor, y: Tensor, scale: Tensor, excluded: Tensor, shares: Shares | None = None) -> Tensor:
    """Symmetric InfoNCE: the mean of both directions, each the mean over the B rows of the batch.

    Excluded pairs leave the denominator; a row all of whose negatives are excluded costs nothing.

    Args:
        x: `[b, D]` of norm 1, the rows of this process.
        y: `[B, D]` of norm 1, the rows of all processes.
        scale: Inverse temperature, a scalar.
        excluded: `[b, B]` bool.
        shares: Who has which rows; None for one process.

    Returns:
        The part of these b rows; the parts of all processes sum to the loss of the batch.
    """
    return infonce_of([(x, y)], scale, excluded, shares)[0]


def infonce_of(
    cuts: Sequence[tuple[Tensor, Tensor]], scale: Tensor, excluded: Tensor, shares: Shares | None = None
) -> list[Tensor]:
    """`infonce` of the same rows at several dimensions.

    Every pair is compared by one process only. The way back needs sums over columns, which the processes add
    up for all dimensions together: on slow connections it is the number of messages that costs.
    """
    rows, y_rows = cuts[0][0].shape[0], cuts[0][1].shape[0]
    shares = shares or Shares((rows,))
    matrices = [(scale * x @ y.T).masked_fill(excluded, -math.inf) for x, y in cuts]
    target = torch.arange(y_rows, device=excluded.device)[shares.mine]
    to_y = [F.cross_entropy(logits, target, reduction="sum") for logits in matrices]
    if len(shares.counts) == 1:
        to_x = [F.cross_entropy(logits.T, target, reduction="sum") for logits in matrices]
    else:
        columns = column_logsumexp(matrices, shares)[:, shares.mine]
        right = [_diagonal(logits, shares.mine) for logits in matrices]
        to_x = [(column - own).sum() for column, own in zip(columns, right, strict=True)]
    return [(there / y_rows + back / y_rows) / 2 for there, back in zip(to_y, to_x, strict=True)]


def siglip(
    x: Tensor, y: Tensor, scale: Tensor, bias: Tensor, excluded: Tensor, shares: Shares | None = None
) -> Tensor:
    """The sigmoid loss: every pair is a yes or no of its own; the sum over pairs is divided by B.

    Excluded pairs have no term; the divisor stays B, as in the paper, so that they weigh nothing elsewhere.
    Arguments and result as for `infonce`.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1.
    """
    mine = (shares or Shares((len(x),))).mine
    logits = scale * x @ y.T + bias
    sign = torch.full_like(logits, -1.0, requires_grad=False)
    _diagonal(sign, mine).fill_(1.0)
    return -F.logsigmoid(sign * logits).masked_fill(excluded, 0.0).sum() / len(y)


def _diagonal(pairs: Tensor, mine: slice) -> Tensor:
    """Where a row of `[b, B]` meets itself: shifted by the rows of lower ranks. A view."""
    first = mine.start or 0
    return pairs[:, first : first + len(pairs)].diagonal()


def off_diagonal_cosine(x: Tensor, y: Tensor) -> Tensor:
    """Mean cosine of a picture with the captions of other rows: near 0 is healthy, near 1 is collapse.

    `[B, D]` and `[B, D]` of norm 1 → scalar; 0 for a batch of one.
    """
    rows = len(x)
    total = x.sum(0) @ y.sum(0) - (x * y).sum()
    return total / max(1, rows * (rows - 1))


def effective_rank(x: Tensor) -> Tensor:
    """How many directions a batch of embeddings uses: exp of the entropy of its normalised singular values.

    `[B, D]` → scalar between 1 and min(B, D). Costs an eigenvalue decomposition of the smaller Gram matrix.

    Source: Roy and Vetterli, The effective rank, 2007.
    """
    x = x.double()
    gram = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    singular = torch.linalg.eigvalsh(gram).clamp(min=0.0).sqrt()
    share = singular / singular.sum().clamp(min=torch.finfo(x.dtype).tiny)
    return torch.special.entr(share).sum().exp()


class AlignmentLoss(nn.Module):
    """contrastive · L(full) + mrl · mean over dimensions of L(d), with a learned temperature.

    Args:
        dimensions: Matryoshka dimensions, the full one among them.
        kind: infonce, or siglip with a learned bias besides.
        contrastive: Weight of the loss on the full embedding.
        mrl: Weight of the Matryoshka loss.
        sample_single_mrl_dim: One dimension per step instead of the mean over all.
        temperature: Where InfoNCE starts. SigLIP starts at its paper's values (scale 10, bias -10).
        seed: Of the sampling of dimensions.

    Attributes:
        logit_scale: Logarithm of the inverse temperature; its effect is limited to 100.
    """

    def __init__(
        self,
        dimensions: Iterable[int],
        kind: Literal["infonce", "siglip"] = "infonce",
        contrastive: float = 0.25,
        mrl: float = 1.0,
        sample_single_mrl_dim: bool = False,
        temperature: float = 0.07,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if kind not in ("infonce", "siglip"):
            raise ConfigError(f"losses.kind is {kind!r}; infonce or siglip would be right")
        if contrastive + mrl <= 0:
            raise ConfigError("losses.contrastive and losses.mrl are both 0; nothing would be trained")
        self.dimensions = sorted(set(dimensions), reverse=True)
        self.kind = kind
        self.contrastive = contrastive
        self.mrl = mrl
        self.sample_single_mrl_dim = sample_single_mrl_dim
        self.seed = seed
        start = SIGLIP_LOGIT_SCALE if kind == "siglip" else math.log(1.0 / temperature)
        self.logit_scale = nn.Parameter(torch.tensor(start))
        if kind == "siglip":
            self.logit_bias = nn.Parameter(torch.tensor(SIGLIP_LOGIT_BIAS))

    def no_weight_decay(self) -> set[str]:
        """Parameters that must not decay: decay would pull the temperature towards 1."""
        return {name for name, _ in self.named_parameters()}

    def scale(self) -> Tensor:
        """Inverse temperature, at most 100.

        The limit holds the value, not the gradient: a clamped gradient would be zero for ever after.
        """
        excess = (self.logit_scale - MAX_LOGIT_SCALE).clamp(min=0.0).detach()
        return (self.logit_scale - excess).exp()

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        x_group: Tensor,
        y_group: Tensor,
        step: int = 0,
        with_diagnostics: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare the rows of two modalities; row i of one belongs to row i of the other.

        In training every rank brings its own b rows, b of its own and perhaps 0, and they are compared with
        the B rows of all ranks. The loss that comes back has the value of the whole batch on every rank, and
        gradients whose mean over the ranks (what DDP makes) are those of one process with all B rows.
        In eval mode a rank measures the rows it is given and asks nobody.

        Computed in float32 (float64 stays) also under autocast.

        Args:
            x: `[b, D]` un-normalised.
            y: `[b, D]` un-normalised.
            x_group: `[b]` int64; rows with equal numbers are never each other's negatives.
            y_group: `[b]` int64; likewise.
            step: Of the optimiser, for the sampling.
            with_diagnostics: Also report the effective rank of the embeddings of the first 128 rows.

        Returns:
            Scalar loss, and detached scalars, the same on every rank: `loss_clip` (full dimension) and
            `loss_mrl`, both without their weights; `ln_batch`, where InfoNCE stands at chance;
            `off_diagonal_cosine`; `temperature`; and `effective_rank` if asked for. No rows in the whole
            world: a loss of 0 with zero gradients.
        """
        with torch.autocast(x.device.type, enabled=False):
            x, y = (side if side.dtype == torch.float64 else side.float() for side in (x, y))
            shares = Shares.of(len(x), x.device) if self.training else Shares((len(x),))
            if shares.total == 0:
                nothing = zero_touching(x, y, *self.parameters())
                return nothing, self._report(nothing, nothing, x, y, with_diagnostics)
            batch = _Rows.gathered(x, y, x_group, y_group, shares)
            full = batch.cut()
            clip, mrl = self._clip_and_mrl(batch, full, step)
            loss = self.contrastive * clip + self.mrl * mrl
            if len(shares.counts) > 1:
                # The value of the whole batch, the gradient of this rank's part; DDP divides by the ranks.
                clip, mrl = sum_over_ranks(torch.stack([clip, mrl]), shares)
                own = len(shares.counts) * loss
                loss = self.contrastive * clip + self.mrl * mrl + (own - own.detach())
            return loss, self._report(clip, mrl, full.every_x, full.y, with_diagnostics)

    @torch.no_grad()
    def _report(
        self, clip: Tensor, mrl: Tensor, x: Tensor, y: Tensor, with_diagnostics: bool
    ) -> dict[str, Tensor]:
        report = {
            "loss_clip": clip,
            "loss_mrl": mrl,
            "ln_batch": torch.tensor(math.log(max(1, len(x))), device=x.device),
            "off_diagonal_cosine": off_diagonal_cosine(x, y),
            "temperature": 1.0 / self.scale(),
        }
        if with_diagnostics:
            report["effective_rank"] = effective_rank(x[:RANK_ROWS])
        return {name: value.detach() for name, value in report.items()}

    def _clip_and_mrl(self, batch: _Rows, full: _Rows, step: int) -> tuple[Tensor, Tensor]:
        """The loss at the full dimension, and its mean over the Matryoshka dimensions (or at the one drawn).

        With weight 0 the latter computes nothing.
        """
        width = batch.x.shape[-1]
        dimensions = self.dimensions if self.mrl else []
        if dimensions and self.sample_single_mrl_dim:
            dimensions = [sampled_dimension(self.seed, step, dimensions)]
        below = [dim for dim in dimensions if dim != width]
        losses = dict(zip([width, *below], self._compare([full, *map(batch.cut, below)]), strict=True))
        clip = losses[width]
        if not dimensions:
            return clip, torch.zeros_like(clip)
        return clip, torch.stack([losses[dim] for dim in dimensions]).mean()

    def _compare(self, cuts: Sequence[_Rows]) -> list[Tensor]:
        """The loss of the same rows at each dimension."""
        if self.kind == "siglip":
            bias = self.logit_bias
            return [siglip(cut.x, cut.y, self.scale(), bias, cut.excluded, cut.shares) for cut in cuts]
        pairs = [(cut.x, cut.y) for cut in cuts]
        return infonce_of(pairs, self.scale(), cuts[0].excluded, cuts[0].shares)


class _Rows(NamedTuple):
    """This rank's b rows of x, the B rows of y of all ranks, and which of their pairs are no negatives.

    `every_x` are the B rows of x without gradient, for reports.
    """

    x: Tensor
    every_x: Tensor
    y: Tensor
    excluded: Tensor
    shares: Shares

    @classmethod
    def gathered(cls, x: Tensor, y: Tensor, x_group: Tensor, y_group: Tensor, shares: Shares) -> _Rows:
        every_x = gather_rows(x.detach(), shares)
        y = gather_rows(y, shares)
        x_group, y_group = gather_rows(torch.stack([x_group, y_group], dim=1), shares).unbind(1)
        return cls(x, every_x, y, excluded_pairs(x_group, y_group, shares.mine), shares)

    def cut(self, dim: int | None = None) -> _Rows:
        """The same rows as embeddings of `dim` numbers and norm 1."""
        every_x = truncate_and_normalize(self.every_x) if dim is None else self.every_x
        x, y = truncate_and_normalize(self.x, dim), truncate_and_normalize(self.y, dim)
        return self._replace(x=x, every_x=every_x, y=y)
