"""How large toys are."""

from __future__ import annotations

from edge_glass.config.schema import PerceiverConfig

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
    """A resampler of few latents, a block and few heads."""
    return {
        "num_latents": min(perceiver.num_latents, TOY_LATENTS),
        "depth": min(perceiver.depth, 1),
        "num_heads": min(perceiver.num_heads, TOY_HEADS),
    }
