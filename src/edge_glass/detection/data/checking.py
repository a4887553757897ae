"""Check every row of sources of boxes, and the sources against each other, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_glass.data.checking import ERROR, WARNING, CheckReport, Finding
from edge_glass.detection.boxes.evidence import order_evidence
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.readers import read_detection
from edge_glass.detection.data.table import DetectionTable

BOX_FORMS = ("coco:", "yolo:", "voc:")


def is_box_source(source: str) -> bool:
    """Whether a source can only be one of boxes; a parquet file may be of anything."""
    return source.startswith(BOX_FORMS)


def check_boxes(
    sources: Sequence[str],
    spec: BoxSpec | str = BoxSpec.YXYX_RELATIVE,
    image_root: str | Path | None = None,
) -> CheckReport:
    """Read all of these sources as training would.

    Errors are rows that cannot be used, and boxes that fit their pictures better with x and y swapped;
    warnings are rows whose picture, or group such as a barcode, another source has too.

    Args:
        sources: As for `read_detection`.
        spec: How boxes are written in parquet files.
        image_root: Folder of the pictures that annotations name.

    Raises:
        ConfigError: A source is of no known form.
        DataError: A source is missing or cannot be read.
    """
    report = CheckReport()
    tables = {source: read_detection(source, spec, image_root) for source in sources}
    for source, table in tables.items():
        report.rows[source] = len(table) + len(table.rejected)
        report.findings += [
            Finding(source, table.source, one.row, ERROR, "bad_row", f"{one.identifier}: {one.reason}")
            for one in table.rejected
        ]
        evidence = order_evidence(table)
        if evidence.verdict == "swapped":
            told = f"{evidence.given:+.2f} as read, {evidence.swapped:+.2f} with x and y swapped"
            detail = f"the boxes fit the edges of {evidence.rows} pictures {told}; see --box-spec"
            report.findings.append(Finding(source, table.source, 0, ERROR, "box_order", detail))
    for modality, reason in (("vision", "shared_picture"), ("group", "shared_group")):
        report.findings += _shared(tables, modality, reason)
    return report


def _shared(tables: dict[str, DetectionTable], modality: str, reason: str) -> list[Finding]:
    """Rows of later sources that have something of an earlier one."""
    owner: dict[str, str] = {}
    found = []
    for source, table in tables.items():
        own: dict[str, str] = {}
        for row, keys in enumerate(table.keys(modality)):
            for key in keys:
                if key in owner:
                    detail = f"{table.ids[row]}: {owner[key]} has it too"
                    found.append(Finding(source, table.source, table.positions[row], WARNING, reason, detail))
                own[key] = source
        owner |= own
    return found
