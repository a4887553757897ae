"""Causal language models of transformers from a hub id, a folder, a GGUF file or an asset; and a toy one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.decoders.gguf_files import find_gguf, is_unpacked, unpack, unpacked_folder
from edge_glass.decoders.quantization import keep_gradients, quantization_options
from edge_glass.encoders.features import inference
from edge_glass.encoders.sources import plain_errors, quiet_transformers, resolve_source

ATTENTIONS = {"sdpa": "sdpa", "flash": "flash_attention_2", "eager": "eager"}

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def load_causal_lm(
    source: str | Path,
    quantization: str | None = None,
    attention: str = "sdpa",
    dtype: torch.dtype = torch.float32,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer, without remote code.

    Args:
        source: `asset:NAME`, a folder, a `.gguf` file, or a hub id. A folder without config.json but with one
            `.gguf` file is read as GGUF: its weights are unpacked, and kept so, to be trained like any.
        quantization: None, 8bit or 4bit (NF4, doubly quantised), by bitsandbytes.
        attention: sdpa, flash or eager.
        dtype: Of the weights that are not quantised, and of the arithmetic of those that are.

    Returns:
        The model in eval mode and the tokenizer, which has padding and end ids that the model knows.

    Raises:
        ConfigError: The combination cannot run here.
        AssetError: It cannot be found, reached or understood, or tokenizer and model do not fit.
    """
    options = {**attention_options(attention), **quantization_options(quantization, dtype)}
    folder, gguf = _find(source)
    if gguf is not None and quantization is not None:
        raise ConfigError(
            f"quantization {quantization} of {gguf}: a GGUF file is unpacked when it is loaded; "
            "no quantization, or a folder of safetensors, would be right"
        )
    with plain_errors(str(source), "causal language model"), quiet_transformers():
        model, tokenizer, info = _load_parts(folder, gguf, dtype, options)
    keep_gradients(model)
    # transformers fills missing tensors with random numbers and only logs it.
    if lacking := sorted(map(str, [*info["missing_keys"], *info.get("mismatched_keys", ())])):
        raise AssetError(
            f"{str(source)!r} lacks weights of {type(model).__name__}: {len(lacking)} missing or of another "
            f"shape, such as {lacking[0]}"
        )
    fit_tokenizer(model, tokenizer, str(source))
    return model.eval(), tokenizer


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
            f"{source!r}: the tokenizer's token {token!r} has the id {highest}, but the model has "
            f"{rows} rows; a tokenizer of at most {rows} tokens would be right"
        )
    if tokenizer.eos_token_id is None:
        raise AssetError(f"the tokenizer of {source!r} has no end token; set eos_token in its config")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is always masked, so any known id will do


def _find(source: str | Path) -> tuple[str, Path | None]:
    """Folder or hub id, and the GGUF file that is to be read instead of the folder's usual files."""
    path = Path(source).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return str(path.parent), path
    folder = resolve_source(source)
    return folder, find_gguf(Path(folder))


def _load_parts(
    folder: str, gguf: Path | None, dtype: torch.dtype, options: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Model, tokenizer and transformers' loading report."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if gguf is not None:
        unpacked = unpacked_folder(gguf)
        if not is_unpacked(unpacked):
            model, tokenizer, info = unpack(gguf, unpacked, options["attn_implementation"])
            return model.to(dtype), tokenizer, info
        folder = str(unpacked)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, trust_remote_code=False, output_loading_info=True, **options
    )
    model, info = loaded
    return model, tokenizer, info


def attention_options(attention: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` for sdpa, flash or eager.

    Raises:
        ConfigError: Another name, or flash where it cannot run.
    """
    if attention not in ATTENTIONS:
        raise ConfigError(f"attention is {attention!r}; {', '.join(ATTENTIONS)} would be right")
    if attention == "flash":
        _require_gpu("attention flash")
        if importlib.util.find_spec("flash_attn") is None:
            raise ConfigError("attention flash needs the package flash-attn; sdpa needs nothing")
    return {"attn_implementation": ATTENTIONS[attention]}


def _require_gpu(what: str) -> None:
    if not torch.cuda.is_available():
        raise ConfigError(f"{what} needs an NVIDIA GPU, and torch finds none here")


def require_plain_head(lm: Any) -> None:
    """Refuse models that do more between the last layer and the logits than one linear map.

    Loss and merging run the head by itself; a soft cap or a factor after it would be left out in silence.
    """
    head = lm.get_output_embeddings()
    if head is None or lm.base_model is lm:
        raise ConfigError(f"decoder: {type(lm).__name__} has no LM head of its own, so it cannot be used")
    ids = torch.arange(2, device=lm.get_input_embeddings().weight.device)[None]
    with inference(lm):
        whole = lm(input_ids=ids, use_cache=False).logits
        parts = head(lm.base_model(input_ids=ids, use_cache=False).last_hidden_state)
    if not torch.allclose(whole.float(), parts.float(), rtol=1e-3, atol=1e-3):
        raise ConfigError(
            f"decoder: the logits of {type(lm).__name__} are not those of its linear head (a soft cap or a "
            "factor follows it), which is not supported"
        )


def checkpoint_layers(lm: Any) -> None:
    """Gradient checkpointing, non-reentrant: the only kind in which frozen inputs cut no gradients off."""
    enable = getattr(lm, "activation_checkpointing_enable", None) or lm.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False})
    except ValueError as error:
        raise ConfigError(f"decoder: {error}") from error
    lm.disable_input_require_grads()  # switched on for reentrant checkpointing; here it only costs memory


def tiny_causal_lm(seed: int, width: int = 32, layers: int = 2) -> tuple[nn.Module, Any]:
    """A toy Qwen2 with random weights, a function of `seed`, and a tokenizer of bytes; no network.

    Like the real ones it has more rows than its tokenizer has tokens.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = tiny_tokenizer()
    config = Qwen2Config(
        vocab_size=-(-len(tokenizer) // 16) * 16,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    return model.eval(), tokenizer


def tiny_tokenizer() -> Any:
    """A tokenizer of bytes with Qwen's special tokens and chat template, built in code."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pieces = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )
