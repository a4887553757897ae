"""The page that `edge-glass search` writes: what was asked, and the pictures found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from edge_glass.reporting.html import write_page


class Found(Protocol):
    """One picture found; `edge_glass.alignment.use.search.Hit` is one."""

    @property
    def rank(self) -> int:
        """1 is the nearest."""

    @property
    def score(self) -> float:
        """Cosine similarity to the query."""

    @property
    def identifier(self) -> str:
        """Name of the picture."""

    @property
    def caption(self) -> str:
        """Its words, or ""."""

    @property
    def thumbnail(self) -> bytes | None:
        """Small picture as PNG, JPEG, WebP or GIF bytes."""


def write_search_page(path: Path | str, query: str | bytes, results: Sequence[Found]) -> Path:
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
