"""The pixel budget: set once, seen in its effect, kept by the processor's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_vlms import FAMILIES

from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.vlm.family import build_processor
from edge_glass.vlm.loading import load_processor
from edge_glass.vlm.pixel_budget import PixelBudget, require_effect, set_pixel_budget


def seen(processor: Any, width: int, height: int) -> int:
    """Pixels of a picture as the model sees it."""
    found = processor.image_processor(images=[Image.new("RGB", (width, height))], return_tensors="pt")
    return int(found["image_grid_thw"].prod()) * processor.image_processor.patch_size**2


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_set_on_pictures_and_videos_and_kept(family: str, tmp_path: Path) -> None:
    processor = build_processor(family)
    assert seen(processor, 2000, 1000) > 900_000
    budget = set_pixel_budget(processor, 20_000, 100_000, family)
    assert budget.factor == (32 if family == "qwen3_vl" else 28)
    assert 60_000 < seen(processor, 2000, 1000) <= 100_000
    assert 20_000 <= seen(processor, 30, 20) < 30_000
    assert processor.video_processor.size["longest_edge"] == 100_000
    processor.save_pretrained(tmp_path)
    loaded = load_processor(str(tmp_path))
    assert PixelBudget.of(loaded) == budget
    assert seen(loaded, 2000, 1000) == seen(processor, 2000, 1000)
    require_effect(loaded, budget)


@pytest.mark.parametrize("pixels", [(784, 784), (3136, 3136), (784, 60_000), (3136, 4_000_000)])
@pytest.mark.parametrize("family", ["qwen2_vl"])
def test_narrow_and_wide_budgets(family: str, pixels: tuple[int, int]) -> None:
    assert set_pixel_budget(build_processor(family), *pixels, family).max_pixels == pixels[1]


def test_a_budget_that_cannot_be_kept() -> None:
    processor = build_processor("qwen3_vl")
    with pytest.raises(ConfigError, match="expected at least 1024, one token of qwen3_vl, got 784"):
        set_pixel_budget(processor, 784, 784, "qwen3_vl")
    with pytest.raises(ConfigError, match=r"min_pixels: .* at most vlm.max_pixels \(4000\), got 9000"):
        set_pixel_budget(processor, 9000, 4000, "qwen3_vl")


@pytest.mark.parametrize(("which", "ignored"), [("max", "longest_edge"), ("min", "shortest_edge")])
def test_a_budget_that_is_accepted_but_ignored(
    which: str, ignored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `max_pixels` once was: the attribute is there, and pictures come out as before."""
    processor = build_processor("qwen2_vl", 3136, 50_000)
    images = processor.image_processor
    resize = type(images).resize

    def stubborn(self: Any, images: Any, size: Any, *rest: Any, **options: Any) -> Any:
        before = {"longest_edge": 50_000, "shortest_edge": 3136}[ignored]
        setattr(size := type(size)(**dict(size)), ignored, before)
        return resize(self, images, size, *rest, **options)

    monkeypatch.setattr(type(images), "resize", stubborn)
    with pytest.raises(
        ConfigError, match=rf"{which}_pixels is \d+, but Qwen2VLImageProcessor shows the model"
    ):
        set_pixel_budget(processor, 9000, 500_000, "qwen2_vl")


def test_another_budget_is_refused() -> None:
    budget = PixelBudget.of(build_processor("qwen2_vl", 3136, 50_000))
    budget.require(PixelBudget(**budget.record()), "here")
    for change in (
        {"max_pixels": 60_000},
        {"patch_size": 16},
        {"image_processor": "Qwen2VLImageProcessorPil"},
    ):
        name, value = next(iter(change.items()))
        with pytest.raises(CheckpointError, match=f"here: .* another .*{name}: expected .*, got {value}"):
            budget.require(replace(budget, **change), "here")  # type: ignore[arg-type]
