"""The third collator: the labels of the second, much cheaper, and within a budget."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversation_batches import pad_rows
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.collators.chat import (
    Prompt,
    end_of_turn,
    picture_tokens,
    read_prompt,
    render,
    tokenize,
)
from edge_glass.detection.collators.checks import check_detection_labels
from edge_glass.detection.collators.rows import Batch, Sample, check_processor, empty_batch, open_rows
from edge_glass.detection.collators.sizes import pixels_per_side, planned_size, tokens_of
from edge_glass.migrating import takes_old_calls

if TYPE_CHECKING:
    from PIL.Image import Image

    from edge_glass.detection.boxes.codec import BoxCodec, SeenSize

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What becomes of a row, known before its picture is decoded.

    Attributes:
        sample: The row.
        prompt: What stands before its answer.
        answer: Tokens of the answer and of what the template writes behind it.
        seen: Size at which the model will receive the picture.
        max_pixels: Limit that the picture is resized under; None for the processor's own.
    """

    sample: Sample
    prompt: Prompt
    answer: list[int]
    seen: SeenSize
    max_pixels: int | None


class Qwen2VLCollatorV3:
    """Rows → batch; the labels of V2, bit for bit, with each thing done once.

    Runs: once per batch. In: conversation rows with their pictures. Out: `input_ids`, `attention_mask`,
    `mm_token_type_ids`, `labels` int64 `[B, L]`, `pixel_values` float32 `[patches, D]`, `image_grid_thw`
    int64 `[B, 3]`.

    What was wrong before it: V2 processes everything twice, and both versions let the processor write every
    picture's thousands of `<|image_pad|>` as text, only to tokenise them one by one. Neither knows how long a
    row will be before its picture is decoded and resized; the usual remedy, cutting the row, breaks it.

    How it is better here:
    - a data set asks one question, or a few. Each is rendered and tokenised once (`read_prompt`); only
      answers are tokenised per batch, all in one call. That prompt and answer, tokenised apart, are the
      tokens of both together is checked with the first row of each prompt;
    - the picture's tokens are numbers that are repeated, not text: how many follows from width and height;
    - the pictures of a batch are resized in one call, once;
    - the length of a row is known from its header. Over `max_tokens` its picture is shrunk until it fits, and
      the answer is written anew where the family writes pixels of the picture it sees. What cannot fit is
      refused by name. Nothing is ever cut.

    Rows of one batch are padded to the longest: a sampler that takes `token_kinds` keeps equally long rows
    together.

    Args:
        processor: `Qwen2VLProcessor`, `Qwen2_5_VLProcessor` or `Qwen3VLProcessor`.
        codec: How this family writes boxes; every batch is read back with it.
        mask: `assistant_only`, or `all_tokens` as V1.
        max_tokens: Most tokens of a row, picture and words together.
        pixel_budget: Most pixels of a picture as the model sees it, where that is less than the processor
            allows.

    Raises:
        ConfigError: The mask is unknown, or processor and codec are of two families.
    """

    @takes_old_calls(
        "Qwen2VLCollatorV3(processor, codec, mask)",
        refuses=lambda given: isinstance(given["codec"], bool),
    )
    def __init__(
        self,
        processor: Any,
        codec: BoxCodec,
        mask: str = "assistant_only",
        max_tokens: int | None = None,
        pixel_budget: int | None = None,
    ) -> None:
        check_processor(processor, codec, mask)
        self.processor, self.codec, self.mask = processor, codec, mask
        self.max_tokens, self.pixel_budget = max_tokens, pixel_budget
        self._closings: dict[str, str] = {}

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """The batch of these rows.

        Raises:
            DataError: A row cannot be used or does not fit, or its boxes do not come back from its labels; it
                is named.
            ConfigError: The chat template does not write prompt, answer and end one after the other.
        """
        samples = open_rows(rows)
        if not samples:
            return empty_batch(self.processor)
        plans = [self._fit(plan) for plan in self._plan(samples)]
        batch = self._words(plans) | self._pictures(plans)
        check_detection_labels(batch, self.processor, rows, self.codec, self.mask)
        return batch

    def _plan(self, samples: Sequence[Sample]) -> list[Plan]:
        """What the headers say: prompts are known already, answers take one call of the tokenizer."""
        prompts = [read_prompt(self.processor, sample.conversation) for sample in samples]
        closings = [self._closing(prompt, sample) for prompt, sample in zip(prompts, samples, strict=True)]
        texts = [sample.answer + closing for sample, closing in zip(samples, closings, strict=True)]
        plans = []
        for sample, prompt, answer in zip(samples, prompts, tokenize(self.processor, texts), strict=True):
            seen = planned_size(self.processor, *sample.source, name=sample.name)
            plan = Plan(sample, prompt, answer, seen, None)
            if self.pixel_budget is not None and seen.width * seen.height > self.pixel_budget:
                plan = self._shrink(plan, self.pixel_budget)
            plans.append(plan)
        return plans

    def _closing(self, prompt: Prompt, sample: Sample) -> str:
        """What the template writes behind answers to this prompt: learned, and checked, with the first."""
        if prompt.text not in self._closings:
            whole = render(self.processor, sample.conversation)
            closing = whole.removeprefix(prompt.text + sample.answer)
            answer = tokenize(self.processor, [sample.answer + closing])[0]
            if (
                closing == whole
                or end_of_turn(self.processor) not in answer
                or tokenize(self.processor, [whole])[0] != prompt.ids + answer
            ):
                raise ConfigError(
                    "the chat template does not write prompt, answer and end one after the other, token by "
                    "token; the collator v3 needs that (v2 may do)"
                )
            self._closings[prompt.text] = closing
        return self._closings[prompt.text]

    def _fit(self, plan: Plan) -> Plan:
        """The plan, with a smaller picture where the row would have more than `max_tokens`."""
        while self.max_tokens is not None and (length := self._length(plan)) > self.max_tokens:
            tokens = tokens_of(self.processor, plan.seen)
            room = tokens - (length - self.max_tokens)
            if room < 1:
                raise DataError(
                    f"row {plan.sample.name}: its words alone are {length - tokens} tokens; "
                    f"detection.max_tokens is {self.max_tokens}"
                )
            plan = self._shrink(plan, room * pixels_per_side(self.processor) ** 2)
        return plan

    def _length(self, plan: Plan) -> int:
        return plan.prompt.length(tokens_of(self.processor, plan.seen)) + len(plan.answer)

    def _shrink(self, plan: Plan, max_pixels: int) -> Plan:
        """The plan with at most so many pixels; the answer is written anew where it is in these pixels."""
        sample, least = plan.sample, self.processor.image_processor.size["shortest_edge"]
        seen = planned_size(self.processor, *sample.source, max_pixels)
        if max_pixels < least or seen.width * seen.height > max_pixels:
            raise DataError(
                f"row {sample.name}: its picture of {sample.source[0]}×{sample.source[1]} would have to be "
                f"shrunk to {max_pixels} pixels; it cannot have fewer than "
                f"{max(least, seen.width * seen.height)} (vlm.min_pixels and its shape). "
                "Allow more detection.max_tokens"
            )
        logger.info("row %s: its picture is shrunk to %d×%d to keep its budget", sample.name, *seen)
        plan = replace(plan, seen=seen, max_pixels=max_pixels)
        if self.codec.relative:
            return plan
        answer = self.codec.write(sample.boxes, sample.labels, sample.source, seen)
        text = answer + self._closings[plan.prompt.text]
        return replace(plan, answer=tokenize(self.processor, [text])[0])

    def _words(self, plans: Sequence[Plan]) -> Batch:
        """Ids with as many picture tokens as the plan says, and labels, padded on the right."""
        image, end = self.processor.image_token_id, end_of_turn(self.processor)
        never = picture_tokens(self.processor)
        ids, labels = [], []
        for plan in plans:
            before, after = plan.prompt.ids[: plan.prompt.picture], plan.prompt.ids[plan.prompt.picture + 1 :]
            pictured = torch.full((tokens_of(self.processor, plan.seen),), image)
            row = torch.cat([torch.tensor(before), pictured, torch.tensor(after + plan.answer)])
            if self.mask == "assistant_only":
                start = len(row) - len(plan.answer)
                trained = torch.zeros_like(row, dtype=torch.bool)
                trained[start : start + plan.answer.index(end) + 1] = True
            else:
                trained = ~torch.isin(row, never)
            ids.append(row)
            labels.append(row.masked_fill(~trained, NOT_TRAINED))
        input_ids = pad_rows(ids, self.processor.tokenizer.pad_token_id)
        attention_mask = pad_rows([torch.ones_like(row) for row in ids], 0)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "mm_token_type_ids": ((input_ids == image) & attention_mask.bool()).long(),
            "labels": pad_rows(labels, NOT_TRAINED),
        }

    def _pictures(self, plans: Sequence[Plan]) -> Batch:
        """Patches and their grids, in the order of the rows.

        One call for all pictures under the processor's own limits, and one for each lower limit.
        """
        parts: dict[int, Tensor] = {}
        grids: dict[int, Tensor] = {}
        limits = dict.fromkeys(plan.max_pixels for plan in plans)
        for limit in limits:
            rows = [row for row, plan in enumerate(plans) if plan.max_pixels == limit]
            patches, shapes = self._process([plans[row].sample.picture for row in rows], limit)
            split = patches.split(shapes.prod(dim=1).tolist())
            for row, part, shape in zip(rows, split, shapes, strict=True):
                self._check_grid(plans[row], shape)
                parts[row], grids[row] = part, shape
        order = range(len(plans))
        if len(limits) > 1:
            patches = torch.cat([parts[row] for row in order])
        return {"pixel_values": patches, "image_grid_thw": torch.stack([grids[row] for row in order])}

    def _process(self, pictures: Sequence[Image], limit: int | None) -> tuple[Tensor, Tensor]:
        images = self.processor.image_processor
        size = {"shortest_edge": images.size["shortest_edge"], "longest_edge": images.size["longest_edge"]}
        if limit is not None:
            size["longest_edge"] = limit
        made = images(images=list(pictures), size=size, return_tensors="pt")
        return made["pixel_values"], made["image_grid_thw"]

    def _check_grid(self, plan: Plan, grid: Tensor) -> None:
        """What came out is what was planned; otherwise the placeholders would not fit the picture."""
        patch = self.processor.image_processor.patch_size
        found = (int(grid[2]) * patch, int(grid[1]) * patch)
        if found != tuple(plan.seen):
            raise DataError(
                f"row {plan.sample.name}: its picture was to be resized to {plan.seen.width}×"
                f"{plan.seen.height}, but the processor made {found[0]}×{found[1]} of it; this version of "
                "transformers resizes in another way"
            )
