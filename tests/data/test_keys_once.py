"""What the rows of a table hold is listed once, however often single rows are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from data_samples import make_table


class Counted(Sequence):
    """Hashes that count how often all of them are gone through."""

    def __init__(self, hashes: Sequence[str | None]) -> None:
        self.hashes, self.passes = hashes, 0

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, index: int) -> str | None:  # type: ignore[override]
        return self.hashes[index]

    def __iter__(self) -> Iterator[str | None]:
        self.passes += 1
        return iter(self.hashes)


def test_keys_are_listed_once() -> None:
    table = make_table([(f"picture {row}", [f"caption {row}"]) for row in range(50)])
    hashes = Counted(table.picture_hashes)
    table = replace(table, picture_hashes=hashes)
    keys = [table.keys("vision")[row] for row in range(len(table))]
    assert len(keys) == 50 and hashes.passes == 1
    assert table.select([1, 0]).keys("vision")[0] == keys[1]
