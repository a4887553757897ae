"""The first collator: right, simple, and not yet what one wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from edge_glass.core.errors import ConfigError
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.collators.chat import picture_tokens, process_conversations
from edge_glass.detection.collators.checks import check_detection_labels
from edge_glass.detection.collators.rows import Batch, check_processor, empty_batch, open_rows
from edge_glass.detection.collators.sizes import planned_size
from edge_glass.migrating import takes_old_calls

if TYPE_CHECKING:
    from edge_glass.detection.boxes.codec import BoxCodec


class Qwen2VLCollatorV1:
    """Rows → batch; trains on all words.

    Runs: once per batch. In: conversation rows with their pictures. Out: `input_ids`, `attention_mask`,
    `mm_token_type_ids`, `labels` int64 `[B, L]`, `pixel_values` float32 `[patches, D]`, `image_grid_thw`
    int64 `[B, 3]`.

    What was wrong before it: the collator that is copied from notebook to notebook sets `labels = input_ids`
    and masks one id, the padding's. Then
    - where the tokenizer pads with its end token, the end of every answer is masked as well, and the model
      never learns to stop. Here padding is known by the attention mask, whatever its id is;
    - the picture's tokens keep their labels, hundreds of the same `<|image_pad|>` for a few dozen words of
      answer: the loss falls at once and says nothing. Here no token that stands for a picture is trained;
    - `max_length` cuts what is too long, within the picture's tokens (an error in the model) or within the
      answer (nothing to learn, no error). Here nothing is cut.

    What is still wrong, and why there is a V2: the question is trained too. It is the same for every picture,
    so the model knows it by heart after a few steps; from then on most of the loss is taken on words that
    carry nothing, the average looks splendid, and the gradient of the boxes is thin.

    Args:
        processor: `Qwen2VLProcessor`, `Qwen2_5_VLProcessor` or `Qwen3VLProcessor`.
        codec: How this family writes boxes; every batch is read back with it.
        mask: Only `all_tokens`.

    Raises:
        ConfigError: Another mask, or processor and codec are of two families.
    """

    @takes_old_calls(
        "Qwen2VLCollatorV1(processor, codec, mask)",
        refuses=lambda given: isinstance(given["codec"], bool),
    )
    def __init__(self, processor: Any, codec: BoxCodec, mask: str = "all_tokens") -> None:
        check_processor(processor, codec, mask)
        if mask != "all_tokens":
            raise ConfigError(
                f"detection.mask is {mask}, but the collator v1 can only train all_tokens; "
                "take detection.collator v2 or v3"
            )
        self.processor, self.codec, self.mask = processor, codec, mask

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """The batch of these rows.

        Raises:
            DataError: A row cannot be used, or its boxes do not come back from its labels; it is named.
        """
        samples = open_rows(rows)
        if not samples:
            return empty_batch(self.processor)
        for sample in samples:
            planned_size(self.processor, *sample.source, name=sample.name)  # refuses what the processor would
        batch = process_conversations(self.processor, [sample.conversation for sample in samples])
        labels = batch["input_ids"].clone()
        labels[batch["attention_mask"] == 0] = NOT_TRAINED
        labels[torch.isin(labels, picture_tokens(self.processor))] = NOT_TRAINED
        batch["labels"] = labels
        check_detection_labels(batch, self.processor, rows, self.codec, self.mask)
        return batch
