"""A reader of pages, for tests of reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest


@dataclass
class Page(HTMLParser):
    """What a browser would make of a page: elements, text, and everything it would load."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element and its addresses."""
        found = dict(attrs)
        self.tags.append((tag, found))
        self.loads += [str(found[key]) for key in ("src", "href", "srcset", "data", "action") if key in found]

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data

    def images(self) -> list[str]:
        """Addresses of all pictures."""
        return [str(attributes["src"]) for tag, attributes in self.tags if tag == "img"]


@pytest.fixture(scope="session")
def read_page() -> Callable[[Path], Page]:
    """Parse a page and insist that it is self-contained and runs nothing."""

    def read(path: Path) -> Page:
        source = path.read_text(encoding="utf-8")
        page = Page()
        page.feed(source)
        assert all(address.startswith("data:") for address in page.loads), page.loads
        assert "@import" not in source and "url(" not in source
        names = {tag for tag, _ in page.tags}
        assert not names & {"script", "iframe", "object", "embed", "svg", "form", "i-frame", "base"}
        assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
        return page

    return read
