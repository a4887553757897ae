from __future__ import annotations

import itertools

from data_samples import picture

from edge_glass.data.pictures import decode_image, picture_hash
from edge_glass.data.scan import scan_picture, scan_pictures


def test_a_picture_is_named_by_what_it_shows():
    assert scan_picture(picture(1)) == (picture_hash(decode_image(picture(1))), None)
    assert scan_picture(picture(1, "BMP")) == scan_picture(picture(1)) != scan_picture(picture(2))


def test_why_a_picture_cannot_be_used():
    assert scan_picture(None) == (None, "the cell is empty (null)")
    assert scan_picture(b"") == (None, "the picture has no bytes (length 0)")
    assert scan_picture("a.png") == (None, "the cell holds str, not bytes")
    digest, problem = scan_picture(picture(1)[:-30])
    assert digest is None and "cannot be decoded" in problem


def test_order_is_kept_and_every_picture_comes_once():
    cells = [picture(n) if n % 3 else None for n in range(200)]
    chunks = list(scan_pictures(cells, len(cells), "test"))
    assert [cell for chunk in chunks for cell, _ in chunk] == cells
    assert [scan for chunk in chunks for _, scan in chunk] == [scan_picture(cell) for cell in cells]


def test_cells_are_read_a_chunk_at_a_time():
    read = []
    cells = (read.append(n) or picture(0) for n in itertools.count())
    first = next(scan_pictures(cells, 10**9, "test"))
    assert len(read) == len(first) <= 256


def test_nothing_to_scan():
    assert list(scan_pictures([], 0, "test")) == []
