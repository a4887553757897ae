"""Small pictures inside plots."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import numpy as np

from edge_glass.reporting.style import FAINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
THUMBNAIL_PIXELS = 26


def put_thumbnail(
    axes: Axes,
    data: bytes | None,
    position: tuple[float, ...],
    pixels: int = THUMBNAIL_PIXELS,
    below: bool = False,
) -> None:
    """A small picture at a point of the data; left out when it cannot be decoded."""
    if data is None:
        return
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        logger.debug("a thumbnail cannot be decoded: %s", error)
        return
    box = AnnotationBbox(
        OffsetImage(np.asarray(picture), zoom=pixels / max(picture.size)),
        (position[0], position[1]),
        frameon=not below,
        pad=0.15,
        box_alignment=(0.5, 1.0) if below else (0.5, 0.5),
        bboxprops={"edgecolor": FAINT, "linewidth": 0.5, "boxstyle": "round,pad=0.1"},
        zorder=3,
        annotation_clip=False,
    )
    axes.add_artist(box)
