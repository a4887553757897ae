"""`--tiny` for the task instruction: toy decoders, short answers."""

from __future__ import annotations

from typing import Any

from edge_glass.config.schema import (
    DecoderConfig,
    ExperimentConfig,
    GenerationConfig,
    LoraConfig,
    RecursionConfig,
    SmallDecoderConfig,
)
from edge_glass.config.tiny_sizes import (
    TOY_ANSWER,
    TOY_BATCH,
    TOY_BEAMS,
    TOY_GRID,
    TOY_HEADS,
    TOY_HIDDEN,
    TOY_LAYERS,
    TOY_NEW_TOKENS,
    TOY_QUESTION,
    TOY_RANK,
    TOY_ROWS,
    TOY_STEPS,
    TOY_VOCABULARY,
    TOY_WIDTH,
    toy_perceiver,
)

# What a toy has as well; other ends of names belong to families that it is not of.
_TOY_TARGETS = {
    *("attention", "mlp", "all-linear"),
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}


def answer_settings(config: ExperimentConfig) -> dict[str, Any]:
    """The toy settings of what the task instruction reads and alignment does not."""
    vision, evaluation, prefix = config.vision_encoder, config.evaluation, config.prefix
    return {
        "dataset": {"max_question_length": TOY_QUESTION, "max_answer_length": TOY_ANSWER},
        **(
            {"vision_encoder": {"grid_size": min(vision.grid_size, TOY_GRID)}}
            if vision.pooling_type == "grid"
            else {}
        ),
        **({"prefix": {"perceiver": toy_perceiver(prefix.perceiver)}} if prefix.perceiver else {}),
        "decoder": _toy_decoder(config.decoder),
        "generation": _toy_generation(config.generation, config.dataset.max_answer_length),
        "evaluation": {
            "validation_rows": min(evaluation.validation_rows, TOY_ROWS),
            "test_rows": evaluation.test_rows and min(evaluation.test_rows, TOY_ROWS),
        },
    }


def _toy_decoder(decoder: DecoderConfig) -> dict[str, Any]:
    """Only what its kind reads."""
    if decoder.kind == "causal_lm":
        lora = {"lora": _toy_lora(decoder.lora)} if decoder.mode == "lora" else {}
        return {"quantization": "none", "attention": "sdpa", **lora}
    toy: dict[str, Any] = {
        "tokenizer": None,
        "vocabulary": min(decoder.vocabulary, TOY_VOCABULARY),
        "size": _toy_size(decoder.size),
    }
    return toy | ({"recursion": _toy_recursion(decoder.recursion)} if decoder.kind == "trm" else {})


def _toy_lora(lora: LoraConfig) -> dict[str, Any]:
    targets = [target for target in lora.targets if target in _TOY_TARGETS]
    default = LoraConfig.model_fields["targets"].default
    return {"rank": min(lora.rank, TOY_RANK), "targets": targets or default}


def _toy_size(size: SmallDecoderConfig) -> dict[str, Any]:
    return {
        "width": TOY_WIDTH,
        "heads": min(size.heads, TOY_HEADS),
        "layers": min(size.layers, TOY_LAYERS),
        "hidden": min(size.hidden, TOY_HIDDEN),
    }


def _toy_recursion(recursion: RecursionConfig) -> dict[str, Any]:
    steps = ("refinements", "cycles", "supervision_steps")
    return {name: min(getattr(recursion, name), TOY_STEPS) for name in steps}


def _toy_generation(generation: GenerationConfig, longest: int) -> dict[str, Any]:
    return {
        "max_new_tokens": min(generation.max_new_tokens or longest, TOY_NEW_TOKENS),
        "num_beams": min(generation.num_beams, TOY_BEAMS),
        "batch_size": min(generation.batch_size, TOY_BATCH),
    }
