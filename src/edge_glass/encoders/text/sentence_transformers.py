"""Folders in the layout of sentence-transformers: where the model is, and limits of its own.

Model and tokenizer are used directly: importing sentence_transformers takes 7 seconds.
"""

from __future__ import annotations

from dataclasses import replace

from edge_glass.encoders.sources import read_source_json
from edge_glass.encoders.text import transformers
from edge_glass.encoders.text.transformers import TextParts


def recognises(source: str) -> bool:
    """Say whether `source` has a file that only sentence-transformers writes."""
    return any(read_source_json(source, name) for name in ("modules.json", "sentence_bert_config.json"))


def load(source: str) -> TextParts:
    """Load from a folder or hub id. Its pooling is not read: pooling is ours.

    Raises:
        AssetError: As for `transformers.load`.
    """
    subfolder = _transformer_subfolder(source)
    settings = dict(read_source_json(source, "sentence_bert_config.json", subfolder) or {})
    parts = transformers.load(source, subfolder)
    return replace(
        parts,
        max_length=int(settings.get("max_seq_length") or parts.max_length),
        lowercase=bool(settings.get("do_lower_case", False)),
    )


def _transformer_subfolder(source: str) -> str:
    """Return where the transformer is: the root or a folder (0_Transformer)."""
    modules = read_source_json(source, "modules.json")
    for module in modules if isinstance(modules, list) else []:
        if str(module.get("type", "")).endswith("Transformer"):
            return str(module.get("path", ""))
    return ""
