"""Small vision-language models of the real Qwen classes, from random weights, with a tokenizer built in code.

Nothing is downloaded: the classes, special tokens, chat format and picture processing are those of Qwen2-VL
(https://arxiv.org/abs/2409.12191), Qwen2.5-VL (https://arxiv.org/abs/2502.13923) and Qwen3-VL
(https://arxiv.org/abs/2511.21631); only sizes and vocabulary are small. `--tiny`, the tests and experiments
from scratch use them.
"""

from __future__ import annotations

import json
from typing import Any, Final

from edge_glass.config.sections.detection import VlmSizeConfig
from edge_glass.core.errors import ConfigError

FAMILIES: Final = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

PAD: Final = "<|endoftext|>"
END_OF_TURN: Final = "<|im_end|>"

# In Qwen's order; ids differ from theirs (151643 and up) because the vocabulary before them is missing.
SPECIAL_TOKENS: Final = (
    PAD,
    "<|im_start|>",
    END_OF_TURN,
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# Of models from scratch, measured (docs/LOG.md). Qwen's own 1,000,000 turns so little over the few rows and
# columns of a small picture that where a token stands can hardly be seen.
ROPE_THETA: Final = 100.0
MLP_RATIO: Final = 4
POSITIONS: Final = 16  # side of Qwen3-VL's grid of learned positions, which is stretched over each picture

# The words and the punctuation of these texts become single tokens; everything else is spelled in bytes.
_TEXTS: Final = (
    "system\nuser\nassistant\n",
    "Locate every instance that belongs to the following categories: 'face, animal, food'. "
    "Report bbox coordinates in JSON format.",
    "Find: face, animal",
    "find face",
    '[{"bbox_2d": [12, 34, 56, 78], "label": "face"}, {"bbox_2d": [12, 34, 56, 78], "label": "animal"}]',
    "(12,34),(56,78)",
    "[] none",
    "face face\nanimal animal\nfood food\nvehicle vehicle\nheart heart\nclock clock\nemoji emoji",
    "nutrition-table nutrition-table",
)

# As Qwen's, without a system turn of its own; what the assistant says is marked for training.
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.role == 'assistant' %}{% generation %}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}"
    "{% if message.content is string %}{{ message.content }}{% else %}"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part.type == 'video' %}{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def build_processor(family: str, min_pixels: int = 56 * 56, max_pixels: int = 1280 * 28 * 28) -> Any:
    """The family's processor: its picture and video processing, its chat format, a small tokenizer.

    Args:
        family: qwen2_vl, qwen2_5_vl or qwen3_vl.
        min_pixels: Pictures with fewer pixels (an area) are enlarged.
        max_pixels: Pictures with more are shrunk.

    Returns:
        A `Qwen2VLProcessor`, `Qwen2_5_VLProcessor` or `Qwen3VLProcessor`.

    Raises:
        ConfigError: Another family.
    """
    import transformers
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

    _check_family(family)
    size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    patch: dict[str, Any] = {"patch_size": patch_size(family), "temporal_patch_size": 2, "merge_size": 2}
    third = family == "qwen3_vl"
    video_class = transformers.Qwen3VLVideoProcessor if third else transformers.Qwen2VLVideoProcessor
    processor_class = {
        "qwen2_vl": transformers.Qwen2VLProcessor,
        "qwen2_5_vl": transformers.Qwen2_5_VLProcessor,
        "qwen3_vl": transformers.Qwen3VLProcessor,
    }[family]
    normalise: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if third else {}
    return processor_class(
        Qwen2VLImageProcessor(size=dict(size), **patch, **normalise),
        build_tokenizer(),
        video_class(size=dict(size), **patch),
        chat_template=CHAT_TEMPLATE,
    )


def build_tokenizer() -> Any:
    """A `Qwen2Tokenizer` of special tokens, the 256 bytes and a few whole words; every digit is one token."""
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import Qwen2Tokenizer

    backend: Any = Qwen2Tokenizer()._tokenizer  # cuts text as Qwen does: between words, around each digit
    trainer = BpeTrainer(
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        min_frequency=1,
        show_progress=False,
    )
    backend.train_from_iterator(_TEXTS, trainer)
    learned = json.loads(backend.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learned["merges"]]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=merges,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        extra_special_tokens=[token for token in SPECIAL_TOKENS if token not in (PAD, END_OF_TURN)],
    )


def patch_size(family: str) -> int:
    """Pixels along a patch; four patches are one token."""
    return 16 if family == "qwen3_vl" else 14


def build_vlm(
    family: str, size: VlmSizeConfig, processor: Any, seed: int, dtype: Any = None, attention: str = "sdpa"
) -> Any:
    """The family's `...ForConditionalGeneration` with random weights: a pure function of the arguments.

    Args:
        family: qwen2_vl, qwen2_5_vl or qwen3_vl.
        size: Widths, layers and heads.
        processor: Of `build_processor`; gives vocabulary and special tokens.
        seed: Of the weights.
        dtype: Of the weights; default float32.
        attention: sdpa, eager or flash_attention_2.

    Raises:
        ConfigError: Another family, or heads that do not fit a width.
    """
    import torch
    import transformers

    _check_family(family)
    _check_size(size)
    config_class, model_class = {
        "qwen2_vl": (transformers.Qwen2VLConfig, transformers.Qwen2VLForConditionalGeneration),
        "qwen2_5_vl": (transformers.Qwen2_5_VLConfig, transformers.Qwen2_5_VLForConditionalGeneration),
        "qwen3_vl": (transformers.Qwen3VLConfig, transformers.Qwen3VLForConditionalGeneration),
    }[family]
    identify = processor.tokenizer.convert_tokens_to_ids
    config = config_class(
        text_config=_text_config(family, size, processor.tokenizer),
        vision_config=_vision_config(family, size),
        image_token_id=identify("<|image_pad|>"),
        video_token_id=identify("<|video_pad|>"),
        vision_start_token_id=identify("<|vision_start|>"),
        vision_end_token_id=identify("<|vision_end|>"),
    )
    config._attn_implementation = attention
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config).to(dtype or torch.float32)
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[identify(END_OF_TURN), identify(PAD)], pad_token_id=identify(PAD)
    )
    return model


def _text_config(family: str, size: VlmSizeConfig, tokenizer: Any) -> dict[str, Any]:
    gated = 8 * round(size.width * MLP_RATIO * 2 / 3 / 8)  # as many weights as a plain MLP of that ratio
    config = {
        "vocab_size": len(tokenizer),
        "hidden_size": size.width,
        "intermediate_size": gated,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "rope_parameters": _rope(family, size.width // size.heads),
        "initializer_range": size.width**-0.5,  # 0.02 learns later, see docs/LOG.md
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if family == "qwen3_vl":
        config["head_dim"] = size.width // size.heads  # its default is 128, whatever the width
    return config


def _rope(family: str, head_width: int) -> dict[str, Any]:
    """Rotary frequencies of a head, shared out among time, height and width."""
    pairs = head_width // 2
    if family == "qwen3_vl":  # takes turns: time, height, width, time, ...
        shares = [(pairs + 2) // 3, (pairs + 1) // 3, pairs // 3]
        return {
            "rope_type": "default",
            "rope_theta": ROPE_THETA,
            "mrope_section": shares,
            "mrope_interleaved": True,
        }
    # Three sections give time the fastest frequencies and the width the slowest. After the third section the
    # model begins again with time, so sections of one pair take turns here too.
    return {"rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": [1] * pairs}


def _vision_config(family: str, size: VlmSizeConfig) -> dict[str, Any]:
    width = size.vision_width
    config = {
        "depth": size.vision_layers,
        "num_heads": size.vision_heads,
        "patch_size": patch_size(family),
        "initializer_range": width**-0.5,
    }
    if family == "qwen2_vl":
        return {**config, "embed_dim": width, "hidden_size": size.width, "mlp_ratio": MLP_RATIO}
    config |= {"hidden_size": width, "out_hidden_size": size.width}
    last = size.vision_layers - 1
    if family == "qwen2_5_vl":  # windows of 112 pixels, whole pictures in every fourth layer and the last
        return {
            **config,
            "intermediate_size": 8 * round(width * MLP_RATIO * 2 / 3 / 8),
            "fullatt_block_indexes": sorted({*range(3, size.vision_layers, 4), last}),
        }
    return {
        **config,
        "intermediate_size": width * MLP_RATIO,
        "num_position_embeddings": POSITIONS**2,
        "deepstack_visual_indexes": [last // 2],  # features of this layer go into the first language layer
    }


def _check_family(family: str) -> None:
    if family not in FAMILIES:
        raise ConfigError(f"vlm.family is {family}; {', '.join(FAMILIES)} would be right")


def _check_size(size: VlmSizeConfig) -> None:
    """Rotary positions turn pairs of numbers: on one axis in the language model, on two in the tower."""
    for width, heads, multiple, prefix in (
        (size.width, size.heads, 2, ""),
        (size.vision_width, size.vision_heads, 4, "vision_"),
    ):
        if width % (heads * multiple):
            raise ConfigError(
                f"vlm.size: {prefix}width {width} with {prefix}heads {heads}; a {prefix}width that is a "
                f"multiple of {heads * multiple} would be right"
            )
