"""How large toys are, and the toy settings that tasks share."""

from __future__ import annotations

from edge_glass.config.sections.encoders import PerceiverConfig
from edge_glass.config.sections.large_models import GenerationConfig
from edge_glass.config.sections.training import GenerationEvaluationConfig

TOY_WIDTH = 32
TOY_HIDDEN = 32
TOY_BATCH = 8
TOY_EPOCHS = 2
TOY_RESAMPLES = 100
TOY_LATENTS = 4
TOY_HEADS = 2  # they divide TOY_WIDTH into parts of an even width
TOY_LAYERS = 2
TOY_STEPS = 2
TOY_VOCABULARY = 300
TOY_RANK = 4
TOY_GRID = 2
TOY_ROWS = 16
TOY_BEAMS = 2
TOY_NEW_TOKENS = 16
TOY_QUESTION, TOY_ANSWER = 256, 64  # toy tokenizers read bytes, so words take more tokens
TOY_PICTURE = 16  # tokens: generated scenes are 112 pixels along a side
TOY_BOXES, TOY_BOXES_WRITTEN = 256, 96  # tokens: digits are one each; a box takes 25 to 40
TOY_ROW = 1024
TOY_IOU_STEPS, TOY_IOU_ROWS, TOY_IOU_SECONDS = 2, 4, 10.0


def toy_perceiver(perceiver: PerceiverConfig) -> dict[str, int]:
    """Return settings of a resampler of few latents, a block and few heads."""
    return {
        "num_latents": min(perceiver.num_latents, TOY_LATENTS),
        "depth": min(perceiver.depth, 1),
        "num_heads": min(perceiver.num_heads, TOY_HEADS),
    }


def toy_generation(generation: GenerationConfig, longest: int, tokens: int) -> dict[str, int]:
    """Return settings that write short answers, of at most `longest` and `tokens`, for few rows at a time."""
    return {
        "max_new_tokens": min(generation.max_new_tokens or longest, tokens),
        "num_beams": min(generation.num_beams, TOY_BEAMS),
        "batch_size": min(generation.batch_size, TOY_BATCH),
    }


def toy_rows(evaluation: GenerationEvaluationConfig) -> dict[str, int | None]:
    """Return settings that measure few rows."""
    return {
        "validation_rows": min(evaluation.validation_rows, TOY_ROWS),
        "test_rows": evaluation.test_rows and min(evaluation.test_rows, TOY_ROWS),
    }
