"""What a data check found: complaints about rows, counted, listed and written as a table."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge_glass.core.files import atomic_file

ERROR: Final = "error"
WARNING: Final = "warning"

_COLUMNS: Final = ("split", "file", "row", "severity", "reason", "detail")


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint about one row.

    Attributes:
        split: name of the split.
        file: the parquet file.
        row: position in that file, from 0.
        severity: "error" (the row cannot be used) or "warning" (it repeats another).
        reason: short stable key, such as "truncated" or "duplicate_picture".
        detail: the same in plain words.
    """

    split: str
    file: str
    row: int
    severity: str
    reason: str
    detail: str


@dataclass
class CheckReport:
    """What `check_files` found; `rows` counts the rows of each split."""

    rows: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when every row can be used; duplicates do not count."""
        return not self.of(ERROR)

    def of(self, severity: str) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    def counts(self, severity: str | None = None) -> dict[str, int]:
        """Findings per reason, most frequent first."""
        chosen = self.findings if severity is None else self.of(severity)
        return dict(Counter(finding.reason for finding in chosen).most_common())

    def unusable(self, split: str) -> list[int]:
        """Positions of the rows of a split that cannot be used, ascending."""
        return sorted({finding.row for finding in self.of(ERROR) if finding.split == split})

    def lines(self) -> list[str]:
        """The report as lines of text: the splits, then each reason with its count and first row."""
        lines = [
            f"{split}: {rows} rows, {len(self.unusable(split))} unusable" for split, rows in self.rows.items()
        ]
        for severity in (ERROR, WARNING):
            found = self.of(severity)
            for reason, count in self.counts(severity).items():
                first = next(finding for finding in found if finding.reason == reason)
                where = f"{first.file} row {first.row}"
                lines.append(f"{severity}: {reason} x {count}, first {where}: {first.detail}")
        return lines


def write_rejects(report: CheckReport, path: Path) -> None:
    """Write every finding as a line of a CSV file (UTF-8), errors before warnings."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(_COLUMNS)
        for finding in report.of(ERROR) + report.of(WARNING):
            writer.writerow([getattr(finding, column) for column in _COLUMNS])
