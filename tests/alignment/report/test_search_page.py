"""The search page shows query and pictures, escaped and self-contained."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from PIL import Image

from edge_glass.alignment.report.page import write_search_page
from edge_glass.reporting.page import data_uri


@dataclass
class Answer:
    rank: int
    score: float
    identifier: str
    caption: str
    thumbnail: bytes | None


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, format=kind)
    return buffer.getvalue()


def test_words(tmp_path, read_page):
    answers = [
        Answer(1, 0.51234, "<b>a.png", "a <i>dog</i>", encoded("PNG")),
        Answer(2, 0.4, "b.png", "", None),
        Answer(3, -0.1, "c.svg", "c", b"<svg/>"),
    ]
    page = read_page(write_search_page(tmp_path / "deep" / "search.html", "<script>x</script>", answers))
    for words in ("<script>x</script>", "<b>a.png", "a <i>dog</i>", "0.512", "-0.100", "3 pictures"):
        assert words in page.text
    assert len(page.images()) == 1


def test_a_picture_query_and_no_results(tmp_path, read_page):
    page = read_page(write_search_page(tmp_path / "search.html", encoded("JPEG"), []))
    assert page.images()[0].startswith("data:image/jpeg;base64,")
    assert "Nothing was found" in page.text


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_picture_kinds(kind):
    assert data_uri(encoded(kind)).startswith(f"data:image/{kind.lower()};base64,")


@pytest.mark.parametrize("data", [None, b"", b"<svg onload=x>", b"RIFF0000WAVE", b"javascript:"])
def test_what_is_no_picture_is_not_passed_on(data):
    assert data_uri(data) is None
