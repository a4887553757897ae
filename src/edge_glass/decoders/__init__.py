"""Features and words → words: decoders that answer. They are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Decoder": "decoder",
    "DecoderOutput": "decoder",
    "Generation": "decoder",
    "GenerationSettings": "decoder",
    "LoraSettings": "lora",
    "PlainConfig": "kinds.plain",
    "PlainDecoder": "kinds.plain",
    "Projector": "projector",
    "QwenDecoder": "kinds.causal_lm",
    "TRMConfig": "kinds.trm",
    "TRMDecoder": "kinds.trm",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_HOMES)
