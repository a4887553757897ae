"""Text models of transformers (BERT, CLIP, SigLIP …): model, tokenizer and limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_glass.core.errors import AssetError
from edge_glass.encoders.sources import load_transformers_model, read_source_json

POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "xmod", "data2vec-text", "esm")


@dataclass(frozen=True)
class TextParts:
    """What a text encoder is made of.

    Attributes:
        model: Gives `last_hidden_state` and `hidden_states`.
        tokenizer: Pads on the right.
        max_length: Longest text in tokens, special tokens included.
        lowercase: Texts are lowered first.
    """

    model: nn.Module
    tokenizer: Any
    max_length: int
    lowercase: bool = False


def recognises(source: str) -> bool:
    """Say whether `source` has a config.json, and none of the files that sentence-transformers adds."""
    if (folder := Path(source)).is_dir() and not (folder / "config.json").is_file():
        return False
    return not any(read_source_json(source, name) for name in ("modules.json", "sentence_bert_config.json"))


def load(source: str, subfolder: str = "") -> TextParts:
    """Load from a folder or hub id, perhaps a subfolder of it.

    Raises:
        AssetError: Not an encoder of text, weights missing, or no way to pad.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModel, SiglipTextModel

    config = AutoConfig.from_pretrained(source, subfolder=subfolder, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise AssetError(
            f"{source!r}: expected an encoder of text; got a {config.model_type!r} encoder-decoder"
        )
    towers = {"clip": CLIPTextModel, "siglip": SiglipTextModel}
    model_class = towers.get(config.model_type.removesuffix("_text_model"), AutoModel)
    model = load_transformers_model(model_class, source, subfolder)
    if model.main_input_name != "input_ids":
        raise AssetError(f"{source!r}: expected an encoder of text; got a {config.model_type!r} model")
    tokenizer = AutoTokenizer.from_pretrained(source, subfolder=subfolder, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        raise AssetError(
            f"the tokenizer of {source!r} has no padding token; set pad_token in its tokenizer_config.json"
        )
    tokenizer.padding_side = "right"
    return TextParts(model, tokenizer, _own_limit(model.config, tokenizer))


def _own_limit(config: Any, tokenizer: Any) -> int:
    """Return the longest input the position embeddings and the tokenizer allow."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    if config.model_type in POSITIONS_AFTER_PADDING:
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


def tiny_text_parts(seed: int) -> TextParts:
    """Make a toy BERT of about 20,000 parameters, reading letter by letter."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=10_000))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = BertModel(config, add_pooling_layer=False)
    return TextParts(model, tokenizer, max_length=64)
