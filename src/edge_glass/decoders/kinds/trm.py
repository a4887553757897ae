"""`TRMDecoder`: a two-layer block that thinks again and again, made causal for text.

Jolicoeur-Martineau 2025, "Less is More: Recursive Reasoning with Tiny Networks", https://arxiv.org/abs/2510.04871.
There a puzzle is read whole; here every position sees only those before it, so that words can be written one
after another with cached keys and values.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.config.options import Options
from edge_glass.config.sections.answers import RecursionConfig, SmallDecoderConfig
from edge_glass.decoders.blocks import AttentionContext, CausalBlock
from edge_glass.decoders.decoder import DecoderKind
from edge_glass.decoders.small_decoder import SmallDecoder
from edge_glass.decoders.supervised_head import HeadLoss, Supervision
from edge_glass.decoders.tokenizers import tiny_tokenizer
from edge_glass.encoders.tower import seeded


def swiglu_width(width: int) -> int:
    """Return 8/3 of the width: a SwiGLU has the parameters of a plain layer of 4; in steps of 32."""
    return -(-8 * width // 96) * 32


class TRMConfig(Options, SmallDecoderConfig, RecursionConfig):
    """Sizes and recursion. The defaults have 1.6 million parameters beside the embedding.

    A pass applies the block `supervision_steps` x `cycles` x (`refinements` + 1) times; the paper's
    16 x 3 x 7 are too many for words on two cores.

    Raises:
        ConfigError: A value out of range.
    """

    noun: ClassVar[str] = "trm"


class TRMDecoder(SmallDecoder):
    """Input x, answer y and latent z, all `[B, S, D]`, and one small block for all of it.

    A cycle refines z = block(x + y + z) `refinements` times, then y = block(y + z). The LM head reads y. The
    losses of the supervision steps are averaged; between them, and before the last cycle of each, no gradient
    flows, which is what keeps memory small.

    The block ends in a norm: with pre-norm alone y and z would double with every cycle.

    Args:
        tokenizer: A fast tokenizer of transformers with an end-of-text token.
        config: Sizes and recursion.
    """

    kind: ClassVar[str] = "trm"
    config_class: ClassVar[type] = TRMConfig
    config: TRMConfig
    y_start: Tensor
    z_start: Tensor

    def __init__(self, tokenizer: Any, config: TRMConfig | None = None) -> None:
        config = config or TRMConfig()
        super().__init__(tokenizer, config)
        hidden = config.hidden or swiglu_width(config.width)
        self.block = CausalBlock(config.width, config.heads, hidden, config.layers)
        # Fixed, not trained, as in the paper: what y and z are before anything was read.
        self.register_buffer("y_start", torch.randn(config.width))
        self.register_buffer("z_start", torch.randn(config.width))
        self.halt_head = nn.Linear(config.width, 1) if config.halting else None
        if self.halt_head is not None:  # a start that hardly ever halts
            nn.init.zeros_(self.halt_head.weight)
            nn.init.constant_(self.halt_head.bias, -5.0)

    @property
    def block_applications(self) -> int:
        """Return how often the block runs in one pass."""
        return self.config.supervision_steps * self.config.cycles * (self.config.refinements + 1)

    @property
    def applications(self) -> int:
        """Return layer applications of one pass."""
        return self.block_applications * self.config.layers

    def answers(self, x: Tensor, context: AttentionContext, depth: int | None = None) -> list[Tensor]:
        """Return y after each supervision step, up to `depth` of them."""
        y, z = self.y_start.to(x.dtype).expand_as(x), self.z_start.to(x.dtype).expand_as(x)
        found = []
        for _ in range(depth or self.config.supervision_steps):
            with torch.no_grad():
                for _ in range(self.config.cycles - 1):
                    y, z = self._cycle(x, y, z, context)
            if self.config.cycles > 1 and torch.is_autocast_enabled(x.device.type):
                torch.clear_autocast_cache()  # torch may keep what it cast without gradient
            y, z = self._cycle(x, y, z, context)
            found.append(y)
            y, z = y.detach(), z.detach()
        return found

    def _cycle(self, x: Tensor, y: Tensor, z: Tensor, context: AttentionContext) -> tuple[Tensor, Tensor]:
        asked = x + y
        for _ in range(self.config.refinements):
            z = self.block(asked + z, context)
        return self.block(y + z, context), z

    def choose_depth(self, answers: list[Tensor]) -> Tensor:
        """Return the first supervision step whose halting head says right, else the last."""
        if self.halt_head is None:
            return super().choose_depth(answers)
        halts = torch.stack([self.halt_head(answer).squeeze(-1) > 0 for answer in answers])
        halts[-1] = True
        return halts.long().argmax(dim=0)

    def further_loss(
        self, answers: list[Tensor], heads: list[HeadLoss], supervision: Supervision
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Return the loss of halting: will all supervised tokens of a row be right at this depth?

        A row weighs as its tokens do, so that dividing by the count of tokens gives a mean.
        """
        if self.halt_head is None:
            return None
        batch, rows, width = len(answers[0]), supervision.rows, answers[0].shape[1]
        tokens = torch.bincount(rows, minlength=batch)
        first = torch.full_like(tokens, width - 1).scatter_reduce(0, rows, supervision.positions, "amin")
        row, losses = torch.arange(batch, device=rows.device), []
        agreed = torch.zeros((), device=rows.device)
        for answer, head in zip(answers, heads, strict=True):
            wrong = torch.zeros_like(tokens).index_add(0, rows, (~head.correct).long())
            target = ((wrong == 0) & (tokens > 0)).float()
            logit = self.halt_head(answer.detach()[row, first]).squeeze(-1).float()
            loss = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
            losses.append((loss * tokens).sum())
            agreed += (((logit > 0) == (target > 0)) * tokens).sum() / len(answers)
        loss = torch.stack(losses).mean()
        report = {"halting_loss": loss.detach(), "halting_right": agreed}
        return self.config.halting_weight * loss, report

    @classmethod
    def tiny(cls, seed: int = 0, **options: Any) -> Self:
        """Build a toy of a few thousand parameters with random weights, a function of `seed`; reads bytes."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls(tiny_tokenizer(), TRMConfig(**{"width": 32, "heads": 2, **options}))


class TRMKind(DecoderKind):
    """`decoder.kind: trm`."""

    def build(self, config: Any, tokenizer: Any) -> TRMDecoder:
        """Return a fresh decoder of the sizes and recursion of the experiment."""
        decoder = config.decoder
        with seeded(config.seed, "decoder"):
            sizes = TRMConfig(**decoder.size.model_dump(), **decoder.recursion.model_dump())
            return TRMDecoder(tokenizer, sizes)


KIND = TRMKind()
