"""One misbehaving server for each test that wants it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from picture_server import PictureServer, picture_server


@pytest.fixture
def server() -> Iterator[PictureServer]:
    with picture_server() as running:
        yield running
