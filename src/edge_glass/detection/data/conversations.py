"""Pictures with boxes as conversations: what is asked, and what the model should have said.

A conversation is a list of turns, as chat templates want it:

    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Locate …"}]},
     {"role": "assistant", "content": [{"type": "text", "text": '[{"bbox_2d": [12, 40, 310, 520], …}]'}]}]

The picture is only a placeholder in it. Conversations are written once and kept; pictures are megabytes, do
not belong into JSON or Arrow structs, and are put back batch by batch, just before the model needs them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from PIL import Image

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.conversations import ASSISTANT, SYSTEM, USER
from edge_glass.detection.boxes.spec import box_problem
from edge_glass.migrating import takes_old_calls

if TYPE_CHECKING:
    from edge_glass.detection.boxes.codec import BoxCodec, SeenSize

logger = logging.getLogger(__name__)

Conversation = list[dict[str, Any]]
"""Turns `{"role", "content": [{"type": "text", "text"} | {"type": "image"[, "image"]}]}`."""

DEFAULT_PROMPT: Final = "Locate every object in the picture. Report bbox coordinates in JSON format."

_SPECIAL = re.compile(r"<\|[^|<>]*\|>")
_NO_PICTURE: Final[tuple[Any, ...]] = (None, "", "None", [], {})
_Row = TypeVar("_Row", bound=Mapping[str, Any])


@takes_old_calls("convert_to_conversation_format(example, codec), with boxes, labels, width and height")
def convert_to_conversation_format(
    example: Mapping[str, Any],
    codec: BoxCodec,
    seen: SeenSize | None = None,
    prompt: str = DEFAULT_PROMPT,
    system_prompt: str | None = None,
    answer: bool = True,
) -> dict[str, Any]:
    """Write one example as a conversation.

    Runs: once per example, before training (in `dataset.map`, or where a data set makes its items).
    In: `boxes` `[n, 4]` xyxy pixels of the upright source picture, `labels` (n names), `width` and `height`
    of that picture, and optionally `id`.
    Out: `id`, `messages` (the conversation; the picture is the placeholder `{"type": "image"}`), and `boxes`
    float64 `[n, 4]`, `labels`, `width` and `height` as they were.
    Why: the question and the answer are text, small and the same in every epoch. The picture is not returned:
    it stays in its own column, and `restore_images_in_conversations` puts it back per batch. The boxes stay
    too, so that what the model is taught can be checked against them at any time.

    Args:
        example: As above.
        codec: How this family of models writes boxes.
        seen: Size of the picture as the model will receive it; needed by families that write pixels of it.
        prompt: What the user asks, complete: nothing is filled in here.
        system_prompt: Said first; by default no system turn is written.
        answer: Whether the assistant's turn is written; without it the row is a prompt, to generate from.

    Raises:
        ConfigError: The codec needs `seen`, or the prompt still has `{categories}` in it.
        DataError: Boxes are not boxes of the picture or have no label each, or a text holds what looks like a
            special token.
    """
    name = str(example.get("id", "?"))
    boxes = np.asarray(example["boxes"], dtype=np.float64).reshape(-1, 4)
    labels = [str(label).strip() for label in example["labels"]]
    source = int(example["width"]), int(example["height"])
    _check_boxes(name, boxes, labels, source)
    _check_texts(name, prompt, system_prompt, labels)
    messages: Conversation = []
    if system_prompt is not None:
        messages.append(_turn(SYSTEM, {"type": "text", "text": system_prompt}))
    messages.append(_turn(USER, {"type": "image"}, {"type": "text", "text": prompt}))
    if answer:
        if seen is None and not codec.relative:
            raise ConfigError(
                f"{codec.family} writes boxes as pixels of the picture it sees: seen, the size of that, is "
                "needed; planned_size(processor, width, height) gives it"
            )
        written = codec.write(boxes, labels, source, seen)
        messages.append(_turn(ASSISTANT, {"type": "text", "text": written}))
    return {
        "id": name,
        "messages": messages,
        "boxes": boxes,
        "labels": labels,
        "width": source[0],
        "height": source[1],
    }


@takes_old_calls(
    "restore_images_in_conversations(messages, images)", messages_list="messages", images_list="images"
)
def restore_images_in_conversations(
    messages: Sequence[Sequence[Mapping[str, Any]]], images: Sequence[Any]
) -> list[Conversation]:
    """Put the pictures back where their placeholders stand.

    Runs: once per batch, in the collator.
    In: B conversations with `{"type": "image"}` where a picture belongs; B pictures, or B lists of pictures.
    Out: B new conversations, each a list of `{"role", "content"}`, `content` a list of `{"type": "image",
    "image": PIL picture}` and `{"type": "text", "text": str}` and of nothing else: exactly what
    `processor.apply_chat_template` takes. The given ones are not changed.
    Why: chat templates ask for keys, not for values. Arrow tables give all parts of a list the same keys, so
    a stored conversation comes back as `{"type": "text", "text": …, "image": None}`: a template that asks
    `'image' in part` takes the question for a picture, and one that writes `part.text` writes "None".

    Raises:
        DataError: Counts of placeholders and pictures differ, something is no picture, or a part is neither.
    """
    if len(messages) != len(images):
        raise DataError(f"{len(messages)} conversations but pictures for {len(images)}")
    restored = []
    for number, (conversation, given) in enumerate(zip(messages, images, strict=True)):
        pictures = list(given) if isinstance(given, list | tuple) else [given]
        wanted = sum(_is_image(part) for turn in conversation for part in _parts(turn))
        if wanted != len(pictures):
            raise DataError(
                f"conversation {number} of the batch has {wanted} places for pictures but "
                f"{len(pictures)} pictures"
            )
        waiting = iter(pictures)
        restored.append(
            [
                _turn(str(turn["role"]), *(_restored(part, waiting, number) for part in _parts(turn)))
                for turn in conversation
            ]
        )
    return restored


def keep_with_images(rows: Iterable[_Row]) -> tuple[list[_Row], int]:
    """The rows that have a picture, and how many have none.

    Runs: once, before `convert_to_conversation_format`. The count is logged as well: rows never go missing
    without a word.
    """
    rows = list(rows)
    kept = [row for row in rows if _has_image(row)]
    if dropped := len(rows) - len(kept):
        logger.warning("%d of %d rows have no picture and are left out", dropped, len(rows))
    return kept, dropped


def _has_image(example: Mapping[str, Any]) -> bool:
    """Whether an example has its picture, under `images` or `image`; also as a filter of `datasets`.

    None, an empty list, the text "None" and a stored picture without bytes or path (what broken rows come
    back as from Arrow) are no picture.
    """
    pictures = pictures_of(example)
    return bool(pictures) and all(_is_something(picture) for picture in pictures)


def pictures_of(example: Mapping[str, Any]) -> list[Any]:
    """What stands under `images` (a list) or, where there is no such thing, under `image`."""
    found = example.get("images")
    if found is None:
        found = example.get("image")
    return list(found) if isinstance(found, list | tuple) else [found]


def _is_something(picture: Any) -> bool:
    if isinstance(picture, Mapping):
        return any(picture.get(key) not in _NO_PICTURE for key in ("bytes", "path"))
    return isinstance(picture, Image.Image) or picture not in _NO_PICTURE


def _check_boxes(name: str, boxes: np.ndarray, labels: Sequence[str], source: tuple[int, int]) -> None:
    if len(boxes) != len(labels):
        raise DataError(f"row {name}: {len(boxes)} boxes but {len(labels)} labels; each box has one")
    for box in boxes:
        if problem := box_problem(box, *source):
            raise DataError(f"row {name}: {problem}")


def _check_texts(name: str, prompt: str, system_prompt: str | None, labels: Sequence[str]) -> None:
    """Refuse texts that would be tokenised as something else than text."""
    if "{categories}" in prompt:
        raise ConfigError("the prompt still holds {categories}; write their names there")
    texts = [("prompt", prompt), ("system prompt", system_prompt or "")]
    for what, text in [*texts, *(("label", label) for label in labels)]:
        if found := _SPECIAL.search(text):
            raise DataError(f"row {name}: the {what} holds {found.group()!r}, which models read as a marker")


def _turn(role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def _parts(turn: Mapping[str, Any]) -> list[Any]:
    """What a turn consists of; some data sets write a plain text instead of a list."""
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "image"


def _restored(part: Any, waiting: Any, number: int) -> dict[str, Any]:
    if _is_image(part):
        picture = next(waiting)
        if not isinstance(picture, Image.Image):
            raise DataError(
                f"conversation {number} of the batch: its picture is {picture!r:.60}, not a PIL picture; "
                "leave such rows out with keep_with_images"
            )
        return {"type": "image", "image": picture}
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    raise DataError(
        f"conversation {number} of the batch has a part that is neither text nor picture: {part!r:.60}"
    )
