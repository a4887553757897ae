"""easy-VQA: 5,000 pictures of one shape each, with 48,248 questions and 13 answers, as parquet.

Pictures and questions come from the asset `easy-vqa` (Victor Zhou, https://github.com/vzhou842/easy-VQA).
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from edge_glass import assets
from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file, write_whole
from edge_glass.data.pictures import decode_image, picture_hash

logger = logging.getLogger(__name__)

VAL_PICTURES: Final = 400
SOURCE: Final = "easy-vqa"
SHAPES: Final = ("circle", "rectangle", "triangle")
COLORS: Final = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
ANSWER_TYPES: Final = {
    **dict.fromkeys(SHAPES, "shape"),
    **dict.fromkeys(COLORS, "color"),
    **dict.fromkeys(("yes", "no"), "yes-no"),
}

# Rows of one picture stand together and a picture is stored once a row group: pyarrow's dictionary page holds
# 1 MiB, and the pictures of so many rows are a fifth of it.
_ROW_GROUP: Final = 4096


class Question(NamedTuple):
    """One question; `picture` is the number of its picture within the published split."""

    picture: int
    question: str
    answer: str


def build_easy_vqa(folder: Path, progress: bool = True) -> dict[str, Path]:
    """Write train.parquet, val.parquet, test.parquet and a data set card; the same bytes every time.

    The test split is the published one. Validation is 400 of the 4,000 published training pictures with all
    their questions. Columns: `id`, `image_bytes` (PNG, as published), `question`, `answer`, `answer_type`
    (`shape`, `color`, `yes-no`), `source`, `image_id` and `picture_sha256` (`picture_hash` of the picture).

    Args:
        folder: where the files go; it is made if need be.
        progress: show the download, if the data must be fetched.

    Returns:
        Split name → file, in the order train, val, test.

    Raises:
        AssetError: the data cannot be fetched.
    """
    published = assets.fetch("easy-vqa", progress)
    training = read_questions(published / "train" / "questions.json")
    chosen = val_pictures({row.picture for row in training})
    splits = {
        "train": ("train", [row for row in training if row.picture not in chosen]),
        "val": ("train", [row for row in training if row.picture in chosen]),
        "test": ("test", read_questions(published / "test" / "questions.json")),
    }
    files = {}
    for split, (origin, rows) in splits.items():
        files[split] = folder / f"{split}.parquet"
        _write_split(files[split], origin, rows, published / origin / "images")
    write_whole(folder / "README.md", _card({split: rows for split, (_, rows) in splits.items()}))
    logger.info("wrote %d questions to %s", sum(len(rows) for _, rows in splits.values()), folder)
    return files


def val_pictures(pictures: set[int]) -> set[int]:
    """Return the fixed validation pictures: sorted numbers, shuffled with seed 0, the first 400."""
    order = sorted(pictures)
    random.Random(0).shuffle(order)
    return set(order[:VAL_PICTURES])


def read_questions(file: Path) -> list[Question]:
    """Return the questions of a published split, those of one picture together, in the published order.

    Raises:
        DataError: an answer is none of the 13.
    """
    rows = [Question(int(picture), question, answer) for question, answer, picture in _load(file)]
    unknown = sorted({row.answer for row in rows} - set(ANSWER_TYPES))
    if unknown:
        raise DataError(f"{file}: unknown answers {', '.join(unknown)}; expected {', '.join(ANSWER_TYPES)}")
    return sorted(rows, key=lambda row: row.picture)


def _load(file: Path) -> list[Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _write_split(file: Path, origin: str, rows: Sequence[Question], folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = {number: (folder / f"{number}.png").read_bytes() for number in {row.picture for row in rows}}
    hashes = {number: picture_hash(decode_image(data)) for number, data in pictures.items()}
    asked: Counter[int] = Counter()
    ids = []
    for row in rows:
        ids.append(f"{origin}-{row.picture}-{asked[row.picture]}")
        asked[row.picture] += 1
    texts = {
        "question": [row.question for row in rows],
        "answer": [row.answer for row in rows],
        "answer_type": [ANSWER_TYPES[row.answer] for row in rows],
        "source": [SOURCE] * len(rows),
        "image_id": [f"{origin}-{row.picture}" for row in rows],
        "picture_sha256": [hashes[row.picture] for row in rows],
    }
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "image_bytes": pa.array([pictures[row.picture] for row in rows], pa.binary()),
            **{name: pa.array(cells, pa.string()) for name, cells in texts.items()},
        }
    )
    with atomic_file(file) as temporary:
        pq.write_table(table, temporary, row_group_size=_ROW_GROUP, use_dictionary=["image_bytes", *texts])


def _card(splits: dict[str, list[Question]]) -> str:
    lines = []
    for split, rows in splits.items():
        kinds = Counter(ANSWER_TYPES[row.answer] for row in rows)
        cells = (
            len({row.picture for row in rows}),
            len(rows),
            *(kinds[k] for k in ("shape", "color", "yes-no")),
        )
        lines.append(f"| {split}.parquet | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return _CARD.format(table="\n".join(lines), shapes=", ".join(SHAPES), colors=", ".join(COLORS))


_CARD: Final = """\
# easy-VQA

5,000 pictures (64x64 PNG) of one coloured shape each, with questions about it and 13 possible answers:
{shapes}; {colors}; yes, no.

| file | pictures | questions | shape | color | yes-no |
|---|---|---|---|---|---|
{table}

The test split is the published one. Validation is 400 of the published training pictures with all their
questions: the sorted picture numbers, shuffled with `random.Random(0)`, the first 400. No picture is in two
files, by number or by its pixels.

Columns: `id`, `image_bytes` (the PNG as published), `question`, `answer`, `answer_type` (what the answer is:
a shape, a colour, or yes or no), `source`, `image_id` (published split and number), `picture_sha256` (hash of
the decoded pixels). The rows of one picture stand together.

The questions alone say much: whoever gives each question of the test split the answer that is the most
frequent for it in train.parquet, without a look at the picture, is right in 66.8 % of all cases: in 82.5 % of
the yes-no questions ("is there a black shape?" is mostly answered no), 34.3 % of the shapes and 11.3 % of the
colours.

## Licence

MIT, copyright Victor Zhou (https://github.com/vzhou842/easy-VQA). Pictures and questions are unchanged.
"""
