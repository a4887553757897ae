"""A run folder as a finished run leaves it, with hostile captions."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edge_glass.alignment.measure.archive import EvaluationArchive, save_archive
from edge_glass.alignment.measure.metrics import estimate_retrieval
from edge_glass.alignment.measure.retrieval import join_results, retrieval_hits
from edge_glass.evaluation.results import SplitCount, assemble_results, write_json
from page_reader import read_page as read_page

HOSTILE = '<script>alert("x")</script> & $\\frac{1}{2$ 犬 "quoted"'
PAIRS, WIDTH, DIMENSIONS = 40, 32, [32, 8]


def picture(index: int) -> bytes:
    """A PNG of one coloured shape."""
    image = Image.new("RGB", (48, 48), "white")
    color = tuple(int(c) for c in np.random.default_rng(index).integers(0, 220, size=3))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if index % 2 else draw.rectangle)([8, 8, 40, 40], fill=color)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def build_run(
    folder: Path,
    *,
    noise: float = 0.6,
    baseline_noise: float = 50.0,
    closed_noise: float = 1.5,
    sounds: int = 0,
) -> Path:
    """Write every file of a finished run; the noises set how good the three models are.

    With `sounds`, the last that many rows have a sound too.
    """
    generator = np.random.default_rng(0)
    images = generator.normal(size=(PAIRS, WIDTH)).astype(np.float32)
    groups = np.arange(PAIRS)
    heard = groups[PAIRS - sounds :]

    def measure(scale: float):
        texts = images + scale * generator.normal(size=images.shape)
        result = retrieval_hits(images, texts, groups, groups, DIMENSIONS)
        audio = None
        if sounds:
            audio = images[heard] + 1.5 * scale * generator.normal(size=(sounds, WIDTH))
            others = {("audio", "text"): (audio, texts[heard]), ("vision", "audio"): (images[heard], audio)}
            pairs = [
                retrieval_hits(first, second, heard, heard, DIMENSIONS, modalities=names)
                for names, (first, second) in others.items()
            ]
            result = join_results([result, *pairs])
        return (texts, audio), result, estimate_retrieval(result, samples=300)

    (texts, audio), _, trained = measure(noise)
    _, untouched_result, untouched = measure(baseline_noise)
    _, _, closed = measure(closed_noise)
    thumbnails: list[bytes | None] = [picture(i) for i in range(PAIRS)]
    thumbnails[3], thumbnails[4] = None, b"<svg onload=alert(1)>"
    archive = EvaluationArchive(
        image_embeddings=images,
        text_embeddings=texts,
        image_groups=groups,
        text_groups=groups,
        image_ids=[f"<b>{i}</b>.png" for i in range(PAIRS)],
        captions=[f"{HOSTILE} {i}" for i in range(PAIRS)],
        thumbnails=thumbnails,
        baseline_image_ranks=untouched_result.ranks["i2t", WIDTH],
        baseline_text_ranks=untouched_result.ranks["t2i", WIDTH],
        audio_embeddings=audio,
        audio_groups=heard if sounds else None,
        audio_ids=[f"<b>{i}</b>.flac" for i in heard] if sounds else None,
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_archive(folder, "test", archive)
    results = assemble_results(
        split="test",
        metric="mean_r1",
        trained=trained,
        baseline=untouched,
        closed_form=closed,
        seconds=200.0,
        samples=4000,
        data={"train": SplitCount(1468, {"<i>cannot be decoded</i>": 2, "caption is empty": 1})},
    )
    write_json(folder / "results.json", results)
    write_json(folder / "parameters.json", {"<u>vision</u>": {"total": 3_371_040, "trained": 0}})
    write_json(folder / "environment.json", {"packages": {"torch": "<2.0>"}, "gpus": []})
    (folder / "config.yaml").write_text(
        "name: '<em>emoji</em>'\ntask: alignment\nlosses: {contrastive: 0.25, mrl: 1.0}\n# </pre><script>\n",
        encoding="utf-8",
    )
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in (logged_pairs() if sounds else logged())), encoding="utf-8"
    )
    return folder


def logged(steps: int = 100) -> list[dict[str, float]]:
    """Lines of metrics.jsonl, the untouched model first."""
    rows: list[dict[str, float]] = [
        {"step": 0, "epoch": 0, "val/loss": 5.2, "val/i2t_r1": 0.02, "val/mean_r1": 0.02}
    ]
    for step in range(1, steps + 1):
        decay = math.exp(-step / 30)
        row = {
            "step": step,
            "epoch": step / 20,
            "time": step * 0.1,
            "train/loss": 1 + 4.2 * decay,
            "train/loss_clip": 0.8 + 3.3 * decay,
            "train/loss_mrl": 0.8 + 3.4 * decay,
            "train/lr": 2e-4 * min(step / 10, 1.0),
            "train/ln_batch": math.log(64),
            "train/off_diagonal_cosine": 0.1 + 0.2 * decay,
            "train/effective_rank": 20 * (1 - decay) + 1,
            "train/temperature": 0.07 * decay,
        }
        if step % 20 == 0:
            row |= {
                "val/loss": 2 + 3 * decay,
                "val/i2t_r1": 0.4 * (1 - decay),
                "val/mean_r1": 0.38 * (1 - decay),
            }
        rows.append(row)
    return rows


def logged_pairs(steps: int = 100, mixed: bool = False) -> list[dict[str, float]]:
    """The same with three pairs of modalities; `mixed`: every third batch holds one pair only."""
    rows = logged(steps)
    for row in rows:
        step = row["step"]
        decay = math.exp(-step / 30)
        single = mixed and step % 3 == 0
        for offset, pair in enumerate(() if single else ("vision_text", "audio_text", "vision_audio")):
            if "train/loss" in row:
                row |= {
                    f"train/loss_clip_{pair}": 0.4 + 0.3 * offset + 3.4 * decay,
                    f"train/loss_mrl_{pair}": 0.5 + 0.3 * offset + 3.4 * decay,
                    f"train/ln_batch_{pair}": math.log(64),
                    f"train/off_diagonal_cosine_{pair}": 0.1 + 0.2 * decay + 0.05 * offset,
                    f"train/effective_rank_{pair}": (20 - 5 * offset) * (1 - decay) + 1,
                    f"train/temperature_{pair}": 0.07 - 0.01 * offset * (1 - decay),
                }
            if "val/loss" in row:
                row[f"val/loss_clip_{pair}"] = 0.7 + 0.4 * offset + 3.2 * decay
        if "val/loss" in row:
            for offset, side in enumerate(("i2t", "t2i", "a2t", "t2a", "v2a", "a2v")):
                row[f"val/{side}_r1"] = (0.6 - 0.07 * offset) * (1 - decay) + 0.02
    return rows


@pytest.fixture(scope="session")
def make_pair_rows() -> Callable[..., list[dict[str, float]]]:
    """`logged_pairs`, for tests that write metrics of their own."""
    return logged_pairs


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """`build_run`, for tests that need a run of their own."""
    return build_run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that tests may add plots and pages to, and must not change otherwise."""
    return build_run(tmp_path_factory.mktemp("runs") / "emoji")


@pytest.fixture(scope="session")
def run_with_sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with three modalities, where 30 of 40 rows have sounds."""
    return build_run(tmp_path_factory.mktemp("runs") / "spoken", sounds=30)
