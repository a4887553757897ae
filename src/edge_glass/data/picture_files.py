"""Pictures that are files below one folder, and the text files that name them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_glass.assets import cache_root
from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file
from edge_glass.data.scan import Scan, scan_pictures

logger = logging.getLogger(__name__)


def file_below(root: Path, name: str) -> Path:
    """Where a file name leads; the folder itself, which is no picture, when it cannot be a file name.

    Args:
        root: Resolved folder.
        name: As a data set gives it, relative to the folder.
    """
    try:
        file = (root / name).resolve()
        file.is_file()  # raises when the name is too long
    except (OSError, ValueError, RuntimeError):  # ValueError: a null byte; RuntimeError: links in a circle
        return root
    return file


def file_problem(root: Path, file: Path) -> str | None:
    """Why a picture file cannot be read; None when it can. The row's name is said elsewhere."""
    if not file.is_relative_to(root):
        return f"the file lies outside {root}"
    if file == root:
        return "the picture's name is no file name"
    if not file.is_file():
        return f"the file does not exist in {root}"
    return None if os.access(file, os.R_OK) else "the file may not be read"


def scan_files(files: Iterable[Path], what: str) -> dict[Path, Scan]:
    """Scan each file once; the result is kept until a file changes."""
    ordered = sorted(set(files))
    status = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in ordered]
    stored = cache_root() / "scans" / f"{hashlib.sha256(json.dumps(status).encode()).hexdigest()[:32]}.json"
    if stored.exists():
        return {file: Scan(*scan) for file, scan in zip(ordered, json.loads(stored.read_text()), strict=True)}
    chunks = scan_pictures((file.read_bytes() for file in ordered), len(ordered), what)
    scans = [scan for chunk in chunks for _, scan in chunk]
    try:
        with atomic_file(stored) as temporary:
            temporary.write_text(json.dumps(scans), encoding="utf-8")
    except OSError as error:
        logger.warning("%s: cannot be written (%s); pictures are scanned again next time", stored, error)
    return dict(zip(ordered, scans, strict=True))


def read_json_records(path: Path, each: str = "conversation") -> list[dict[str, Any]]:
    """The objects of a JSON list, or of a JSONL file.

    Args:
        path: The file.
        each: What one object is about, for the message.

    Raises:
        DataError: The file is missing, no UTF-8, no JSON, or no list of objects.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix.lower() == ".jsonl":  # split at \n alone: texts may hold other line separators
            lines = enumerate(text.split("\n"), start=1)
            records = [_line(path, number, line) for number, line in lines if line.strip()]
        else:
            records = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        hint = "; a file with one object a line is named .jsonl" if error.msg == "Extra data" else ""
        raise DataError(f"{path}: cannot be read as JSON ({error}){hint}") from error
    except RecursionError as error:
        raise DataError(f"{path}: cannot be read as JSON (nested too deeply)") from error
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: expected a list of objects, one per {each}")
    return records


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {number} is no JSON ({error})") from error
