"""Pictures, captions and sounds in one plane, by t-SNE: neighbours stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_glass.alignment.report.plots import embedding_space
from edge_glass.reporting.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADING = "Embedding space, neighbourhoods"
READING = "t-SNE keeps neighbours together; distances between far groups mean nothing."
SIZE = embedding_space.SIZE
ORDER = 50


def draw(run: RunFolder, figure: Figure) -> None:
    """See the module."""
    embedding_space.draw(run, figure, method="tsne")
