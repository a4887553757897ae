"""`AlignmentLoss`: a contrastive loss over Matryoshka dimensions and the rows of all ranks.

The contrastive losses themselves are the files of `alignment/losses/`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edge_glass.config.sections.training import LOSSES
from edge_glass.core.errors import ConfigError
from edge_glass.core.gathering import Shares, gather_rows, sum_over_ranks, zero_touching
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.migrating import takes_old_calls

DIMENSIONS = (4096, 2048, 1024, 512, 256, 128)
"""Of the original project's calls, which do not name them."""

MAX_LOGIT_SCALE = math.log(100.0)
RANK_ROWS = 128  # a sample is enough to see a collapse; the cost grows with the cube
EVERY = slice(None)


def sampled_dimension(seed: int, step: int, dimensions: Sequence[int]) -> int:
    """Draw one of `dimensions`, a pure function of (seed, step): every rank and resume draws the same."""
    digest = hashlib.sha256(f"{seed}-{step}".encode()).digest()
    return dimensions[int.from_bytes(digest[:8], "big") % len(dimensions)]


def excluded_pairs(x_group: Tensor, y_group: Tensor, mine: slice = EVERY) -> Tensor:
    """Find pairs of different rows that share their x or their y, and so are no negatives.

    Args:
        x_group: `[B]` int64; equal numbers mean the same picture.
        y_group: `[B]` int64; equal numbers mean the same caption.
        mine: The b rows of this process; all B on one process.

    Returns:
        `[b, B]` bool, False where a row meets itself. It serves both directions: the relation is symmetric.
    """
    same = (x_group[mine, None] == x_group) | (y_group[mine, None] == y_group)
    diagonal(same, mine).fill_(False)
    return same


def diagonal(pairs: Tensor, mine: slice) -> Tensor:
    """Return where a row of `[b, B]` meets itself: shifted by the rows of lower ranks. A view."""
    first = mine.start or 0
    return pairs[:, first : first + len(pairs)].diagonal()


class Rows(NamedTuple):
    """This rank's b rows of x, the B rows of y of all ranks, and which of their pairs are no negatives.

    Attributes:
        x: `[b, D]`, this rank's.
        every_x: `[B, D]` without gradient, for reports.
        y: `[B, D]`; row i of this rank belongs to row `shares.first + i`.
        excluded: `[b, B]` bool, see `excluded_pairs`.
        shares: Which ranks have which rows.
    """

    x: Tensor
    every_x: Tensor
    y: Tensor
    excluded: Tensor
    shares: Shares

    @classmethod
    def gathered(cls, x: Tensor, y: Tensor, x_group: Tensor, y_group: Tensor, shares: Shares) -> Rows:
        """Fetch the rows of all ranks."""
        every_x = gather_rows(x.detach(), shares)
        y = gather_rows(y, shares)
        x_group, y_group = gather_rows(torch.stack([x_group, y_group], dim=1), shares).unbind(1)
        return cls(x, every_x, y, excluded_pairs(x_group, y_group, shares.mine), shares)

    def cut(self, dim: int | None = None) -> Rows:
        """Return the same rows as embeddings of `dim` numbers and norm 1."""
        every_x = truncate_and_normalize(self.every_x) if dim is None else self.every_x
        x, y = truncate_and_normalize(self.x, dim), truncate_and_normalize(self.y, dim)
        return self._replace(x=x, every_x=every_x, y=y)


def off_diagonal_cosine(x: Tensor, y: Tensor) -> Tensor:
    """Compute the mean cosine of a picture with other rows' captions: near 0 is healthy, near 1 is collapse.

    `[B, D]` and `[B, D]` of norm 1 → scalar; 0 for a batch of one.
    """
    rows = len(x)
    total = x.sum(0) @ y.sum(0) - (x * y).sum()
    return total / max(1, rows * (rows - 1))


def effective_rank(x: Tensor) -> Tensor:
    """Compute how many directions embeddings use: exp of the entropy of the normalised singular values.

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
        kind: L, a file of `alignment/losses/`, such as infonce or siglip.
        contrastive: Weight of the loss on the full embedding.
        mrl: Weight of the Matryoshka loss.
        sample_single_mrl_dim: One dimension per step instead of the mean over all.
        temperature: Where InfoNCE starts. SigLIP starts at its paper's values (scale 10, bias -10).
        seed: Seed of the sampling of dimensions.

    Attributes:
        logit_scale: Logarithm of the inverse temperature; its effect is limited to 100.

    Raises:
        ConfigError: There is no such kind, or both weights are 0.
    """

    logit_scale: nn.Parameter

    @takes_old_calls(
        "AlignmentLoss(dimensions, contrastive=0.25, mrl=1.0, sample_single_mrl_dim=True)",
        contrastive_weight="contrastive",
        mrl_weight="mrl",
        mrl_dimensions="dimensions",
        fill=lambda options: {"dimensions": DIMENSIONS},
    )
    def __init__(
        self,
        dimensions: Iterable[int],
        kind: str = "infonce",
        contrastive: float = 0.25,
        mrl: float = 1.0,
        sample_single_mrl_dim: bool = False,
        temperature: float = 0.07,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if contrastive + mrl <= 0:
            raise ConfigError(
                "expected losses.contrastive or losses.mrl above 0; got 0 for both, which trains nothing"
            )
        self.dimensions = sorted(set(dimensions), reverse=True)
        self.kind = kind
        self.contrastive = contrastive
        self.mrl = mrl
        self.sample_single_mrl_dim = sample_single_mrl_dim
        self.seed = seed
        module = LOSSES.load(kind)
        self._losses = module.losses
        start: dict[str, float] = module.start(temperature)
        self._learned = [name for name in start if name != "logit_scale"]
        for name, value in start.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value)))

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that must not decay: decay would pull the temperature towards 1."""
        return {name for name, _ in self.named_parameters()}

    def scale(self) -> Tensor:
        """Return the inverse temperature, at most 100.

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
            step: Step of the optimizer, for the sampling.
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
            batch = Rows.gathered(x, y, x_group, y_group, shares)
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

    def _clip_and_mrl(self, batch: Rows, full: Rows, step: int) -> tuple[Tensor, Tensor]:
        """Compute the loss at the full dimension, and its mean over the Matryoshka ones, or at the one drawn.

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

    def _compare(self, cuts: Sequence[Rows]) -> list[Tensor]:
        """Compute the loss of the same rows at each dimension."""
        learned = {name: self.get_parameter(name) for name in self._learned}
        losses: list[Tensor] = self._losses(cuts, self.scale(), **learned)
        return losses
