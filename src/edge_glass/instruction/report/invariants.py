"""What must hold of every conversation that is trained on, checked one by one and said in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edge_glass.core.errors import DataError
from edge_glass.data.conversations import ASSISTANT, Turn
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer, check_labels

Check = tuple[str, str | None]
"""What must hold, and what is wrong; None where it holds."""


def checks_of_row(
    batch: Mapping[str, Any], place: int, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> tuple[Check, ...]:
    """All checks of one row of a batch.

    Args:
        batch: To train on, padded on the right.
        place: Of the row.
        turns: What is said in it.
        tokenizer: That made it.
    """
    row = {name: batch[name][place : place + 1] for name in ("input_ids", "attention_mask", "labels")}
    ids = row["input_ids"][0][row["attention_mask"][0]]
    labels = row["labels"][0][row["attention_mask"][0]]
    return (
        (
            "each label is the id of its own token; none stands on padding or a marker but the end",
            _labels(row, tokenizer, str(batch["ids"][place])),
        ),
        ("the prompt is that of generation, token for token", _prompt(ids, labels, turns, tokenizer)),
        ("nothing is trained before the first answer", _before(labels, turns, tokenizer)),
        ("the end of every answer is trained", _ends(ids, labels, turns, tokenizer)),
        ("the trained tokens say the answers", _answers(ids, labels, turns, tokenizer)),
    )


def _labels(row: Mapping[str, Tensor], tokenizer: ConversationTokenizer, name: str) -> str | None:
    try:
        check_labels(row, tokenizer.end, tokenizer.special, [name])
    except DataError as error:
        return str(error)
    return None


def _prompt(
    ids: Tensor, labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> str | None:
    prompt = tokenizer.prompt(turns[:-1])
    begins = list(_stretches(labels))[-1:]
    if not begins:
        return "nothing is trained"
    start = begins[0][0]
    if start < len(prompt) or not torch.equal(ids[: len(prompt)], prompt):
        return f"generation reads {len(prompt)} tokens; training has others before the answer"
    # What a template writes between prompt and answer is part of neither.
    return None if start == len(prompt) else f"{start - len(prompt)} tokens stand between prompt and answer"


def _before(labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer) -> str | None:
    first = next(position for position, turn in enumerate(turns) if turn.role == ASSISTANT)
    count = int((labels[: len(tokenizer.prompt(turns[:first]))] != NOT_TRAINED).sum())
    return f"{count} tokens of the first prompt are trained" if count else None


def _ends(ids: Tensor, labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer) -> str | None:
    answers = sum(turn.role == ASSISTANT for turn in turns)
    found = sum(int(ids[stop - 1]) == tokenizer.end for _, stop in _stretches(labels))
    return None if found == answers else f"{found} of {answers} answers end with a trained end token"


def _answers(
    ids: Tensor, labels: Tensor, turns: Sequence[Turn], tokenizer: ConversationTokenizer
) -> str | None:
    said = [
        tokenizer.tokenizer.decode(
            ids[start:stop], skip_special_tokens=True, clean_up_tokenization_spaces=False
        ).strip()
        for start, stop in _stretches(labels)
    ]
    right = [turn.text.strip() for turn in turns if turn.role == ASSISTANT]
    if said == right:
        return None
    pairs = zip([*said, ""], [*right, ""], strict=False)
    other = next(((one, two) for one, two in pairs if one != two), ("", ""))
    return f"they say {other[0][:60]!r}; the answer is {other[1][:60]!r}"


def _stretches(labels: Tensor) -> Iterator[tuple[int, int]]:
    """Runs of trained tokens, as (first, behind the last)."""
    trained = [False, *(labels != NOT_TRAINED).tolist(), False]
    starts = [at for at in range(1, len(trained)) if trained[at] and not trained[at - 1]]
    stops = [at for at in range(1, len(trained)) if not trained[at] and trained[at - 1]]
    yield from zip((at - 1 for at in starts), (at - 1 for at in stops), strict=True)
