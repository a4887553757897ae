"""Parquet files of questions and answers, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from data_samples import picture


def write_questions(path: Path, rows: Sequence[tuple[Any, Any, Any]], **more: Any) -> Path:
    """A file with rows of (picture, question, answer), and more columns by name."""
    images, questions, answers = zip(*rows, strict=True)
    columns = {"image_bytes": pa.array(images, pa.binary()), "question": questions, "answer": answers}
    pq.write_table(pa.table({**columns, **more}), path)
    return path


def many(count: int, pictures: int) -> list[tuple[bytes, str, str]]:
    """Marked questions in turn about so many pictures."""
    return [(picture(n % pictures), f"[USER] question {n}", f"[ASSISTANT] answer {n}") for n in range(count)]
