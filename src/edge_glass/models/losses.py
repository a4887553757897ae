"""The contrastive losses over Matryoshka dimensions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.errors import ConfigError

MAX_LOGIT_SCALE = math.log(100.0)
SIGLIP_LOGIT_SCALE = math.log(10.0)
SIGLIP_LOGIT_BIAS = -10.0
RANK_ROWS = 128  # a sample is enough to see a collapse; the cost grows with the cube


def sampled_dimension(seed: int, step: int, dimensions: Sequence[int]) -> int:
    """One of `dimensions`, a pure function of (seed, step): every rank and every resume draws the same."""
    digest = hashlib.sha256(f"{seed}-{step}".encode()).digest()
    return dimensions[int.from_bytes(digest[:8], "big") % len(dimensions)]


def excluded_pairs(image_group: Tensor, text_group: Tensor) -> Tensor:
    """Off-diagonal pairs that share the picture or the caption, and so are no negatives.

    Args:
        image_group: `[B]` int64; equal numbers mean the same picture.
        text_group: `[B]` int64; equal numbers mean the same caption.

    Returns:
        `[B, B]` bool, symmetric, False on the diagonal.
    """
    same = (image_group[:, None] == image_group) | (text_group[:, None] == text_group)
    return same.fill_diagonal_(False)


def infonce(image: Tensor, text: Tensor, scale: Tensor, excluded: Tensor) -> Tensor:
    """Symmetric InfoNCE: the mean of both directions, each the mean over its B rows.

    Excluded pairs leave the denominator; a row all of whose negatives are excluded costs nothing.

    Args:
        image: `[B, D]` of norm 1.
        text: `[B, D]` of norm 1.
        scale: Inverse temperature, a scalar.
        excluded: `[B, B]` bool.
    """
    logits = (scale * image @ text.T).masked_fill(excluded, -math.inf)
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def siglip(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, excluded: Tensor) -> Tensor:
    """The sigmoid loss: every pair is a yes or no of its own; the sum over pairs is divided by B.

    Excluded pairs have no term; the divisor stays B, as in the paper, so that they weigh nothing elsewhere.

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023, algorithm 1.
    """
    logits = scale * image @ text.T + bias
    sign = 2.0 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1.0
    return -F.logsigmoid(sign * logits).masked_fill(excluded, 0.0).sum() / len(logits)


def off_diagonal_cosine(image: Tensor, text: Tensor) -> Tensor:
    """Mean cosine of a picture with the captions of other rows: near 0 is healthy, near 1 is collapse.

    `[B, D]` and `[B, D]` of norm 1 → scalar; 0 for a batch of one.
    """
    rows = len(image)
    total = image.sum(0) @ text.sum(0) - (image * text).sum()
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
        image: Tensor,
        text: Tensor,
        image_group: Tensor,
        text_group: Tensor,
        step: int = 0,
        with_diagnostics: bool = False,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare B pictures with B captions; row i of one belongs to row i of the other.

        Computed in float32 (float64 stays) also under autocast.

        Args:
            image: `[B, D]` un-normalised.
            text: `[B, D]` un-normalised.
            image_group: `[B]` int64; rows with equal numbers are never each other's negatives.
            text_group: `[B]` int64; likewise.
            step: Of the optimiser, for the sampling.
            with_diagnostics: Also report the effective rank of the embeddings of the first 128 pictures.

        Returns:
            Scalar loss, and detached scalars: `loss_clip` (full dimension) and `loss_mrl`, both without their
            weights; `ln_batch`, where InfoNCE stands at chance; `off_diagonal_cosine`; `temperature`; and
            `effective_rank` if asked for.
        """
        with torch.autocast(image.device.type, enabled=False):
            image, text = (x if x.dtype == torch.float64 else x.float() for x in (image, text))
            excluded = excluded_pairs(image_group, text_group)
            full = truncate_and_normalize(image), truncate_and_normalize(text)
            loss_clip = self._compare(*full, excluded)
            loss_mrl = self._matryoshka(image, text, excluded, step, loss_clip)
            loss = self.contrastive * loss_clip + self.mrl * loss_mrl
            report = {
                "loss_clip": loss_clip,
                "loss_mrl": loss_mrl,
                "ln_batch": torch.tensor(math.log(len(image)), device=image.device),
                "off_diagonal_cosine": off_diagonal_cosine(*full),
                "temperature": 1.0 / self.scale(),
            }
            if with_diagnostics:
                report["effective_rank"] = effective_rank(full[0].detach()[:RANK_ROWS])
        return loss, {name: value.detach() for name, value in report.items()}

    def _matryoshka(
        self, image: Tensor, text: Tensor, excluded: Tensor, step: int, loss_full: Tensor
    ) -> Tensor:
        """Mean of the loss over the dimensions, or the loss at the one drawn; weight 0 computes nothing."""
        if self.mrl == 0:
            return torch.zeros_like(loss_full)
        dimensions = self.dimensions
        if self.sample_single_mrl_dim:
            dimensions = [sampled_dimension(self.seed, step, dimensions)]
        losses = []
        for dim in dimensions:
            if dim == image.shape[-1]:
                losses.append(loss_full)
            else:
                cut = truncate_and_normalize(image, dim), truncate_and_normalize(text, dim)
                losses.append(self._compare(*cut, excluded))
        return torch.stack(losses).mean()

    def _compare(self, image: Tensor, text: Tensor, excluded: Tensor) -> Tensor:
        if self.kind == "siglip":
            return siglip(image, text, self.scale(), self.logit_bias, excluded)
        return infonce(image, text, self.scale(), excluded)
