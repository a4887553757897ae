"""What `inspect` shows: some samples as the model receives them, and what there is to know of them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_glass.reporting.inspection import InspectedSample, InspectionView, write_inspection_page


@dataclass(frozen=True)
class Inspection:
    """Samples with what there is to know of the whole.

    Attributes:
        samples: As the model receives them.
        lengths: Lines of the length report of their split.
        title: Name of the experiment.
        overview: Facts by name.
    """

    samples: list[InspectedSample]
    lengths: list[str]
    title: str
    overview: dict[str, str]

    def lines(self) -> InspectionView:
        """Return the samples as `rich` prints them on a terminal."""
        return InspectionView(self.samples, self.lengths)

    def write_page(self, path: str | Path) -> Path:
        """Write the samples as one self-contained HTML page and return its path."""
        return write_inspection_page(Path(path), self.samples, self.title, self.lengths, self.overview)
