"""Finding model, tokenizer and limits of a text encoder in a folder or hub repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edge_glass.core.errors import AssetError
from edge_glass.encoders.sources import load_transformers_model, read_json

CAUSAL_OR_LAST_TOKEN = ("clip_text_model", "siglip_text_model", "gpt2", "llama", "qwen2", "qwen3")
PADDED_TO_FULL_LENGTH = ("siglip_text_model",)
POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet", "xmod", "data2vec-text", "esm")
BOOKKEEPING = ("transformers_version", "architectures", "dtype", "torch_dtype")


@dataclass(frozen=True)
class TextParts:
    """What a text encoder is made of."""

    model: nn.Module
    tokenizer: Any
    max_length: int
    lowercase: bool


def load_text_parts(source: str, record: dict[str, Any] | None) -> TextParts:
    """Load from a folder or hub id.

    Args:
        source: Folder or hub id; sentence-transformers layouts may hold the model in a subfolder.
        record: What an Edge Glass saved encoder says of itself, else None.

    Raises:
        AssetError: Not an encoder of text, weights missing, or no way to pad.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModel, SiglipTextModel

    subfolder = ""
    settings: dict[str, Any] = {}
    if record is None:
        subfolder = _transformer_subfolder(source)
        settings = dict(read_json(source, "sentence_bert_config.json", subfolder) or {})
    config = AutoConfig.from_pretrained(source, subfolder=subfolder, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise AssetError(
            f"{source!r} is a {config.model_type!r} encoder-decoder; an encoder of text is needed"
        )
    towers = {"clip": CLIPTextModel, "siglip": SiglipTextModel}
    model_class = towers.get(config.model_type.removesuffix("_text_model"), AutoModel)
    model = load_transformers_model(model_class, source, subfolder)
    if model.main_input_name != "input_ids":
        raise AssetError(f"{source!r} is a {config.model_type!r} model, which does not read text")
    tokenizer = AutoTokenizer.from_pretrained(source, subfolder=subfolder, trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        raise AssetError(
            f"the tokenizer of {source!r} has no padding token; set pad_token in its tokenizer_config.json"
        )
    tokenizer.padding_side = "right"
    if record is not None:
        return TextParts(model, tokenizer, int(record["max_length"]), bool(record["lowercase"]))
    limit = settings.get("max_seq_length") or _own_limit(model.config, tokenizer)
    return TextParts(model, tokenizer, int(limit), bool(settings.get("do_lower_case", False)))


def _transformer_subfolder(source: str) -> str:
    """Where a sentence-transformers layout keeps its transformer: the root or a folder (0_Transformer)."""
    modules = read_json(source, "modules.json")
    for module in modules if isinstance(modules, list) else []:
        if str(module.get("type", "")).endswith("Transformer"):
            return str(module.get("path", ""))
    return ""


def _own_limit(config: Any, tokenizer: Any) -> int:
    """The longest input the position embeddings and the tokenizer allow."""
    positions = int(getattr(config, "max_position_embeddings", 512))
    if config.model_type in POSITIONS_AFTER_PADDING:
        positions -= int(config.pad_token_id) + 1
    return min(positions, int(tokenizer.model_max_length))


def describe_model(model: nn.Module) -> str:
    """Architecture as stable text: the values of its config that are not bookkeeping."""
    config: Any = model.config
    record = {
        key: value for key, value in config.to_diff_dict().items() if key[0] != "_" and key not in BOOKKEEPING
    }
    return f"transformers {type(model).__name__} {json.dumps(record, sort_keys=True, default=str)}"


def describe_tokenizer(tokenizer: Any) -> str:
    """A tokenizer's rules and vocabulary as text, without the padding and truncation last used."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        vocabulary = json.dumps(tokenizer.get_vocab(), sort_keys=True)
        return f"{type(tokenizer).__name__} {vocabulary}"
    rules = json.loads(backend.to_str())
    return json.dumps({**rules, "padding": None, "truncation": None}, sort_keys=True)


def tiny_text_parts(seed: int) -> TextParts:
    """A toy BERT of about 20,000 parameters, reading letter by letter."""
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
    return TextParts(model, tokenizer, max_length=64, lowercase=False)
