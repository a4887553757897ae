"""Which caption a row shows in an epoch: text dropout and the choice among several captions."""

from __future__ import annotations

import numpy as np

from edge_glass.data.pairs import PairTable

EMPTY = ""


class CaptionChooser:
    """Every distinct caption of a table once, and the one each row shows in an epoch.

    Args:
        table: The rows.
        training: Draw among all captions of a row and apply dropout; otherwise always the first caption.
        seed: Draws are a pure function of (seed, epoch, row).
        dropout: Chance that a caption is replaced by the empty one (training only). The picture side must
            then explain the row by itself (the original project's text dropout).
    """

    def __init__(self, table: PairTable, training: bool = False, seed: int = 0, dropout: float = 0.0) -> None:
        numbers: dict[str, int] = {EMPTY: 0}
        self.choices = [
            np.array([numbers.setdefault(text, len(numbers)) for text in captions])
            for captions in table.captions
        ]
        self.texts = list(numbers)
        self.training, self.seed, self.dropout = training, seed, dropout
        self._drawn: tuple[int, np.ndarray] | None = None

    def numbers(self, epoch: int) -> np.ndarray:
        """Index into `texts` for every row, int64 `[N]`."""
        epoch = epoch if self.training else 0
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = epoch, self._draw(epoch)
        return self._drawn[1]

    def _draw(self, epoch: int) -> np.ndarray:
        if not self.training:
            return np.array([choice[0] for choice in self.choices], dtype=np.int64)
        draws = np.random.default_rng([self.seed, epoch, 1]).random((len(self.choices), 2))
        chosen = [
            choice[int(draw * len(choice))] for choice, draw in zip(self.choices, draws[:, 0], strict=True)
        ]
        return np.where(draws[:, 1] < self.dropout, 0, np.array(chosen, dtype=np.int64))
