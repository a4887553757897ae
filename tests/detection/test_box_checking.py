"""`data check` of pictures with boxes: bad rows, a swapped order, rows on two sides."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edge_glass.cli import main
from edge_glass.cli.data import BOX_SPECS
from edge_glass.detection.boxes.spec import BoxSpec
from edge_glass.detection.data.checking import check_boxes
from scene_rows import noise, row, shape_rows, write_rows


def test_the_command_line_knows_every_spec() -> None:
    assert set(BOX_SPECS) == {spec.value for spec in BoxSpec}


def test_bad_rows_are_errors_and_shared_things_warnings(tmp_path: Path) -> None:
    good = shape_rows(6, each=2)
    bad = row(noise(9), [[0.6, 0.1, 0.2, 0.9]], name="upside_down", barcode="77")
    train = write_rows(tmp_path / "train.parquet", [*good, bad])
    val = write_rows(tmp_path / "val.parquet", [good[1], *shape_rows(2, first=10, each=2)])
    found = check_boxes([str(train), str(val)])
    assert found.rows == {str(train): 7, str(val): 3} and not found.ok
    (error,) = found.of("error")
    assert (error.row, error.reason) == (6, "bad_row")
    assert "upside_down" in error.detail and "inverted" in error.detail
    assert found.counts("warning") == {"shared_picture": 1, "shared_group": 1}
    assert str(train) in found.of("warning")[0].detail


def test_a_swapped_order_is_an_error(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "train.parquet", shape_rows(40))
    assert check_boxes([str(file)]).ok
    wrong = check_boxes([str(file)], "xyxy_relative")
    assert wrong.counts("error")["box_order"] == 1


@pytest.mark.parametrize(("spec", "code"), [("yxyx_relative", 0), ("xyxy_relative", 3)])
def test_on_the_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spec: str,
    code: int,
) -> None:
    file = write_rows(tmp_path / "train.parquet", shape_rows(40))
    arguments = ["data", "check", "--boxes", "--box-spec", spec, str(file)]
    monkeypatch.setattr(sys, "argv", ["edge-glass", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code
    said = capsys.readouterr().out
    assert "40 rows" in said
    assert (tmp_path / "rejects.csv").exists() == (code == 3)
