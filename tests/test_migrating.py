"""Every row of docs/migrating.md: what works does work, and a message names what has the old call's place."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import edge_glass
from edge_glass.cli import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The cells of the table below a title, without backticks around them."""
    section = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code(cell: str) -> str:
    found = re.search(r"`([^`]+)`", cell)
    assert found is not None
    return found[1]


def _png(number: int) -> bytes:
    data = BytesIO()
    picture = Image.new("RGB", (32, 32), (number * 8, 255 - number * 7, number * 5 % 256))
    picture.putpixel((number, number), (255, 0, 0))
    picture.resize((64, 64)).rotate(number * 3).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.parquet"
    columns = {"image_bytes": [_png(i) for i in range(30)], "caption": [f"caption {i}" for i in range(30)]}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(("original", "today", "outcome"), [row[:3] for row in rows("Calls")])
def test_calls(original: str, today: str, outcome: str, parquet: Path) -> None:
    names: dict[str, Any] = {"parquet": parquet, "config": object()}
    names["transforms"] = edge_glass.get_image_transforms(image_size=32)
    expression = code(original)
    first = re.match(r"\w+", expression)
    assert first is not None

    def run() -> Any:
        return eval(expression, {first[0]: getattr(edge_glass, first[0]), **names})

    if outcome == "works":
        assert run() is not None
        return
    assert outcome == "message"
    with pytest.raises(edge_glass.ConfigError) as error:
        run()
    assert code(today) in str(error.value) or code(today).removesuffix("()") in str(error.value)


def test_old_words_mean_the_same(parquet: Path, tmp_path: Path) -> None:
    transforms = edge_glass.get_image_transforms(image_size=32)
    loss = edge_glass.AlignmentLoss([8, 4], contrastive_weight=0.5, mrl_weight=2.0)
    assert (loss.contrastive, loss.mrl) == (0.5, 2.0)
    old = edge_glass.PixmoParquetImageTextDataset(parquet_path=parquet, image_transforms=transforms)
    new = edge_glass.PixmoParquetImageTextDataset(parquet, transforms)
    assert old[3]["id"] == new[3]["id"] and (old[3]["pixels"] == new[3]["pixels"]).all()
    picture = Image.new("RGB", (8, 8))
    (tmp_path / "one.png").write_bytes(_png(1))
    (tmp_path / "two.png").write_bytes(_png(2))
    (tmp_path / "captions.csv").write_text("file_name,caption\none.png,a\ntwo.png,b\n")
    beside = edge_glass.ImageTextDataset(metadata_path=tmp_path / "captions.csv", transforms=transforms)
    assert [beside[row]["text"] for row in (0, 1)] == ["a", "b"]
    stored = [{"role": "user", "content": [{"type": "image", "image": "IMAGE_PLACEHOLDER"}]}]
    ((turn,),) = edge_glass.restore_images_in_conversations([stored], [picture])
    assert turn["content"] == [{"type": "image", "image": picture}]
    with pytest.raises(edge_glass.ConfigError, match="got both"):
        edge_glass.AlignmentLoss([8], contrastive=1.0, contrastive_weight=1.0)


@pytest.mark.parametrize(("original", "today"), rows("Keys of an experiment file"))
def test_keys(original: str, today: str) -> None:
    file = "trm_vlm_qa" if code(original).startswith("decoder") else "quickstart"
    with pytest.raises(edge_glass.ConfigError) as error:
        edge_glass.load_config(ROOT / "configs" / f"{file}.yaml", [f"{code(original)}=1"])
    assert code(today) in str(error.value)


@pytest.mark.parametrize(("original", "today"), rows("Scripts"))
def test_scripts(original: str, today: str) -> None:
    program, *words = code(today).split()
    assert program == "edge-glass"
    command: Any = cli
    for word in words:
        if not hasattr(command, "commands"):
            break
        command = command.commands[word]
    for word in words:
        if word.startswith("configs/"):
            assert (ROOT / word).is_file()


@pytest.mark.parametrize(("original", "today"), rows("Experiment files"))
def test_experiment_files(original: str, today: str) -> None:
    assert (ROOT / code(today)).exists()
