"""Batches to generate from: everything up to where the model begins to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge_glass.detection.collators.chat import process_conversations
from edge_glass.detection.collators.rows import Batch, empty_batch, open_prompts
from edge_glass.detection.collators.sizes import planned_size


def prompt_batch(processor: Any, rows: Sequence[Mapping[str, Any]]) -> Batch:
    """Prompts to be answered, padded on the left, so that every answer begins at the same position.

    Args:
        processor: Of a Qwen-VL model, with the pixel budget that the model was trained with.
        rows: Conversation rows; an answer is left out where there is one.

    Returns: `input_ids`, `attention_mask`, `mm_token_type_ids` int64 `[B, L]`, `pixel_values` float
        `[patches, D]`, `image_grid_thw` int64 `[B, 3]`; no labels.

    Raises:
        DataError: A row has no usable picture or question; it is named.
    """
    samples = open_prompts(rows)
    if not samples:
        return {name: values for name, values in empty_batch(processor).items() if name != "labels"}
    for sample in samples:
        planned_size(processor, *sample.source, name=sample.name)  # refuses what the processor would, by name
    return process_conversations(processor, [sample.conversation for sample in samples], prompts=True)
