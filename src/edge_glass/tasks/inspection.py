"""Inspected samples and what there is to know of them all."""

from __future__ import annotations

from dataclasses import dataclass

from edge_glass.reporting.inspection_tokens import InspectedSample


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
