"""The second collator: trains on what the model has to write, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edge_glass.core.errors import ConfigError
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.collators.chat import end_of_turn, picture_tokens, process_conversations
from edge_glass.detection.collators.checks import check_detection_labels
from edge_glass.detection.collators.prompts import prompt_batch
from edge_glass.detection.collators.rows import Batch, check_processor, empty_batch, open_rows
from edge_glass.detection.collators.sizes import planned_size
from edge_glass.migrating import takes_old_calls

if TYPE_CHECKING:
    from edge_glass.detection.boxes.codec import BoxCodec


class Qwen2VLCollatorV2:
    """Rows → batch; trains on the answer and the token that ends it, or on all words.

    Runs: once per batch. In: conversation rows with their pictures. Out: `input_ids`, `attention_mask`,
    `mm_token_type_ids`, `labels` int64 `[B, L]`, `pixel_values` float32 `[patches, D]`, `image_grid_thw`
    int64 `[B, 3]`.

    What was wrong before it: V1 trains on the question. The usual repair looks for the tokens of "assistant"
    and trains on what follows them; it starts too early when a user writes that word, and finds nothing when
    a tokenizer writes it in two tokens or a template writes another one. Marks in the template (`{%
    generation %}`) are better but most published templates have none, and then everything is masked.

    How it is right here: every conversation is processed twice, with and without its answer. The second is,
    token for token, what the model is given when it is to generate; where it ends, the answer begins. That
    the one is the beginning of the other is checked in every row.

    What is still wrong, and why there is a V3: the words are rendered and tokenised twice and the pictures
    resized twice, and a picture with ten thousand tokens goes through as it is.

    Args:
        processor: `Qwen2VLProcessor`, `Qwen2_5_VLProcessor` or `Qwen3VLProcessor`.
        codec: How this family writes boxes; every batch is read back with it.
        mask: `assistant_only`, or `all_tokens` as V1.

    Raises:
        ConfigError: The mask is unknown, or processor and codec are of two families.
    """

    @takes_old_calls(
        "Qwen2VLCollatorV2(processor, codec, mask)",
        refuses=lambda given: isinstance(given["codec"], bool),
    )
    def __init__(self, processor: Any, codec: BoxCodec, mask: str = "assistant_only") -> None:
        check_processor(processor, codec, mask)
        self.processor, self.codec, self.mask = processor, codec, mask

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """The batch of these rows.

        Raises:
            DataError: A row cannot be used, or its boxes do not come back from its labels; it is named.
            ConfigError: The chat template writes a prompt in another way once it is answered.
        """
        samples = open_rows(rows)
        if not samples:
            return empty_batch(self.processor)
        for sample in samples:
            planned_size(self.processor, *sample.source, name=sample.name)  # refuses what the processor would
        batch = process_conversations(self.processor, [sample.conversation for sample in samples])
        trained = batch["attention_mask"].bool()
        trained &= ~torch.isin(batch["input_ids"], picture_tokens(self.processor))
        if self.mask == "assistant_only":
            trained &= self._answers(batch, prompt_batch(self.processor, rows))
        batch["labels"] = batch["input_ids"].masked_fill(~trained, NOT_TRAINED)
        check_detection_labels(batch, self.processor, rows, self.codec, self.mask)
        return batch

    def _answers(self, whole: Batch, prompts: Batch) -> Tensor:
        """Bool `[B, L]`: from where the prompt ends to the token that ends the answer, which counts."""
        found = torch.zeros_like(whole["input_ids"], dtype=torch.bool)
        end = end_of_turn(self.processor)
        for row, ids in enumerate(whole["input_ids"]):
            prompt = prompts["input_ids"][row][prompts["attention_mask"][row].bool()]
            start = len(prompt)
            if not torch.equal(ids[:start], prompt):
                raise ConfigError(
                    "the chat template writes a prompt in another way once it is answered, so where the "
                    "answer begins is not known; give a template that only appends"
                )
            stops = (ids[start:] == end).nonzero()  # what the template writes behind the end is never read
            found[row, start : start + int(stops[0]) + 1 if len(stops) else None] = True
        return found
