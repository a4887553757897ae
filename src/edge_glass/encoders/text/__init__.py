"""`TextEncoder`: words → tokens. Each layout in which models can be read is a file of this package.

Such a file defines:

- `recognises(source) -> bool`: whether this folder or hub id is for it;
- `load(source) -> TextParts` (of `transformers.py`): a model and a tokenizer with the calls of transformers'
  own, and limits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.core.registry import Registry
from edge_glass.encoders.features import TokenFeatures, inference
from edge_glass.encoders.freezing import FingerprintCache, FreezableModule
from edge_glass.encoders.sources import (
    ENCODER_FILE,
    describe_transformers,
    library_of,
    plain_errors,
    read_encoder_record,
    resolve_source,
    write_record,
)

LIBRARIES: Final = Registry("edge_glass.encoders.text", "text library")

CAUSAL_OR_LAST_TOKEN = ("clip_text_model", "siglip_text_model", "gpt2", "llama", "qwen2", "qwen3")
PADDED_TO_FULL_LENGTH = ("siglip_text_model",)


class TextEncoder(FreezableModule):
    """Words → token features.

    The model and tokenizer of the folder are used directly, so that the 7 seconds that importing
    sentence_transformers takes are not spent; its pooling configuration is ignored, pooling is ours.

    Attributes:
        width: Numbers per token.
        max_length: Longest caption in tokens, special tokens included; longer ones are cut.
        has_cls_token: Whether token 0 stands for the whole text (not so in CLIP, which reads left to right).
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        max_length: int,
        *,
        lowercase: bool = False,
        frozen: bool = True,
        layers: Sequence[int] = (),
    ) -> None:
        super().__init__()
        config: Any = model.config
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.lowercase = lowercase
        self.layers = list(layers)
        depth = int(config.num_hidden_layers)
        if wrong := [layer for layer in self.layers if not 0 <= layer <= depth]:
            raise ConfigError(
                f"text_encoder.feature_layers: expected 0 (embeddings) to {depth}; got {wrong[0]}"
            )
        self.width = int(config.hidden_size) * max(1, len(self.layers))
        self.has_cls_token = config.model_type not in CAUSAL_OR_LAST_TOKEN
        self._full_length = config.model_type in PADDED_TO_FULL_LENGTH
        self._tokenizer_text = describe_tokenizer(tokenizer)
        self._fingerprint = FingerprintCache()
        if frozen:
            self.freeze()

    @property
    def transform_id(self) -> str:
        """Stable text of the tokenisation: vocabulary, length limit, case, padding."""
        vocabulary = hashlib.sha256(self._tokenizer_text.encode()).hexdigest()[:16]
        padding = "full" if self._full_length else "longest"
        return f"text-v1;tokenizer={vocabulary};max={self.max_length};lower={self.lowercase};pad={padding}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over architecture, tokenizer and all weights as they are now."""
        description = f"{describe_transformers(self.model)}{self.layers or ''}\n{self.transform_id}"
        return self._fingerprint.get(description, self.model)

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Map texts → `input_ids` and `attention_mask`, both `[B, L]` int64, padded on the right.

        An empty text is legal: it leaves the special tokens. SigLIP was trained on captions padded to the
        full length without a mask, so its are padded and unmasked in the same way.
        """
        prepared = [text.lower() if self.lowercase else text for text in texts]
        if not prepared:
            empty = torch.zeros(0, 1, dtype=torch.long)
            return {"input_ids": empty, "attention_mask": empty.clone()}
        encoded = self.tokenizer(
            prepared,
            padding="max_length" if self._full_length else True,
            truncation=True,
            max_length=self.max_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = encoded["input_ids"].long(), encoded["attention_mask"].long()
        if ids.shape[1] == 0:  # only empty texts, and a tokenizer without special tokens
            ids = torch.full((len(prepared), 1), self.tokenizer.pad_token_id)
            mask = torch.zeros_like(ids)
        return {"input_ids": ids, "attention_mask": torch.ones_like(mask) if self._full_length else mask}

    def forward(self, tokenized: Mapping[str, Tensor]) -> TokenFeatures:
        """Encode a tokenised batch; without gradients when frozen.

        Args:
            tokenized: What `tokenize` gives, on the encoder's device.

        Returns:
            Tokens `[B, L, D]`; the mask marks the special tokens as real, padding not.
        """
        mask = tokenized["attention_mask"]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            output = self.model(
                input_ids=tokenized["input_ids"], attention_mask=mask, output_hidden_states=bool(self.layers)
            )
        if not self.layers:
            return TokenFeatures(output.last_hidden_state, mask.bool())
        tokens = torch.cat([output.hidden_states[layer] for layer in self.layers], dim=-1)
        return TokenFeatures(tokens, mask.bool())

    def frozen_forward(
        self,
        texts: Sequence[str] | Mapping[str, Tensor],
        micro_batch: int = 32,
        dtype: torch.dtype = torch.float32,
    ) -> TokenFeatures:
        """Encode in inference mode, sorted by length so that little padding is computed; order is restored.

        A text's features do not depend on the others in the batch, up to the last bits.

        Args:
            texts: Texts, or what `tokenize` made of them.
            micro_batch: Texts at a time.
            dtype: Arithmetic. bfloat16 is an approximation (see `fast_dtype`).

        Returns:
            Tokens `[B, L, D]` float32 on the encoder's device, zero at padding, without gradient.
        """
        device = next(self.parameters()).device
        tokenized = texts if isinstance(texts, Mapping) else self.tokenize(texts)
        ids, mask = tokenized["input_ids"].to(device), tokenized["attention_mask"].to(device)
        tokens = torch.zeros(*ids.shape, self.width, device=device)
        lengths = mask.sum(1).cpu()
        order = torch.argsort(lengths, stable=True)
        with inference(self, dtype):
            for rows in order.split(micro_batch) if len(order) else ():
                longest = max(1, int(lengths[rows].max()))
                chunk = {"input_ids": ids[rows, :longest], "attention_mask": mask[rows, :longest]}
                features = self(chunk).tokens.float()
                tokens[rows, :longest] = features.masked_fill(chunk["attention_mask"][..., None] == 0, 0.0)
        return TokenFeatures(tokens, mask.bool())

    def save(self, folder: str | Path) -> None:
        """Write everything that `load(folder)` needs, offline."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)  # type: ignore[operator]
        self.tokenizer.save_pretrained(folder)
        record = {
            "format": 1,
            "modality": "text",
            "max_length": self.max_length,
            "lowercase": self.lowercase,
            "layers": self.layers,
        }
        write_record(folder / ENCODER_FILE, record)

    @classmethod
    def load(
        cls,
        source: str | Path,
        max_length: int | None = None,
        frozen: bool = True,
        layers: Sequence[int] = (),
    ) -> Self:
        """Load an encoder.

        Args:
            source: `asset:NAME`, a folder (saved by `save`, Hugging Face or sentence-transformers layout), or
                a hub id.
            max_length: Tokens per caption; capped at what the encoder was made for.
            frozen: Freeze it at once.
            layers: Join the hidden states of these layers, token by token, instead of the last one; 0 is the
                embeddings. The width grows with their number.

        Raises:
            AssetError: It cannot be found, reached or understood.
            ConfigError: A layer does not exist, or `max_length` leaves no room for a word.
        """
        if max_length is not None and max_length < 2:
            raise ConfigError(f"expected a max_length of at least 2; got {max_length}")
        source = resolve_source(source)
        with plain_errors(source, "text encoder"):
            record = read_encoder_record(source, "text")
            parts = library_of(LIBRARIES, source).load(source)
        saved = record or {"max_length": parts.max_length, "lowercase": parts.lowercase, "layers": layers}
        return cls(
            parts.model,
            parts.tokenizer,
            min(int(saved["max_length"]), max_length or int(saved["max_length"])),
            lowercase=bool(saved["lowercase"]),
            frozen=frozen,
            layers=saved.get("layers", layers),
        )

    @classmethod
    def tiny(cls, seed: int = 0, frozen: bool = True, layers: Sequence[int] = ()) -> Self:
        """Make a toy BERT, random weights a function of `seed`, and a tokenizer of letters; no network."""
        from edge_glass.encoders.text.transformers import tiny_text_parts

        parts = tiny_text_parts(seed)
        return cls(parts.model, parts.tokenizer, parts.max_length, frozen=frozen, layers=layers)


def describe_tokenizer(tokenizer: Any) -> str:
    """Return rules and vocabulary of a tokenizer as text, without the padding and truncation last used."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
        return f"{type(tokenizer).__name__} {vocabulary}"
    rules = json.loads(backend.to_str())
    return json.dumps({**rules, "padding": None, "truncation": None}, sort_keys=True)
