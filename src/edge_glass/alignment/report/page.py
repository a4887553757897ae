"""The page of an alignment run: recalls, embedding sizes, retrievals; and the page of a search."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_glass.alignment.measure.retrieval import Direction
from edge_glass.alignment.report.gallery import gallery
from edge_glass.alignment.report.sides import ENDS, archive_of, averaged_sides, candidates, measured_sides
from edge_glass.alignment.report.tables import (
    MODELS,
    closed_form_sentence,
    dimension_rows,
    folded_rows,
    full_dimension,
    measured_dimensions,
)
from edge_glass.core.errors import DataError
from edge_glass.reporting.page import Tile, metric_tiles, write_page
from edge_glass.reporting.run_folder import RunFolder
from edge_glass.reporting.tables import columns, measured
from edge_glass.reporting.wording import SIDES, format_count, metric_label

if TYPE_CHECKING:
    from edge_glass.alignment.use.search import Hit

logger = logging.getLogger(__name__)

GALLERIES: dict[Direction, str] = {
    "t2i": "From words to pictures",
    "i2t": "From pictures to words",
    "a2v": "From sounds to pictures",
    "a2t": "From sounds to words",
}


def alignment_context(run: RunFolder) -> dict[str, Any]:
    """Return what stands in `alignment.html.j2` beside what every run has."""
    results = run.results
    full = full_dimension(run)
    dimensions = measured_dimensions(results.get("metrics") or {}, full)
    rows, folded = folded_rows(results)
    return {
        "closed_form": closed_form_sentence(results),
        "guessing": _guessing(run),
        "tiles": _tiles(run),
        "models": columns(measured(results, MODELS)),
        "metric_rows": rows,
        "numbers_of": "full embedding",
        "folded_rows": folded,
        "directions": len(averaged_sides(results.get("metrics") or {})),
        "dimension_tables": _dimension_tables(results, dimensions, full),
        "galleries": _galleries(run),
    }


def _tiles(run: RunFolder) -> list[Tile]:
    """Return the numbers at the top."""
    sides = measured_sides(run.results.get("metrics") or {})
    names = [f"{side}_r1" for side in sides]
    return metric_tiles(run, (*(["mean_r1"] if len(sides) > 2 else []), *names, "mean_r10", "mean_medr"))


def _guessing(run: RunFolder) -> str | None:
    """Say what chance alone would give, when the candidates are known."""
    archive = archive_of(run)
    if archive is None:
        return None
    counts = [(len(archive.image_ids), "pictures"), (len(archive.captions), "captions")]
    if archive.audio_ids is not None:
        counts.insert(1, (len(archive.audio_ids), "sounds"))
    *most, last = (f"{format_count(count)} {what}" for count, what in counts)
    sides = [side for side in measured_sides(run.results.get("metrics") or {}) if side in ENDS]
    found = {side: candidates(archive, side) for side in sides or ("i2t", "t2i")}
    chances = dict.fromkeys(found.values())
    if len(chances) == 1 and 0 not in chances:
        chance = f"R@1 {1 / next(iter(chances)):.4f}"
    else:
        by_count = {
            count: ", ".join(SIDES[side] for side in found if found[side] == count)
            for count in chances
            if count
        }
        chance = "R@1 " + " and ".join(f"{1 / count:.4f} ({words})" for count, words in by_count.items())
    return f"Measured on {', '.join(most)} and {last}; guessing would give {chance}."


def _dimension_tables(
    results: Mapping[str, Any], dimensions: list[int], full: int | None
) -> list[dict[str, Any]]:
    if len(dimensions) < 2:
        return []
    tables = [
        {"title": metric_label(base), "rows": dimension_rows(results, base, dimensions, full)}
        for base in (f"{side}_r1" for side in measured_sides(results.get("metrics") or {}))
    ]
    return [table for table in tables if table["rows"]]


def _galleries(run: RunFolder) -> list[dict[str, Any]]:
    """Return directions with something to look at; of those with sounds, what was measured."""
    archive = archive_of(run)
    if archive is None:
        return []
    measured = measured_sides(run.results.get("metrics") or {})
    shown = []
    for direction, title in GALLERIES.items():
        asking, found = ENDS[direction]
        if "audio" in (asking, found) and direction not in measured:
            continue
        try:
            chosen = gallery(archive, direction)
        except DataError as error:
            logger.warning("no gallery: %s", error)
            continue
        shown.append({"asking": asking, "found": found, "title": title, "groups": chosen})
    return shown


def write_search_page(path: Path | str, query: str | bytes, results: Sequence[Hit]) -> Path:
    """Write a self-contained page of search results.

    Args:
        path: The HTML file; folders above it are made.
        query: The words, or the query picture as PNG, JPEG, WebP or GIF bytes.
        results: Pictures found, best first.

    Returns:
        `path`.
    """
    words = query if isinstance(query, str) else None
    picture = query if isinstance(query, bytes) else None
    return write_page(Path(path), "search.html.j2", words=words, picture=picture, results=list(results))
