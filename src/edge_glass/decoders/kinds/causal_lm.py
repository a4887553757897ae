"""`QwenDecoder`: any causal language model of transformers, frozen, with LoRA or trained in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.decoders.causal_lm_loading import load_causal_lm, require_plain_head, tiny_causal_lm
from edge_glass.decoders.decoder import (
    DecoderKind,
    DecoderOutput,
    Generation,
    GenerationSettings,
    OnToken,
    Prefix,
    join,
    join_labels,
)
from edge_glass.decoders.generation import generate, pack_right, stream_text
from edge_glass.decoders.lora import LoraAdapter, LoraSettings
from edge_glass.decoders.pretrained import (
    PretrainedModel,
    cast_head,
    check_mode,
    checkpoint_layers,
    fit_tokenizer,
    only_writable,
    stop_ids,
)
from edge_glass.decoders.supervised_head import find_supervision
from edge_glass.encoders.features import inference
from edge_glass.migrating import takes_old_calls

WORTH_A_PASS = 64  # tokens that need not be read; a pass of its own has to fetch all weights


class QwenDecoder(PretrainedModel):
    """A causal language model behind the interface of `Decoder`; Qwen, Llama, SmolLM, GPT-2 and the like.

    Attributes:
        lm: The model of transformers; see `PretrainedModel`, also for the other attributes.
        width: Numbers per embedding.
        max_length: Most tokens at once, prefix included.
    """

    holder: ClassVar[str] = "lm"
    section: ClassVar[str] = "decoder"
    prefix_first: ClassVar[bool] = False  # its first token is an attention sink
    lm: Any

    @takes_old_calls('QwenDecoder.load(source, quantization="4bit", lora=LoraSettings(rank=…, alpha=…))')
    def __init__(
        self,
        lm: Any,
        tokenizer: Any,
        *,
        mode: str = "lora",
        lora: LoraSettings | None = None,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        if mode != "lora" and lora is not None:
            raise ConfigError(f"decoder.mode is {mode}, but lora settings are given; expected mode lora")
        super().__init__(lm, tokenizer, mode)
        fit_tokenizer(lm, tokenizer, type(lm).__name__)
        require_plain_head(lm)
        self.width = int(lm.get_input_embeddings().weight.shape[1])
        self.max_length = int(getattr(lm.config, "max_position_embeddings", None) or 2**31)
        self.gradient_checkpointing = gradient_checkpointing
        lm.requires_grad_(mode == "full")
        self.adapter = LoraAdapter(lm, lora or LoraSettings(), seed) if mode == "lora" else None
        if gradient_checkpointing:
            checkpoint_layers(lm)
        self.train(self.training)

    @property
    def embedding_rms(self) -> float:
        """Return the root mean square of the embeddings of known tokens: the scale a prefix should have."""
        weight = self.lm.get_input_embeddings().weight.detach()
        return float(weight[self.known.nonzero()[:, 0]].float().square().mean().sqrt())

    def train(self, mode: bool = True) -> Self:
        """Switch mode, except that a frozen language model stays in eval mode: dropout is no part of it."""
        super().train(mode)
        if self.mode == "frozen":
            self.lm.eval()
            if self.gradient_checkpointing:  # which transformers does in layers in training mode only
                for module in self.lm.modules():
                    if hasattr(module, "gradient_checkpointing"):
                        module.training = mode
        return self

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Map `[B, L]` int64 → `[B, L, width]`."""
        return self.lm.get_input_embeddings()(ids)

    def forward(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> DecoderOutput:
        """Return the loss of a batch, as `Decoder.forward`; padding may stand anywhere and changes nothing.

        Raises:
            ConfigError: More tokens than the model has positions, or a prefix of another width.
        """
        embeddings, seen = self.join(prefix, ids, mask)
        supervision = find_supervision(seen, join_labels(prefix, mask, labels))
        return self.supervised_loss(self.hidden_states(embeddings, seen), supervision)

    def supervised_logits(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Return logits float32 `[K, V]` (see `Decoder.supervised_logits`)."""
        embeddings, seen = self.join(prefix, ids, mask)
        supervision = find_supervision(seen, join_labels(prefix, mask, labels))
        return self.logits_at(self.hidden_states(embeddings, seen), supervision)

    def join(self, prefix: Prefix | None, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Join prefix and text to embeddings `[B, P + L, width]`, zero at padding, with their mask."""
        if prefix is not None and prefix.tokens.shape[-1] != self.width:
            raise ConfigError(
                f"decoder: expected a prefix that is {self.width} wide, got {prefix.tokens.shape[-1]}"
            )
        embeddings, mask = join(prefix, self.embed_tokens(ids), mask)
        longest = int(mask.sum(dim=1).max()) if len(mask) else 0
        if longest > self.max_length:
            raise ConfigError(f"decoder: a row has {longest} tokens; there are {self.max_length} positions")
        return embeddings.masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def hidden_states(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, S, width]`, `[B, S]` bool → what the LM head reads, `[B, S, width]`."""
        if not embeddings.shape[0] or not embeddings.shape[1]:
            # Not every layer takes an empty batch; the sum keeps trained weights in the graph of every rank.
            return embeddings + 0.0 * sum(p.sum() for p in self.lm.parameters() if p.requires_grad)
        output = self.lm.base_model(
            inputs_embeds=embeddings,
            attention_mask=mask.long(),
            position_ids=(mask.long().cumsum(dim=1) - 1).clamp(min=0),
            use_cache=False,
        )
        return output.last_hidden_state

    def generate(
        self,
        prefix: Prefix | None,
        ids: Tensor,
        mask: Tensor,
        settings: GenerationSettings,
        on_token: OnToken | None = None,
    ) -> Generation:
        """Write answers, as `Decoder.generate`. Padding may stand on either side.

        Ids the tokenizer does not know are never written. Beside `settings.end`, the tokenizer's end of text
        and the ends that the model's authors name end an answer.

        Raises:
            ConfigError: Prompt and answer are more tokens than the model has positions.
            DataError: A row has neither a prefix nor a prompt.
        """
        end = settings.end_for(self.tokenizer)
        with self.ready_to_write():
            embeddings, seen = self.join(prefix, ids, mask)
            lengths = seen.sum(dim=1)
            if len(lengths) and not lengths.all():
                raise DataError(f"row {int(lengths.argmin())} has neither a prefix nor a prompt to answer")
            longest = int(lengths.max()) + settings.max_new_tokens if len(lengths) else 0
            if longest > self.max_length:
                raise ConfigError(
                    f"decoder: prompt and answer may take {longest} tokens; there are {self.max_length} "
                    "positions"
                )
            ends = [end, *stop_ids(self.lm, self.tokenizer)]
            steps = CausalSteps(self.lm, embeddings, seen, self.known, ends)
            return generate(steps, settings, end, self.tokenizer.pad_token_id, on_token)

    def stream(
        self, prefix: Prefix | None, ids: Tensor, mask: Tensor, settings: GenerationSettings
    ) -> Iterator[str]:
        """Yield the answer to one prompt, piece by piece as it is written; see `stream_text`."""
        return stream_text(self, prefix, ids, mask, settings)

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapters alone, see `LoraAdapter.save`."""
        self.require_adapter().save(folder)

    def load_adapter(self, folder: str | Path) -> None:
        """Load adapters, see `LoraAdapter.load`."""
        self.require_adapter().load(folder)

    def sample_logits(self) -> Tensor:
        """Return logits of 16 fixed tokens from all over the vocabulary, float32 `[16, V]`."""
        known = self.known.nonzero()[:, 0]
        ids = known[len(known) * torch.arange(16, device=self.device) // 16][None]
        with inference(self):
            embeddings, mask = self.join(None, ids, torch.ones_like(ids, dtype=torch.bool))
            return self.lm.get_output_embeddings()(self.hidden_states(embeddings, mask)[0]).float()

    def save(self, folder: str | Path) -> None:
        """Write the language model as a plain Hugging Face folder, which `load` and transformers can read.

        Raises:
            CheckpointError: There are adapters in it: `merge` them, or `save_adapter`.
        """
        if self.adapter is not None:
            raise CheckpointError(
                "a decoder with adapters is no plain model; merge it first, or save_adapter"
            )
        self.lm.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    @classmethod
    def load(
        cls,
        source: str | Path,
        mode: str = "lora",
        lora: LoraSettings | None = None,
        quantization: str | None = None,
        attention: str = "sdpa",
        gradient_checkpointing: bool = False,
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> Self:
        """Load a decoder.

        Args:
            source: `asset:NAME`, a folder (safetensors or GGUF), a `.gguf` file, or a hub id.
            mode: frozen, lora or full.
            lora: How the model is adapted; the defaults of `LoraSettings` when None.
            quantization: None, 8bit or 4bit, by bitsandbytes.
            attention: sdpa, flash (needs flash-attn and a GPU) or eager.
            gradient_checkpointing: Compute the layers' insides again in the backward pass, to save memory.
            dtype: Of the weights that are not quantised.
            seed: Of the adapters' random half.

        Raises:
            ConfigError: A setting that is wrong or cannot run here, a LoRA target that matches nothing.
            AssetError: It cannot be found, reached or understood, or tokenizer and model do not fit.
        """
        check_mode(cls.section, mode, quantization is not None)  # before minutes are spent on loading
        lm, tokenizer = load_causal_lm(source, quantization, attention, dtype)
        return cls(
            lm, tokenizer, mode=mode, lora=lora, gradient_checkpointing=gradient_checkpointing, seed=seed
        )

    @classmethod
    def tiny(
        cls,
        seed: int = 0,
        mode: str = "lora",
        lora: LoraSettings | None = None,
        gradient_checkpointing: bool = False,
    ) -> Self:
        """Build a toy Qwen2 with random weights, a function of `seed`, and a tokenizer of bytes."""
        lm, tokenizer = tiny_causal_lm(seed)
        return cls(
            lm, tokenizer, mode=mode, lora=lora, gradient_checkpointing=gradient_checkpointing, seed=seed
        )


class CausalSteps:
    """A batch of prompts that grows word by word (`generation.Steps`).

    What all rows begin with, such as a system prompt, is read once. The real tokens behind it are moved to
    the right, so that all rows are continued at the same place; the mask hides the padding before them, and
    positions count real tokens only.

    Args:
        lm: A causal language model of transformers.
        embeddings: `[B, S, D]`, zero at padding.
        mask: `[B, S]` bool; at least one real token in each row.
        known: `[V]` bool; the other ids are never written.
        ends: Tokens that end an answer. The first stands for all of them: the others are never written.
    """

    def __init__(self, lm: Any, embeddings: Tensor, mask: Tensor, known: Tensor, ends: Sequence[int]) -> None:
        self.lm = lm
        count = shared_opening(embeddings, mask) if _shares_cache(lm) else 0
        self.opening = embeddings[:1][mask[:1]][None, :count]
        self.embeddings, mask = pack_right(embeddings, mask & (mask.cumsum(dim=1) > count))
        self.mask = F.pad(mask.long(), (count, 0), value=1)
        self.length = self.mask.sum(dim=1)
        self.cache: Any = None
        self.ends = list(dict.fromkeys(ends))
        self.forbidden = ~known
        self.head = cast_head(lm.get_output_embeddings(), embeddings.device.type)

    def start(self) -> Tensor:
        """Read the prompts; the logits of the first word, `[B, V]`."""
        if not len(self.embeddings):
            return self.embeddings.new_zeros(0, len(self.forbidden))
        count = self.opening.shape[1]
        if count:
            self.cache = self.lm.base_model(inputs_embeds=self.opening, use_cache=True).past_key_values
            self.cache.batch_repeat_interleave(len(self.embeddings))
        positions = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, count:]
        return self._run(positions, inputs_embeds=self.embeddings)

    def step(self, tokens: Tensor) -> Tensor:
        """Append `tokens` `[B]`; the logits of the next word, `[B, V]`."""
        self.mask = F.pad(self.mask, (0, 1), value=1)
        positions = self.length[:, None]
        self.length = self.length + 1
        return self._run(positions, input_ids=tokens[:, None])

    def reorder(self, rows: Tensor) -> None:
        """Continue row i as row `rows[i]` was; there may be more rows afterwards, or fewer."""
        self.mask, self.length = self.mask[rows], self.length[rows]
        if self.cache is not None:
            self.cache.reorder_cache(rows)

    def _run(self, positions: Tensor, **inputs: Tensor) -> Tensor:
        output = self.lm.base_model(
            **inputs,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.cache = output.past_key_values
        return only_writable(self.head(output.last_hidden_state[:, -1]).float(), self.forbidden, self.ends)


def shared_opening(embeddings: Tensor, mask: Tensor) -> int:
    """Count first real tokens that all rows share, where reading them once pays; each row keeps one.

    Args:
        embeddings: `[B, S, D]`.
        mask: `[B, S]` bool.
    """
    if len(mask) < 2:
        return 0
    order = torch.argsort((~mask).long(), dim=1, stable=True)
    packed = embeddings.gather(1, order[..., None].expand_as(embeddings))
    same = (packed == packed[:1]).all(dim=2).all(dim=0)
    count = min(int(same.long().cumprod(dim=0).sum()), int(mask.sum(dim=1).min()) - 1)
    return count if count * (len(mask) - 1) >= WORTH_A_PASS else 0


def _shares_cache(lm: Any) -> bool:
    """Return whether all layers attend to all there is; a window would count padding too."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = DynamicCache(config=lm.config.get_text_config(decoder=True)).layers
    return all(type(layer) is DynamicLayer for layer in layers)


class CausalLMKind(DecoderKind):
    """`decoder.kind: causal_lm`."""

    pretrained = True

    def build(self, config: Any, tokenizer: Any = None) -> QwenDecoder:
        """Return the language model of the experiment, with fresh adapters in mode lora."""
        decoder = config.decoder
        lora = LoraSettings(**decoder.lora.model_dump()) if decoder.mode == "lora" else None
        if config.tiny:
            return QwenDecoder.tiny(config.seed, decoder.mode, lora, decoder.gradient_checkpointing)
        return QwenDecoder.load(
            decoder.source,
            mode=decoder.mode,
            lora=lora,
            quantization=None if decoder.quantization == "none" else decoder.quantization,
            attention=decoder.attention,
            gradient_checkpointing=decoder.gradient_checkpointing,
            dtype=getattr(torch, decoder.dtype),
            seed=config.seed,
        )

    def save(self, decoder: Any, folder: Path) -> None:
        """Write the tokenizer, and the adapter in peft's form. The language model is named, not copied."""
        super().save(decoder, folder)
        if decoder.adapter is not None:
            decoder.save_adapter(folder)

    def load(self, config: Any, folder: Path) -> QwenDecoder:
        """Rebuild it from its source; a merged one is a plain language model in the folder above."""
        if folder.is_dir():
            return self.build(config)
        decoder = config.decoder
        return QwenDecoder.load(
            folder.parent, mode="frozen", attention=decoder.attention, dtype=getattr(torch, decoder.dtype)
        )


KIND = CausalLMKind()
