"""`QwenDecoder`: any causal language model of transformers, frozen, with LoRA or trained in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from edge_glass.core.errors import CheckpointError, ConfigError, DataError
from edge_glass.decoders.causal_lm_generation import CausalSteps, stop_ids, weights_in
from edge_glass.decoders.causal_lm_loading import (
    checkpoint_layers,
    fit_tokenizer,
    load_causal_lm,
    require_plain_head,
    tiny_causal_lm,
)
from edge_glass.decoders.decoder import (
    DecoderKind,
    DecoderOutput,
    Generation,
    GenerationSettings,
    OnToken,
    Prefix,
    check_names_and_shapes,
    join,
    join_labels,
)
from edge_glass.decoders.generation import generate, stream_text
from edge_glass.decoders.lora import LoraAdapter, LoraSettings
from edge_glass.decoders.supervised_head import find_supervision, supervised_cross_entropy
from edge_glass.encoders.features import inference
from edge_glass.migrating import takes_old_calls

MODES = ("frozen", "lora", "full")


class QwenDecoder(nn.Module):
    """A causal language model behind the interface of `Decoder`; Qwen, Llama, SmolLM, GPT-2 and the like.

    Attributes:
        lm: The transformers model; with LoRA, peft's layers stand inside it.
        mode: frozen, lora or full: what is trained.
        adapter: The LoRA adapters, else None.
        width: Numbers per embedding.
        vocabulary: Rows of the LM head.
        tokenizer: Fast tokenizer with pad and end ids.
        max_length: Most tokens at once, prefix included.
        known: `[vocabulary]` bool, True at the ids of the tokenizer: there may be fewer of them than rows.
    """

    prefix_first: ClassVar[bool] = False  # its first token is an attention sink
    known: Tensor

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
        super().__init__()
        if mode not in MODES:
            raise ConfigError(f"decoder: mode is {mode!r}; {', '.join(MODES)} would be right")
        if mode != "lora" and lora is not None:
            raise ConfigError(f"decoder: lora settings with mode {mode}; mode lora would be right")
        if mode == "full" and getattr(lm, "is_quantized", False):
            raise ConfigError("decoder: mode full cannot train quantised weights; mode lora would be right")
        fit_tokenizer(lm, tokenizer, type(lm).__name__)
        require_plain_head(lm)
        self.lm = lm
        self.mode = mode
        self.tokenizer = tokenizer
        self.width = int(lm.get_input_embeddings().weight.shape[1])
        self.vocabulary = int(lm.get_output_embeddings().weight.shape[0])
        self.max_length = int(getattr(lm.config, "max_position_embeddings", None) or 2**31)
        known = torch.zeros(self.vocabulary, dtype=torch.bool)
        known[list(tokenizer.get_vocab().values())] = True
        self.register_buffer("known", known.to(self.device), persistent=False)
        self.gradient_checkpointing = gradient_checkpointing
        lm.requires_grad_(mode == "full")
        self.adapter = LoraAdapter(lm, lora or LoraSettings(), seed) if mode == "lora" else None
        if gradient_checkpointing:
            checkpoint_layers(lm)
        self.train(self.training)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm.get_input_embeddings().weight.device

    @property
    def embedding_rms(self) -> float:
        """Root mean square of the embeddings of the tokens there are: the scale a prefix should have."""
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
        """`[B, L]` int64 → `[B, L, width]`."""
        return self.lm.get_input_embeddings()(ids)

    def forward(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> DecoderOutput:
        """The loss of a batch, as `Decoder.forward`; padding may stand anywhere and changes nothing.

        Raises:
            ConfigError: More tokens than the model has positions, or a prefix of another width.
        """
        embeddings, seen = self.join(prefix, ids, mask)
        supervision = find_supervision(seen, join_labels(prefix, mask, labels))
        hidden = self.hidden_states(embeddings, seen)
        loss, correct = supervised_cross_entropy(
            hidden, self.lm.get_output_embeddings(), self.vocabulary, supervision
        )
        count = torch.tensor(len(supervision.targets), device=loss.device)
        return DecoderOutput(loss, count, {"correct": correct.sum()})

    def supervised_logits(self, prefix: Prefix | None, ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        """Logits float32 `[K, V]` (see `Decoder.supervised_logits`)."""
        embeddings, seen = self.join(prefix, ids, mask)
        supervision = find_supervision(seen, join_labels(prefix, mask, labels))
        hidden = self.hidden_states(embeddings, seen)[supervision.rows, supervision.positions]
        return self.lm.get_output_embeddings()(hidden).float()

    def join(self, prefix: Prefix | None, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Prefix and text as one row of embeddings `[B, P + L, width]` with its mask; zero at padding."""
        if prefix is not None and prefix.tokens.shape[-1] != self.width:
            raise ConfigError(
                f"decoder: the prefix is {prefix.tokens.shape[-1]} wide; {self.width} would be right"
            )
        embeddings, mask = join(prefix, self.embed_tokens(ids), mask)
        longest = int(mask.sum(dim=1).max()) if len(mask) else 0
        if longest > self.max_length:
            raise ConfigError(f"decoder: a row has {longest} tokens; there are {self.max_length} positions")
        return embeddings.masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def hidden_states(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        """`[B, S, width]`, `[B, S]` bool → what the LM head reads, `[B, S, width]`."""
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
        """Answers, as `Decoder.generate`. Padding may stand on either side.

        Ids the tokenizer does not know are never written. Beside `settings.end`, the tokenizer's end of text
        and the ends that the model's authors name end an answer.

        Raises:
            ConfigError: Prompt and answer are more tokens than the model has positions.
            DataError: A row has neither a prefix nor a prompt.
        """
        end = settings.end_for(self.tokenizer)
        kind = self.device.type  # the caller's autocast is kept
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with weights_in(self.lm, dtype), inference(self, dtype):
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
        """The answer to one prompt, piece by piece as it is written; see `stream_text`."""
        return stream_text(self, prefix, ids, mask, settings)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """The tensors that are trained, by name: adapters, all, or none. Tied ones are named once."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `trainable_state_dict` gave.

        Raises:
            CheckpointError: A tensor is missing, unknown or of another shape; nothing was loaded then.
        """
        own = self.trainable_state_dict()
        check_names_and_shapes(own, state, f"decoder ({self.mode})")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def save_adapter(self, folder: str | Path) -> None:
        """Write the adapters alone, see `LoraAdapter.save`."""
        self._require_adapter().save(folder)

    def load_adapter(self, folder: str | Path) -> None:
        """Load adapters, see `LoraAdapter.load`."""
        self._require_adapter().load(folder)

    def merge(self, bound: float = 1e-3, logits: Callable[[], Tensor] | None = None) -> float:
        """Add the adapters to the weights; the decoder is a plain frozen one afterwards.

        Args:
            bound: Largest difference allowed, as a share of the largest logit.
            logits: What is compared; by default the logits of 16 tokens from all over the vocabulary.

        Returns:
            The largest difference of logits, merged against unmerged, as a share of the largest logit.

        Raises:
            CheckpointError: There is no adapter, or the difference is beyond `bound`; the adapters stay
                then, and the weights are as they were up to rounding.
        """
        adapter = self._require_adapter()
        self.lm, difference = adapter.merge(logits or self._sample_logits, bound)
        self.lm.requires_grad_(False)
        self.adapter, self.mode = None, "frozen"
        self.train(self.training)
        return difference

    def _require_adapter(self) -> LoraAdapter:
        if self.adapter is None:
            raise CheckpointError(
                f"the decoder's mode is {self.mode}: it has no adapter; lora would have one"
            )
        return self.adapter

    def _sample_logits(self) -> Tensor:
        """Logits of 16 fixed tokens from all over the vocabulary, float32 `[16, V]`."""
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
        if mode not in MODES:  # before minutes are spent on loading
            raise ConfigError(f"decoder: mode is {mode!r}; {', '.join(MODES)} would be right")
        if mode == "full" and quantization is not None:
            raise ConfigError(
                f"decoder: {quantization} weights cannot be trained in full; mode lora would be right"
            )
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
        """A toy Qwen2 with random weights, a function of `seed`, and a tokenizer of bytes; no network."""
        lm, tokenizer = tiny_causal_lm(seed)
        return cls(
            lm, tokenizer, mode=mode, lora=lora, gradient_checkpointing=gradient_checkpointing, seed=seed
        )


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
