"""The page that `edge-glass search` writes: what was asked, and the pictures found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_glass.reporting.html import write_page

if TYPE_CHECKING:
    from edge_glass.alignment.use.search import Hit


def write_search_page(path: Path | str, query: str | bytes, results: Sequence[Hit]) -> Path:
    """Write a self-contained page of search results.

    Args:
        path: The HTML file; folders above it are made.
        query: The words, or the query picture as PNG, JPEG, WebP or GIF bytes.
        results: Pictures found, best first.

    Returns:
        `path`.
    """
    words = query if isinstance(query, str) else None
    picture = query if isinstance(query, bytes) else None
    return write_page(Path(path), "search.html.j2", words=words, picture=picture, results=list(results))
