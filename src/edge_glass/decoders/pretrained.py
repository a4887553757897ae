"""What pretrained models of transformers have in common: how they are loaded, adapted, and made to write.

Language models stand behind `QwenDecoder`, vision-language models behind `DetectionModel`; both are a
`PretrainedModel`. Quantised weights are those of bitsandbytes (LLM.int8(), arXiv 2208.07339; QLoRA, arXiv
2305.14314).
"""

from __future__ import annotations

import importlib.util
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import AssetError, CheckpointError, ConfigError
from edge_glass.core.extras import optional_module
from edge_glass.decoders.decoder import DecoderOutput, check_names_and_shapes
from edge_glass.decoders.lora import LoraAdapter
from edge_glass.decoders.supervised_head import Supervision, supervised_cross_entropy
from edge_glass.encoders.features import inference

MODES = ("frozen", "lora", "full")
ATTENTIONS = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}
QUANTIZATIONS = ("8bit", "4bit")


class PretrainedModel(nn.Module, ABC):
    """A model of transformers that is frozen, adapted with LoRA, or trained.

    Args:
        model: Of transformers. With LoRA, peft's layers stand inside it.
        tokenizer: Fast, with pad and end ids.
        mode: frozen, lora or full: what is trained.

    Attributes:
        holder: Name of the attribute that the model of transformers stands in.
        section: Of the experiment file, for messages.
        adapter: The LoRA adapters, else None.
        vocabulary: Rows of the LM head.
        known: `[vocabulary]` bool, True at the ids of the tokenizer: there may be fewer of them than rows.

    Raises:
        ConfigError: An unknown mode, or quantised weights that are to be trained.
    """

    holder: ClassVar[str]
    section: ClassVar[str]
    known: Tensor
    adapter: LoraAdapter | None = None

    def __init__(self, model: Any, tokenizer: Any, mode: str) -> None:
        super().__init__()
        check_mode(self.section, mode, getattr(model, "is_quantized", False))
        setattr(self, self.holder, model)
        self.tokenizer, self.mode = tokenizer, mode
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        known = torch.zeros(self.vocabulary, dtype=torch.bool)
        known[list(tokenizer.get_vocab().values())] = True
        self.register_buffer("known", known.to(self.device), persistent=False)

    @abstractmethod
    def sample_logits(self) -> Tensor:
        """Return logits of some words from all over the vocabulary, in which every adapter has a say."""

    @property
    def pretrained(self) -> Any:
        """Return the model of transformers."""
        return getattr(self, self.holder)

    @property
    def head(self) -> Any:
        """Return the LM head."""
        return self.pretrained.get_output_embeddings()

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.pretrained.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of its frozen weights."""
        dtype: torch.dtype = self.pretrained.dtype
        return dtype

    def supervised_loss(self, hidden: Tensor, supervision: Supervision) -> DecoderOutput:
        """Return the summed loss of hidden states `[B, S, D]`; the head runs on supervised positions only."""
        loss, correct = supervised_cross_entropy(hidden, self.head, self.vocabulary, supervision)
        count = torch.tensor(len(supervision.targets), device=loss.device)
        return DecoderOutput(loss, count, {"correct": correct.sum()})

    def logits_at(self, hidden: Tensor, supervision: Supervision) -> Tensor:
        """Return logits float32 `[K, V]` of hidden states `[B, S, D]` at the K supervised positions."""
        return self.head(hidden[supervision.rows, supervision.positions]).float()

    @contextmanager
    def ready_to_write(self) -> Iterator[None]:
        """Hold the model in eval mode, and its frozen weights in the dtype of the caller's autocast."""
        kind = self.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with weights_in(self.pretrained, dtype), inference(self, dtype):
            yield

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """Return the trained parameters by their names in memory, tied ones once; memory is shared."""
        return {name: p.detach() for name, p in self.named_parameters() if p.requires_grad}

    def load_trainable_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Load what `trainable_state_dict` gave.

        Raises:
            CheckpointError: A tensor is missing, unknown or of another shape; nothing was loaded then.
        """
        own = self.trainable_state_dict()
        check_names_and_shapes(own, state, f"{self.section} ({self.mode})")
        for name, tensor in own.items():
            tensor.copy_(state[name])

    def merge(self, bound: float = 1e-3, logits: Callable[[], Tensor] | None = None) -> float:
        """Add the adapters to the weights; the model is a plain frozen one afterwards.

        Args:
            bound: Largest difference allowed, as a share of the largest logit.
            logits: What is compared; by default `sample_logits`.

        Returns:
            The largest difference of logits, merged against unmerged, as a share of the largest logit.

        Raises:
            CheckpointError: There is no adapter, or the difference is beyond `bound`; the adapters stay
                then, and the weights are as they were up to rounding.
        """
        plain, difference = self.require_adapter().merge(logits or self.sample_logits, bound)
        setattr(self, self.holder, plain.requires_grad_(False))
        self.adapter, self.mode = None, "frozen"
        self.train(self.training)
        return difference

    def require_adapter(self) -> LoraAdapter:
        """Return the adapters.

        Raises:
            CheckpointError: There are none.
        """
        if self.adapter is None:
            raise CheckpointError(
                f"expected adapters in the model, got none: {self.section}.mode is {self.mode}, not lora"
            )
        return self.adapter


def check_mode(section: str, mode: str, quantised: bool) -> None:
    """Refuse a mode that there is not, or that cannot train quantised weights.

    Raises:
        ConfigError: One of the two.
    """
    if mode not in MODES:
        raise ConfigError(f"{section}.mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if mode == "full" and quantised:
        raise ConfigError(
            f"{section}.mode is full, but quantised weights cannot be trained; set mode to lora, or "
            "quantization to none"
        )


# Loading


def attention_options(attention: str) -> dict[str, Any]:
    """Return arguments of `from_pretrained` for sdpa, flash or eager.

    Raises:
        ConfigError: Another name, or flash where it cannot run.
    """
    if attention not in ATTENTIONS:
        raise ConfigError(f"attention: expected one of {', '.join(ATTENTIONS)}, got {attention!r}")
    if attention == "flash":
        _require_gpu("attention flash")
        if importlib.util.find_spec("flash_attn") is None:
            raise ConfigError("attention flash needs the package flash-attn; sdpa needs nothing")
    return {"attn_implementation": ATTENTIONS[attention]}


def _require_gpu(what: str) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(f"{what} needs an NVIDIA GPU, and torch finds none here")


def quantization_options(
    quantization: str | None, dtype: torch.dtype, skipped: Sequence[str] | None = None
) -> dict[str, Any]:
    """Return arguments of `from_pretrained` for no, 8bit or 4bit (NF4, doubly quantised) quantization.

    The weights go to the GPU, or stay on the CPU where there is none: that works, slowly.

    Args:
        quantization: None, 8bit or 4bit.
        dtype: Of the arithmetic of 4bit weights.
        skipped: Names of modules that stay as they are; the library's choice when None.

    Raises:
        ConfigError: Another name, or no bitsandbytes.
    """
    if quantization is None:
        return {}
    if quantization not in QUANTIZATIONS:
        raise ConfigError(f"quantization: expected none, 8bit or 4bit, got {quantization!r}")
    # It tells of a cast or of a missing kernel at every layer, and of nothing that a user could change.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    optional_module("bitsandbytes", "quantization")
    from transformers import BitsAndBytesConfig

    names = None if skipped is None else list(skipped)
    if quantization == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=names)
    else:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            llm_int8_skip_modules=names,  # of 4bit too, whatever it is called
        )
    device: int | str = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    return {"quantization_config": config, "device_map": {"": device}}


def keep_gradients(model: nn.Module) -> None:
    """Let 4bit layers on a CPU pass gradients on after they have answered.

    On processors with AVX512-BF16 bitsandbytes (0.50) packs a layer anew when it first answers, into a form
    that it cannot differentiate: a model that was measured before training could not be trained any more.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def fit_tokenizer(model: Any, tokenizer: Any, source: str) -> None:
    """Check that the model has a row for every token, and give the tokenizer a padding id if it has none.

    A model with more rows than the tokenizer has tokens is common (rows are rounded up) and fine.

    Raises:
        AssetError: A token without a row, or no end token.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= rows:
        raise AssetError(
            f"{source!r}: expected ids below {rows}, the model's rows, from its tokenizer; the id of "
            f"{token!r} is {highest}"
        )
    if tokenizer.eos_token_id is None:
        raise AssetError(f"the tokenizer of {source!r} has no end token; set eos_token in its config")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is always masked, so any known id will do


def checkpoint_layers(lm: Any) -> None:
    """Switch on gradient checkpointing, non-reentrant: frozen inputs cut off no gradients then."""
    enable = getattr(lm, "activation_checkpointing_enable", None) or lm.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"decoder: {error}") from error
    lm.disable_input_require_grads()  # switched on for reentrant checkpointing; here it only costs memory


# Writing


def only_writable(logits: Tensor, forbidden: Tensor, ends: Sequence[int]) -> Tensor:
    """Return `[B, V]` without the forbidden ids, and with one end that has the probability of all ends."""
    logits = logits.masked_fill(forbidden, -torch.inf)
    end, *others = ends
    if others:  # whichever end it is, the answer has ended
        logits[:, end] = logits[:, [end, *others]].logsumexp(dim=1)
        logits[:, others] = -torch.inf
    return logits


def cast_head(head: Any, kind: str) -> Callable[[Tensor], Tensor]:
    """Return the LM head in the dtype of autocast, which would cast it anew in each step."""
    if not torch.is_autocast_enabled(kind) or head.weight.dtype != torch.float32:
        return head
    weight = head.weight.to(torch.get_autocast_dtype(kind))
    return lambda hidden: F.linear(hidden, weight, head.bias)


def stop_ids(lm: Any, tokenizer: Any) -> list[int]:
    """Return tokens that always end an answer: the tokenizer's end, and those the model's authors name."""
    named = getattr(lm.generation_config, "eos_token_id", None)
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    known = [int(end) for end in named if tokenizer.convert_ids_to_tokens(int(end)) is not None]
    return sorted({int(tokenizer.eos_token_id), *known})


@contextmanager
def weights_in(lm: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Hold frozen float32 weights of linear layers in `dtype` meanwhile.

    Autocast casts frozen weights anew whenever they are used, which takes longer than a step of generation.
    """
    # What is looked up in an embedding is what all layers add to: it stays as it is.
    tables = {id(layer.weight) for layer in lm.modules() if isinstance(layer, nn.Embedding)}
    kept = [
        (layer.weight, layer.weight.data)
        for layer in lm.modules()
        if isinstance(layer, nn.Linear)
        and layer.weight.dtype == torch.float32
        and not (layer.weight.requires_grad or id(layer.weight) in tables)
    ]
    try:
        for weight, data in kept:
            weight.data = data.to(dtype)
        yield
    finally:
        for weight, data in kept:
            weight.data = data
