"""`PlainDecoder`: an ordinary causal transformer of the same layers, to compare recursion with."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from edge_glass.config.options import Options
from edge_glass.config.sections.answers import SmallDecoderConfig
from edge_glass.decoders.blocks import AttentionContext, CausalBlock
from edge_glass.decoders.decoder import DecoderKind
from edge_glass.decoders.kinds.trm import TRMDecoder, swiglu_width
from edge_glass.decoders.small_decoder import SmallDecoder
from edge_glass.decoders.tokenizers import tiny_tokenizer
from edge_glass.encoders.tower import seeded


class PlainConfig(Options, SmallDecoderConfig):
    """Sizes; each layer has weights of its own.

    Raises:
        ConfigError: A value out of range.
    """

    noun: ClassVar[str] = "plain"


class PlainDecoder(SmallDecoder):
    """Embedding, layers, norm, LM head.

    Args:
        tokenizer: A fast tokenizer of transformers with an end-of-text token.
        config: Sizes.
    """

    kind: ClassVar[str] = "plain"
    config_class: ClassVar[type] = PlainConfig
    config: PlainConfig

    def __init__(self, tokenizer: Any, config: PlainConfig | None = None) -> None:
        config = config or PlainConfig()
        super().__init__(tokenizer, config)
        hidden = config.hidden or swiglu_width(config.width)
        self.block = CausalBlock(config.width, config.heads, hidden, config.layers)
        if config.layers > 2:  # as GPT-2: the residual stream keeps its scale however deep
            for name, weight in self.block.named_parameters():
                if name.endswith(("from_heads.weight", "feed_out.weight")):
                    weight.data /= (2 * config.layers) ** 0.5

    @property
    def applications(self) -> int:
        """Return layer applications of one pass."""
        return self.config.layers

    def answers(self, x: Tensor, context: AttentionContext, depth: int | None = None) -> list[Tensor]:
        """Return the last hidden states, alone."""
        return [self.block(x, context)]

    @classmethod
    def same_size(cls, trm: TRMDecoder) -> Self:
        """Build one with as many parameters as `trm` (its halting head apart), each layer applied once."""
        return cls._like(trm, trm.config.layers)

    @classmethod
    def same_compute(cls, trm: TRMDecoder) -> Self:
        """Build one with as many layer applications as `trm`, none tied: many times its parameters."""
        return cls._like(trm, trm.applications)

    @classmethod
    def _like(cls, trm: TRMDecoder, layers: int) -> Self:
        sizes = trm.config.model_dump(include=set(PlainConfig.model_fields))
        return cls(trm.tokenizer, PlainConfig(**{**sizes, "layers": layers}))

    @classmethod
    def tiny(cls, seed: int = 0, **options: Any) -> Self:
        """Build a toy of a few thousand parameters with random weights, a function of `seed`; reads bytes."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls(tiny_tokenizer(), PlainConfig(**{"width": 32, "heads": 2, **options}))


class PlainKind(DecoderKind):
    """`decoder.kind: plain`."""

    def build(self, config: Any, tokenizer: Any) -> PlainDecoder:
        """Return a fresh decoder of the sizes of the experiment."""
        with seeded(config.seed, "decoder"):
            return PlainDecoder(tokenizer, PlainConfig(**config.decoder.size.model_dump()))


KIND = PlainKind()
