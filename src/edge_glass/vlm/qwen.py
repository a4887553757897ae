"""What Qwen's vision-language models have in common: tokens, chat format, resizing, toys from random weights.

Toys have the real classes, special tokens, chat format and picture processing; only sizes and vocabulary are
small. `--tiny`, the tests and experiments from scratch use them, and nothing is downloaded.

The merger joins vision to words, though it stands inside the vision tower: it is the projector here, and so
are the mergers of Qwen3-VL's DeepStack. Patterns that are matched over the whole model get this wrong, see
https://github.com/haotian-liu/LLaVA/issues/1647 and https://github.com/hiyouga/LlamaFactory/pull/9399.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edge_glass.core.errors import ConfigError
from edge_glass.vlm.family import Family, SeenSize

if TYPE_CHECKING:
    from edge_glass.config.sections.detection import VlmSizeConfig

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

COMPONENT_PATHS: Final = {
    "projector": ("model.visual.merger", "model.visual.deepstack_merger_list"),
    "vision": ("model.visual",),
    "llm": ("model.language_model",),
    "head": ("lm_head",),
}
MERGED: Final = 2  # patches along a token

# Of models from scratch, measured (docs/LOG.md). Qwen's own 1,000,000 turns so little over the few rows and
# columns of a small picture that where a token stands can hardly be seen.
ROPE_THETA: Final = 100.0
MLP_RATIO: Final = 4

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


@dataclass(frozen=True, kw_only=True)
class QwenFamily(Family):
    """A family of Qwen's; a file says what is its own in `text_settings` and `vision_settings`.

    Attributes:
        image_processor: Its picture processing where that differs from Qwen2-VL's.
        video_processor: Name in transformers of the class that processes videos.
    """

    end_of_turn: str = END_OF_TURN
    picture_tokens: tuple[str, ...] = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    components: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: COMPONENT_PATHS)
    image_processor: Mapping[str, Any] = field(default_factory=dict)
    video_processor: str = "Qwen2VLVideoProcessor"

    @abstractmethod
    def text_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        """Return what the language model's configuration says beside what all of them say."""

    @abstractmethod
    def vision_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        """Return the same of the vision tower's."""

    @property
    def patch_size(self) -> int:
        """Return pixels along a patch; two by two of them are one token."""
        return self.token_side // MERGED

    def build_processor(self, min_pixels: int = 56 * 56, max_pixels: int = 1280 * 28 * 28) -> Any:
        import transformers
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

        size = {"shortest_edge": min_pixels, "longest_edge": max_pixels}  # areas, whatever the names say
        patch: dict[str, Any] = {
            "patch_size": self.patch_size,
            "temporal_patch_size": 2,
            "merge_size": MERGED,
        }
        return getattr(transformers, self.processor_class)(
            Qwen2VLImageProcessor(size=dict(size), **patch, **self.image_processor),
            build_tokenizer(),
            getattr(transformers, self.video_processor)(size=dict(size), **patch),
            chat_template=CHAT_TEMPLATE,
        )

    def build_model(
        self, size: VlmSizeConfig, processor: Any, seed: int, dtype: Any = None, attention: str = "sdpa"
    ) -> Any:
        import torch
        import transformers

        _check_size(size)
        identify = processor.tokenizer.convert_tokens_to_ids
        config = getattr(transformers, self.config_class)(
            text_config={**_text_settings(size, processor.tokenizer), **self.text_settings(size)},
            vision_config={**self._shared_vision_settings(size), **self.vision_settings(size)},
            image_token_id=identify("<|image_pad|>"),
            video_token_id=identify("<|video_pad|>"),
            vision_start_token_id=identify("<|vision_start|>"),
            vision_end_token_id=identify("<|vision_end|>"),
        )
        config._attn_implementation = attention
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = getattr(transformers, self.model_class)(config).to(dtype or torch.float32)
        model.generation_config = transformers.GenerationConfig(
            eos_token_id=[identify(END_OF_TURN), identify(PAD)], pad_token_id=identify(PAD)
        )
        return model

    def _shared_vision_settings(self, size: VlmSizeConfig) -> dict[str, Any]:
        return {
            "depth": size.vision_layers,
            "num_heads": size.vision_heads,
            "patch_size": self.patch_size,
            "initializer_range": size.vision_width**-0.5,
        }

    def resized(self, width: int, height: int, min_pixels: int, max_pixels: int, side: int) -> SeenSize:
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        seen_height, seen_width = smart_resize(height, width, side, min_pixels, max_pixels)
        return SeenSize(seen_width, seen_height)


def _text_settings(size: VlmSizeConfig, tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": size.width,
        "intermediate_size": gated_width(size.width),
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "initializer_range": size.width**-0.5,  # 0.02 learns later, see docs/LOG.md
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def gated_width(width: int) -> int:
    """Return the inner width of a gated MLP with as many weights as a plain one of `MLP_RATIO`."""
    return 8 * round(width * MLP_RATIO * 2 / 3 / 8)


def rotary_in_turns(head_width: int) -> dict[str, Any]:
    """Return rotary settings in which time, height and width take turns, one pair of numbers each (M-RoPE).

    Three sections would give time the fastest frequencies and the width the slowest. After the third section
    the model begins again with time, so sections of one pair take turns.
    """
    return {"rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": [1] * (head_width // 2)}


def _check_size(size: VlmSizeConfig) -> None:
    """Check that heads hold pairs of numbers, which rotary positions turn: on two axes in the tower."""
    for width, heads, multiple, prefix in (
        (size.width, size.heads, 2, ""),
        (size.vision_width, size.vision_heads, 4, "vision_"),
    ):
        if width % (heads * multiple):
            raise ConfigError(
                f"vlm.size: expected a {prefix}width that is a multiple of {heads * multiple} for "
                f"{prefix}heads {heads}, got {prefix}width {width}"
            )


def build_tokenizer() -> Any:
    """Build a `Qwen2Tokenizer` of special tokens, the 256 bytes and a few words; a digit is one token."""
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
