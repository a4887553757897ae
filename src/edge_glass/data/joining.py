"""Several sources as one table: pictures with captions from here, sounds with captions from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from edge_glass.data.samples import SampleTable


class JoinedItems:
    """Encoded pictures or sounds of several sources, by position in all of them together."""

    def __init__(self, parts: Sequence[Any], places: Sequence[tuple[int, int]]) -> None:
        self.parts, self.places = parts, places

    def __getitem__(self, position: int) -> Any:
        part, place = self.places[position]
        return self.parts[part][place]


def join_tables(tables: Sequence[SampleTable]) -> SampleTable:
    """The rows of these tables, one after the other."""
    if len(tables) == 1:
        return tables[0]
    places = [(part, position) for part, table in enumerate(tables) for position in table.positions]
    return SampleTable(
        source=", ".join(dict.fromkeys(table.source for table in tables)),
        ids=list(chain(*(table.ids for table in tables))),
        captions=list(chain(*(table.captions for table in tables))),
        picture_hashes=list(chain(*(table.picture_hashes for table in tables))),
        positions=range(len(places)),
        pictures=JoinedItems([table.pictures for table in tables], places),
        rejected=tuple(
            replace(bad, identifier=f"{table.source} {bad.identifier}")
            for table in tables
            for bad in table.rejected
        ),
        sound_hashes=list(chain(*(table.keys("audio") for table in tables))),
        sounds=JoinedItems([table.sounds for table in tables], places),
        groups=list(chain(*(table.groups or [None] * len(table) for table in tables))),
        text_column=tables[0].text_column,
    )
