"""Which of its captions, and which take of its sound, a row shows in an epoch; and text dropout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

EMPTY = ""
ABSENT = -1
"""The number of an item that a row does not have."""
_STREAMS = {"text": 1, "audio": 2, "vision": 3}  # the draws of one modality say nothing about another's


class Chooser:
    """Every distinct item of a modality once, and the one each row shows in an epoch.

    Args:
        keys: What each row has, `SampleTable.keys(modality)`; a row may have nothing.
        modality: `vision`, `audio` or `text`.
        training: Draw among all items of a row and apply dropout; otherwise always the first.
        seed: Draws are a pure function of (seed, epoch, row).
        dropout: Chance that a caption is replaced by the empty one (training only). The other side must
            then explain the row by itself (the original project's text dropout).

    Attributes:
        items: The distinct items; for text, the empty caption is the first.
    """

    def __init__(
        self,
        keys: Sequence[Sequence[str]],
        modality: str = "text",
        training: bool = False,
        seed: int = 0,
        dropout: float = 0.0,
    ) -> None:
        numbers: dict[str, int] = {EMPTY: 0} if modality == "text" else {}
        self.choices = [
            np.array([numbers.setdefault(key, len(numbers)) for key in row] or [ABSENT]) for row in keys
        ]
        self.items = list(numbers)
        self.modality, self.training, self.seed, self.dropout = modality, training, seed, dropout
        # Of the epoch that was asked for last: data sets ask row by row, and a draw is for all rows.
        self._drawn: tuple[int, np.ndarray, np.ndarray] | None = None

    def takes(self, epoch: int) -> np.ndarray:
        """Return which of its items each row shows, int64 `[N]`; 0 where there is none to choose."""
        return self._of_epoch(epoch)[1]

    def numbers(self, epoch: int) -> np.ndarray:
        """Return the index into `items` for every row, int64 `[N]`; -1 where a row has nothing."""
        return self._of_epoch(epoch)[2]

    def _of_epoch(self, epoch: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Return the epoch, its takes and its numbers."""
        epoch = epoch if self.training else 0
        if self._drawn is None or self._drawn[0] != epoch:
            takes = self._takes(epoch)
            self._drawn = epoch, takes, self._numbers(epoch, takes)
        return self._drawn

    def dropped(self, epoch: int) -> np.ndarray:
        """Mark rows whose caption is replaced by the empty one, bool `[N]`."""
        if not self.training or not self.dropout:
            return np.zeros(len(self.choices), dtype=bool)
        has_words = np.array([choice[0] != ABSENT for choice in self.choices])
        return (self._draws(epoch)[:, 1] < self.dropout) & has_words

    def _takes(self, epoch: int) -> np.ndarray:
        if not self.training:
            return np.zeros(len(self.choices), dtype=np.int64)
        sizes = np.array([len(choice) for choice in self.choices])
        return (self._draws(epoch)[:, 0] * sizes).astype(np.int64)

    def _numbers(self, epoch: int, takes: np.ndarray) -> np.ndarray:
        chosen = [choice[take] for choice, take in zip(self.choices, takes, strict=True)]
        return np.where(self.dropped(epoch), 0, np.array(chosen, dtype=np.int64))

    def _draws(self, epoch: int) -> np.ndarray:
        stream = _STREAMS[self.modality]
        return np.random.default_rng([self.seed, epoch, stream]).random((len(self.choices), 2))
