"""What must hold of every batch that a model learns boxes from.

The mistakes that make a tuned model worse than the untouched one raise no error by themselves: boxes in
another order or scaled to another resize, a question that is trained, an answer that is cut. So every batch
is read back: what the model will be taught, compared with the boxes of the row it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_glass.core.errors import DataError
from edge_glass.data.labels import NOT_TRAINED
from edge_glass.detection.boxes.codec import BoxCodec, SeenSize, seen_size
from edge_glass.detection.boxes.spec import clip_boxes, swap_axes
from edge_glass.detection.collators.chat import end_of_turn, picture_tokens, read_prompt
from edge_glass.detection.collators.rows import Sample, open_rows

_SWAPPED = 3.0
"""Boxes that agree so well once x and y are swapped were: both sides are rounded with the other's step."""


def check_detection_labels(
    batch: Mapping[str, Tensor], processor: Any, rows: Sequence[Mapping[str, Any]], codec: BoxCodec, mask: str
) -> None:
    """Assert that a batch teaches its rows' boxes, in the picture as the model sees it.

    Runs: once per batch, at the end of every collator; also before a run, and by whoever writes a collator.
    In: a batch to train on and the rows it was made of. Out: nothing, or an error that names the row.

    1. A label is the id of its own token; there is one in every row, none on padding, on the picture's tokens
       or on the markers around them.
    2. The picture has all of its tokens, the answer is there to its end, and all of it is trained, its end
       too.
    3. With `assistant_only`, nothing that stands before the answer is trained.
    4. The boxes and names that the trained tokens spell, read for the size in `image_grid_thw`, are those of
       the row, up to the rounding of the format (`codec.worst_error`).

    Args:
        batch: `input_ids`, `labels`, `attention_mask` int64 `[B, L]`, padded on the right; `image_grid_thw`
            int64 `[B, 3]`.
        processor: What made it.
        rows: B conversation rows.
        codec: How the family writes boxes.
        mask: `assistant_only` or `all_tokens`.

    Raises:
        DataError: One of these does not hold.
    """
    samples = open_rows(rows)
    if len(samples) != len(batch["labels"]) or len(samples) != len(batch["image_grid_thw"]):
        raise DataError(
            f"labels: {len(samples)} rows, but {len(batch['labels'])} rows of labels and "
            f"{len(batch['image_grid_thw'])} pictures in the batch"
        )
    if not samples:
        return
    _check_places(batch, processor, samples)
    for row, sample in enumerate(samples):
        grid = batch["image_grid_thw"][row]
        real = batch["attention_mask"][row].bool()
        ids, labels = batch["input_ids"][row][real].tolist(), batch["labels"][row][real].tolist()
        text = _trained_answer(ids, labels, int(grid.prod()), processor, sample, mask)
        _check_boxes(text, codec, sample, seen_size(grid, processor.image_processor.patch_size))


def _check_places(batch: Mapping[str, Tensor], processor: Any, samples: Sequence[Sample]) -> None:
    """The first point, for all rows at once."""
    ids, labels, real = batch["input_ids"], batch["labels"], batch["attention_mask"].bool()
    trained = labels != NOT_TRAINED
    faults = (
        ("has nothing to learn: no token of it has a label", ~trained.any(dim=1)),
        ("has labels on padding", (trained & ~real).any(dim=1)),
        ("has labels that are not the ids of their tokens", (trained & (labels != ids)).any(dim=1)),
        (
            "has labels on the picture's tokens or markers",
            (trained & torch.isin(ids, picture_tokens(processor).to(ids.device))).any(dim=1),
        ),
    )
    for fault, wrong in faults:
        if wrong.any():
            raise DataError(f"labels: row {samples[int(wrong.nonzero()[0, 0])].name} {fault}")


def _trained_answer(
    ids: list[int], labels: list[int], patches: int, processor: Any, sample: Sample, mask: str
) -> str:
    """The text of the answer that the labels of a row, without padding, spell; the second and third point."""
    where = f"labels: row {sample.name}"
    pictured = patches // processor.image_processor.merge_size**2
    if (found := ids.count(processor.image_token_id)) != pictured:
        raise DataError(f"{where} has {found} of its picture's {pictured} tokens; a row must not be cut")
    start = read_prompt(processor, sample.conversation).length(pictured)
    end = end_of_turn(processor)
    if end not in ids[start:]:
        raise DataError(f"{where}: its answer is cut, the token that ends it is missing; allow longer rows")
    stop = ids.index(end, start)
    if NOT_TRAINED in labels[start : stop + 1]:
        part = "the token that ends its answer" if labels[stop] == NOT_TRAINED else "a part of its answer"
        raise DataError(f"{where}: {part} has no label and would never be learned")
    before = [number for number in labels[:start] if number != NOT_TRAINED]
    if before and mask == "assistant_only":
        said = processor.tokenizer.decode(before[:12])
        raise DataError(f"{where} trains {len(before)} tokens before its answer ({said!r} …); mask these")
    return processor.tokenizer.decode(ids[start:stop], clean_up_tokenization_spaces=False)


def _check_boxes(text: str, codec: BoxCodec, sample: Sample, seen: SeenSize) -> None:
    """The fourth point."""
    where = f"labels: row {sample.name}"
    read = codec.read(text, sample.source, seen)
    if read.problem is not None:
        raise DataError(f"{where}: its answer {text[:80]!r} cannot be read back: {read.problem}")
    if sorted(read.labels) != sorted(sample.labels):
        raise DataError(
            f"{where}: its answer names {', '.join(read.labels) or 'nothing'}, "
            f"the row has {', '.join(sample.labels) or 'nothing'}"
        )
    if not sample.labels:
        return
    true = clip_boxes(sample.boxes, *sample.source)
    allowed = np.tile(codec.worst_error(sample.source, seen), 2)
    excess = _excess(read.boxes, read.labels, true, sample.labels, allowed)
    if excess <= 1.0:
        return
    size = f"{seen.width}×{seen.height}"
    hint = "" if codec.relative else f". Was it written for another size than the {size} the model sees?"
    for relative in (True, False):
        swapped = swap_axes(read.boxes, *sample.source, relative)
        if _excess(swapped, read.labels, true, sample.labels, allowed) <= _SWAPPED:
            hint = ". They agree once x and y are swapped: correct the box order"
    raise DataError(
        f"{where}: its answer says {_shown(read.boxes)} where the row has {_shown(true)}; "
        f"that is {excess:.1f} times the rounding of {codec.family}'s boxes{hint}"
    )


def _excess(
    read: np.ndarray, names: Sequence[str], true: np.ndarray, labels: Sequence[str], allowed: np.ndarray
) -> float:
    """Largest distance of a read box from its own, in units of what is allowed.

    Each box `[n, 4]` is compared with the nearest one of its name, as an answer has its own order.
    """
    from scipy.optimize import linear_sum_assignment

    apart = (np.abs(read[:, None] - true[None]) / allowed).max(axis=2)
    other = np.array([[name != label for label in labels] for name in names])
    cost = np.where(other, 1e9, apart)
    return float(cost[linear_sum_assignment(cost)].max())


def _shown(boxes: np.ndarray) -> str:
    return "; ".join(str(box) for box in np.round(boxes[:2], 1).tolist()) + ("; …" if len(boxes) > 2 else "")
