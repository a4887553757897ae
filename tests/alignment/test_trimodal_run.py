"""Runs with pictures, sounds and words from beginning to end, in the toy size."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import edge_glass
from edge_glass.alignment.measure.archive import load_archive
from edge_glass.alignment.measure.retrieval import DIRECTIONS
from edge_glass.alignment.model.folder import load_model
from edge_glass.alignment.task import AlignmentTask
from edge_glass.config import load_config
from edge_glass.core.errors import DataError
from edge_glass.data.generated import generated_splits
from edge_glass.data.samples import SampleTable
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.experiment.run import RunResult

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
TRIMODAL = CONFIGS / "trimodal_emoji.yaml"
EVERY_DIRECTION = {name for pair in DIRECTIONS.values() for name in pair}


@pytest.fixture(scope="module")
def _home(session_home: str) -> Iterator[None]:
    """As the fixture of all tests, for runs that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_GLASS_HOME", session_home)
        yield


@pytest.fixture(scope="module")
def finished(_home: None, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A finished run. Tests may not change it."""
    folder = tmp_path_factory.mktemp("runs") / "trimodal"
    return edge_glass.train(load_config(TRIMODAL, tiny=True), output=folder, progress=False)


def test_results_have_all_directions(finished: RunResult) -> None:
    metrics, baseline = finished.results["metrics"], finished.results["baseline"]
    assert {name.split("_")[0] for name in metrics} == {*EVERY_DIRECTION, "mean"}
    assert set(metrics) == set(baseline)
    mean = np.mean([metrics[f"{direction}_r1"]["value"] for direction in EVERY_DIRECTION])
    assert metrics["mean_r1"]["value"] == pytest.approx(mean)
    assert finished.results["verdict"]["metric"] == "mean_r1"
    assert json.loads((finished.folder / "baseline.json").read_text())["metrics"] == baseline
    assert (finished.folder / "report.html").stat().st_size > 10_000


def test_the_log_has_each_pair_and_every_step_once(finished: RunResult) -> None:
    lines = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "train/loss" in line]
    # 24 rows with everything, 4 without sounds, 4 without pictures: five batches an epoch.
    assert steps == list(range(1, 11))
    measured = [line for line in lines if "val/mean_r1" in line]
    assert {f"val/loss_clip_{pair}" for pair in ("vision_text", "audio_text", "vision_audio")} <= set(
        measured[-1]
    )
    assert all(np.isfinite(line["train/loss"]) for line in lines if "train/loss" in line)


def test_what_it_stood_on_is_written_down(finished: RunResult) -> None:
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert set(environment["fingerprints"]["weights"]) == {"vision", "audio", "text"}
    parameters = json.loads((finished.folder / "parameters.json").read_text())
    assert parameters["audio encoder"]["trained"] == 0 < parameters["audio projection"]["trained"]
    archive = load_archive(finished.folder, "test")
    assert archive.audio_embeddings is not None and archive.audio_embeddings.shape == (8, 32)
    assert archive.audio_ids == list(generated_splits(sounds=True)["test"].ids)
    assert (finished.folder / "model" / "audio_encoder").is_dir()


@pytest.mark.parametrize("which", ["same cache", "empty cache", "no cache"])
def test_evaluate_gives_the_same_numbers(
    finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    if which == "empty cache":
        monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "empty"))
    overrides = ["training.feature_cache=off"] if which == "no cache" else []
    assert edge_glass.evaluate(folder, overrides, progress=False)["metrics"] == finished.results["metrics"]


def test_the_config_repeats_the_run(finished: RunResult, tmp_path: Path) -> None:
    again = edge_glass.train(
        load_config(finished.folder / "config.yaml"), output=tmp_path / "again", progress=False
    )
    assert again.results["metrics"] == finished.results["metrics"]
    heads = "model/heads.safetensors"
    assert (again.folder / heads).read_bytes() == (finished.folder / heads).read_bytes()


def searched_as_archived(folder: Path, test: SampleTable) -> None:
    """Every picture of the test split scores in a search as its archived embeddings say."""
    model, archive = edge_glass.load(str(folder)), load_archive(folder, "test")
    rows = [list(test.ids).index(name) for name in archive.audio_ids or []]
    heard = model.encode_audio([test.sounds[test.positions[row]][0] for row in rows])
    unit = archive.audio_embeddings / np.linalg.norm(archive.audio_embeddings, axis=1, keepdims=True)
    np.testing.assert_allclose(heard, unit, rtol=0, atol=1e-5)
    pictures = archive.image_embeddings / np.linalg.norm(archive.image_embeddings, axis=1, keepdims=True)
    sound = test.sounds[test.positions[rows[0]]][0]
    alone = model.encode_audio([sound])[0]
    # A sound by itself takes other float32 kernels than a batch; on some processors they are 3e-4 apart.
    np.testing.assert_allclose(alone, unit[0], rtol=0, atol=1e-3)
    scores = pictures @ alone
    hits = model.search(audio=sound, k=10_000)
    found = {hit.identifier: hit.score for hit in hits if hit.split == "test"}
    assert found == pytest.approx(dict(zip(archive.image_ids, scores.tolist(), strict=True)), abs=1e-5)


def test_sounds_and_fused_queries_find_pictures(finished: RunResult) -> None:
    splits = generated_splits(sounds=True)
    searched_as_archived(finished.folder, splits["test"])
    model, test = edge_glass.load(str(finished.folder)), splits["test"]
    hits = model.search(test.captions[0][0], audio=test.sounds[0][0], image=test.picture(0), k=99)
    assert len(hits) == 28 + 8 + 8  # rows without a picture cannot be found
    parts = [
        model.encode_text([test.captions[0][0]]),
        model.encode_audio([test.sounds[0][0]]),
        model.encode_images([test.picture(0)]),
    ]
    query = np.mean(parts, axis=0)[0]
    index = model.index.embeddings / np.linalg.norm(model.index.embeddings, axis=1, keepdims=True)
    expected = np.sort(index @ query / np.linalg.norm(query))[::-1]
    np.testing.assert_allclose([hit.score for hit in hits], expected, rtol=0, atol=1e-5)


# From files


def write_files(folder: Path) -> dict[str, Any]:
    """The generated rows as parquet files: pictures, sounds and words; and spoken words alone."""
    splits = generated_splits(sounds=True)
    for split, table in splits.items():
        rows = range(len(table))
        columns = {
            "image_bytes": pa.array(
                [table.picture(row) if table.picture_hashes[row] else None for row in rows], pa.binary()
            ),
            "audio": pa.array(
                [table.sounds[row] if table.sound_hashes[row] else None for row in rows],
                pa.list_(pa.binary()),
            ),
            "caption": pa.array(
                [None if row == 3 and split == "train" else table.captions[row][0] for row in rows]
            ),
            "id": pa.array(list(table.ids)),
            "speaker": pa.array([f"{row % 10}" for row in rows]),
        }
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")
    spoken = splits["train"].select([0, 1, 2, 4])
    columns = {
        "image_bytes": pa.array([None] * 4, pa.binary()),
        "audio": pa.array([spoken.sounds[row] for row in (0, 1, 2, 4)], pa.list_(pa.binary())),
        "caption": pa.array([f"hear {captions[0]}" for captions in spoken.captions]),
        "id": pa.array([f"spoken-{row}" for row in range(4)]),
        "speaker": pa.array(["x"] * 4),
    }
    pq.write_table(pa.table(columns), folder / "spoken.parquet")
    return {f"dataset.{split}_parquet": folder / f"{split}.parquet" for split in splits}


def settings(folder: Path, files: dict[str, Any]) -> list[str]:
    VisionEncoder.tiny().save(folder / "vision")
    TextEncoder.tiny().save(folder / "text")
    AudioEncoder.tiny().save(folder / "audio")
    chosen = files | {
        "vision_encoder": f"{{source: {folder / 'vision'}, projection_dim: 16, mrl_dimensions: [16, 8]}}",
        "text_encoder.source": folder / "text",
        "audio_encoder.source": folder / "audio",
        "audio_encoder.pooling_type": "perceiver",
        "audio_encoder.perceiver.num_heads": 2,
        "fusion": "{kind: gated}",
        "losses.pairs.vision_audio": 0,
        "dataset.extra_train_parquet": f"[{folder / 'spoken.parquet'}]",
        "dataset.group_column": "speaker",
        "dataset.extra_captions_column": "null",
        "dataset.batch_size": 8,
        "training.epochs": 1,
        "training.warm_start": "none",
        "evaluation.primary_metric": "a2t_r1",
    }
    return [f"{key}={value}" for key, value in chosen.items()]


def test_a_run_from_files_with_fusion_and_rows_that_lack_something(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    config = load_config(CONFIGS / "base_alignment.yaml", settings(sources, write_files(sources)))
    result = edge_glass.train(config, output=tmp_path / "run", progress=False)
    plain, fused = {"i2t", "t2i", "a2t", "t2a", "mean"}, {"at2v", "vt2a", "va2t"}
    assert {name.split("_")[0] for name in result.results["metrics"]} == plain | fused
    assert result.results["verdict"]["metric"] == "a2t_r1"
    assert result.results["data"]["train"]["rows"] == 36
    assert edge_glass.evaluate(result.folder, progress=False)["metrics"] == result.results["metrics"]
    shutil.rmtree(sources)
    test = generated_splits(sounds=True)["test"]
    searched_as_archived(result.folder, test)
    model = load_model(result.folder / "model")
    assert model.fusion is not None and list(model.losses) == ["vision_text", "audio_text", "fused"]
    assert any(parameter.detach().any() for parameter in model.fusion.parameters()), "it was trained"


def test_a_column_of_sounds_that_is_missing_or_empty(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    chosen = [*settings(tmp_path, files), "dataset.extra_train_parquet=[]"]
    with pytest.raises(
        DataError, match=r"train\.parquet: no column 'speech'; it has image_bytes, audio, caption"
    ):
        AlignmentTask(
            load_config(CONFIGS / "base_alignment.yaml", [*chosen, "dataset.audio_column=speech"]), False
        )
    table = pq.read_table(files["dataset.val_parquet"])
    nothing = pa.array([None] * len(table), pa.binary())
    pq.write_table(table.set_column(1, "audio", nothing), files["dataset.val_parquet"])
    with pytest.raises(
        DataError, match=r"val\.parquet: 0 rows of the val split have a sound; two are needed"
    ):
        AlignmentTask(load_config(CONFIGS / "base_alignment.yaml", chosen), False)
