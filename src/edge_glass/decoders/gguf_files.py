"""GGUF files: found in folders, unpacked once into a Hugging Face folder of the cache.

transformers takes half a minute to unpack a GGUF file of 135 M weights, and a second to load them from
safetensors; every command would pay that. What is kept is what was unpacked, in float32: four bytes a weight.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch

from edge_glass.assets import cache_root
from edge_glass.core.errors import AssetError
from edge_glass.core.files import atomic_folder

logger = logging.getLogger(__name__)

_COMPLETE = "unpacked.json"  # written last


def find_gguf(folder: Path) -> Path | None:
    """The GGUF file that a folder stands for; None for folders of the usual layout.

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
    """Where the unpacked form of this file (path, size, time of change) belongs in the cache."""
    status = gguf.stat()
    identity = f"1 {gguf.resolve()} {status.st_size} {status.st_mtime_ns}"
    name = f"{gguf.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    return cache_root() / "unpacked" / name


def is_unpacked(folder: Path) -> bool:
    """Whether the folder holds all that was written, by its sizes."""
    try:
        sizes = json.loads((folder / _COMPLETE).read_text(encoding="utf-8"))
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
    """The weights are plain numbers now: saved files must not say that they are packed."""
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
            (temporary / _COMPLETE).write_text(json.dumps(sizes), encoding="utf-8")
            if folder.exists() and not is_unpacked(folder):
                shutil.rmtree(folder)
    except OSError as error:  # another process may have been faster, too
        if not is_unpacked(folder):
            logger.warning("the unpacked weights are not kept in %s: %s", folder, error)
