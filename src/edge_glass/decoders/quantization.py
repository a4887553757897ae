"""Language models in 8 or 4 bits, by bitsandbytes (LLM.int8(), arXiv 2208.07339; QLoRA, arXiv 2305.14314)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from edge_glass.core.errors import ConfigError
from edge_glass.core.extras import optional_module

QUANTIZATIONS = ("8bit", "4bit")


def quantization_options(
    quantization: str | None, dtype: torch.dtype, skipped: Sequence[str] | None = None
) -> dict[str, Any]:
    """Arguments of `from_pretrained` for no, 8bit or 4bit (NF4, doubly quantised) quantization.

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
        raise ConfigError(f"quantization is {quantization!r}; none, 8bit or 4bit would be right")
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
