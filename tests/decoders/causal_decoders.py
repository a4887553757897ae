"""Toy causal language models and batches for the tests beside this file."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from edge_glass.decoders.causal_lm_loading import tiny_causal_lm, tiny_tokenizer
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.encoders.features import TokenFeatures

TEXTS = ["what is it? a fox", "red", "how many? three of them, I think"]


def decoder(
    kind: str = "qwen2", mode: str = "full", dtype: torch.dtype = torch.float32, **options: object
) -> QwenDecoder:
    """A toy decoder. GPT-2 has learned positions, so that a wrong position shows."""
    if kind == "qwen2":
        model, tokenizer = tiny_causal_lm(0)
        made = QwenDecoder(model.to(dtype), tokenizer, mode=mode, **options)  # type: ignore[arg-type]
    else:
        tokenizer = tiny_tokenizer()
        small = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
        end = tokenizer.eos_token_id
        config = GPT2Config(
            vocab_size=len(tokenizer), **small, bos_token_id=end, eos_token_id=end, initializer_range=0.2
        )
        torch.manual_seed(0)
        made = QwenDecoder(GPT2LMHeadModel(config).eval(), tokenizer, mode=mode, **options)  # type: ignore[arg-type]
    with torch.no_grad():  # far from uniform, so that best tokens are best by far
        made.lm.get_input_embeddings().weight.mul_(10 if kind == "qwen2" else 1)
    return made.eval()


def prefix(rows: int = 3, tokens: int = 4, width: int = 32, scale: float = 0.5) -> TokenFeatures:
    """Random prefix tokens; row 1 ends with padding, row 2 has padding within and none of its own at all."""
    values = scale * torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(rows, tokens, dtype=torch.bool)
    if rows == 3:
        mask[1, 2:] = False
        mask[2, :2] = False
    return TokenFeatures(values, mask)


def tokenize(made: QwenDecoder, texts: list[str], side: str = "right") -> tuple[Tensor, Tensor]:
    """Ids and mask, padded on `side`."""
    made.tokenizer.padding_side = side
    encoded = made.tokenizer(texts, padding=True, return_tensors="pt")
    return encoded["input_ids"], encoded["attention_mask"].bool()


def supervised(ids: Tensor, mask: Tensor) -> Tensor:
    """Labels on the last three real tokens of each row."""
    from_the_end = mask.long().flip(1).cumsum(1).flip(1)
    return ids.masked_fill(~mask | (from_the_end > 3), -100)
