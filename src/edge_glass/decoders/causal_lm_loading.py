"""Causal language models of transformers from a hub id, a folder, a GGUF file or an asset; and a toy one.

transformers takes half a minute to unpack a GGUF file of 135 M weights, and a second to load them from
safetensors; every command would pay that. So a GGUF file is unpacked once, into a Hugging Face folder of the
cache, in float32: four bytes a weight.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_glass.assets import cache_root
from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.core.files import atomic_folder, file_state
from edge_glass.decoders.pretrained import (
    attention_options,
    fit_tokenizer,
    keep_gradients,
    quantization_options,
)
from edge_glass.encoders.features import inference
from edge_glass.encoders.sources import plain_errors, quiet_transformers, resolve_source

logger = logging.getLogger(__name__)

UNPACKED = "unpacked.json"  # written last: the folder is complete

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
    folder, gguf = _find_files(source)
    if gguf is not None and quantization is not None:
        raise ConfigError(
            f"quantization is {quantization}, but {gguf} is unpacked when it is loaded; set it to none, or "
            "give a folder of safetensors"
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


def _find_files(source: str | Path) -> tuple[str, Path | None]:
    """Return folder or hub id, and the GGUF file that is to be read instead of the folder's usual files."""
    path = Path(source).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return str(path.parent), path
    folder = resolve_source(source)
    return folder, find_gguf(Path(folder))


def _load_parts(
    folder: str, gguf: Path | None, dtype: torch.dtype, options: dict[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return model, tokenizer and transformers' loading report."""
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


def find_gguf(folder: Path) -> Path | None:
    """Return the GGUF file that a folder stands for; None for folders of the usual layout.

    Raises:
        AssetError: There are several.
    """
    if not folder.is_dir() or (folder / "config.json").is_file():
        return None
    files = sorted(folder.glob("*.gguf"))
    if len(files) > 1:
        raise AssetError(f"{folder} has {len(files)} GGUF files; name one, such as {files[0]}")
    return files[0] if files else None


def unpacked_folder(gguf: Path) -> Path:
    """Return where the unpacked form of this file (path, size, time of change) belongs in the cache."""
    identity = f"2 {gguf.resolve()} {file_state(gguf)}"
    name = f"{gguf.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    return cache_root() / "unpacked" / name


def is_unpacked(folder: Path) -> bool:
    """Return whether the folder holds all that was written, by its sizes."""
    try:
        sizes = json.loads((folder / UNPACKED).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def unpack(gguf: Path, folder: Path, attention: str) -> tuple[Any, Any, dict[str, Any]]:
    """Load model and tokenizer from a GGUF file in float32, and keep them in `folder` when there is room.

    Args:
        gguf: The file.
        folder: Where the unpacked form goes.
        attention: transformers' name of an attention.

    Returns:
        Model, tokenizer and transformers' loading report.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": gguf.name, "trust_remote_code": False}
    options: dict[str, Any] = {}
    try:  # newer versions would otherwise keep the weights packed where they have a kernel: not trainable
        from transformers import GgufConfig

        options["quantization_config"] = GgufConfig(dequantize=True)
    except ImportError:
        pass
    logger.info("unpacking %s (once)", gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        dtype=torch.float32,
        attn_implementation=attention,
        output_loading_info=True,
        **where,
        **options,
    )
    model, report = loaded
    _forget_packing(model)
    _keep(model, tokenizer, folder)
    return model, tokenizer, report


def _forget_packing(model: Any) -> None:
    """Say in the configuration that the weights are plain numbers now: saved files must not say otherwise."""
    model.hf_quantizer = None
    for name in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.__dict__.pop("quantization_method", None)


def _keep(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the unpacked form beside its place and rename it; without room or permission, log and go on."""
    try:
        with atomic_folder(folder, replace=False) as temporary:
            needed = 4 * sum(parameter.numel() for parameter in model.parameters())
            if shutil.disk_usage(temporary).free < 2 * needed:
                raise OSError(f"{needed / 1e6:,.0f} MB would be needed twice")
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            sizes = {file.name: file.stat().st_size for file in temporary.iterdir()}
            (temporary / UNPACKED).write_text(json.dumps(sizes), encoding="utf-8")
            if folder.exists() and not is_unpacked(folder):
                shutil.rmtree(folder)
    except OSError as error:  # another process may have been faster, too
        if not is_unpacked(folder):
            logger.warning("the unpacked weights are not kept in %s: %s", folder, error)


def tiny_causal_lm(seed: int, width: int = 32, layers: int = 2) -> tuple[nn.Module, Any]:
    """Build a toy Qwen2 with random weights, a function of `seed`, and a tokenizer of bytes.

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
    """Build a tokenizer of bytes with Qwen's special tokens and chat template, built in code."""
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
