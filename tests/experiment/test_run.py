"""One run from beginning to end, in the toy size: what it leaves behind, and that it can be taken away."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import edge_glass
from edge_glass.alignment.measure.archive import load_archive
from edge_glass.config import ExperimentConfig, dump_config, load_config
from edge_glass.core.errors import CheckpointError, ConfigError, DataError, EdgeGlassError
from edge_glass.data.generated import generated_splits
from edge_glass.experiment.ablation import ablate
from edge_glass.experiment.folder import only_run_in
from edge_glass.experiment.run import RunResult
from edge_glass.training.checkpoint import list_checkpoints, problems, read_checkpoint

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
QUICKSTART = CONFIGS / "quickstart.yaml"


@pytest.fixture(scope="module")
def _home(session_home: str) -> Iterator[None]:
    """As the fixture of all tests, for runs that several tests look at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_GLASS_HOME", session_home)
        yield


@pytest.fixture(scope="module")
def finished(_home: None, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A finished run. Tests may not change it."""
    folder = tmp_path_factory.mktemp("runs") / "quickstart"
    return edge_glass.train(load_config(QUICKSTART, tiny=True), output=folder, progress=False)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Files with sizes and times of change."""
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


# The run folder


def test_the_run_folder_is_as_designed(finished: RunResult) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names >= {
        *(
            "config.yaml",
            "environment.json",
            "metrics.jsonl",
            "metrics.csv",
            "baseline.json",
            "parameters.json",
        ),
        *("checkpoints", "model", "results.json", "plots", "report.html", "evaluation", "index"),
    }
    assert not [name for name in names if name.startswith(".")], "left behind"
    assert {path.suffix for path in (finished.folder / "plots").iterdir()} == {".png"}
    assert 1 <= len(list_checkpoints(finished.folder / "checkpoints")) <= 3
    pickles = {".pt", ".pth", ".bin", ".pkl", ".ckpt"}
    assert not [name for name in contents(finished.folder) if Path(name).suffix in pickles]


def test_results_have_their_form(finished: RunResult) -> None:
    results = json.loads((finished.folder / "results.json").read_text())
    assert results == finished.results
    assert results["split"] == "test"
    assert set(results["metrics"]) == set(results["baseline"])
    for entry in [*results["metrics"].values(), *results["baseline"].values()]:
        assert set(entry) == {"value", "low", "high"}
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert {"i2t_r1", "t2i_r1", "i2t_r10", "mean_r1"} <= set(results["metrics"])
    assert any("@" in name for name in results["metrics"])
    verdict = results["verdict"]
    assert verdict["status"] in ("improved", "unchanged", "worse") and verdict["metric"] == "mean_r1"
    after, before = results["metrics"]["mean_r1"]["value"], results["baseline"]["mean_r1"]["value"]
    assert verdict["difference"] == pytest.approx(after - before)
    assert verdict["low"] <= verdict["difference"] <= verdict["high"]
    assert results["seconds"] > 0
    assert results["samples"] == 2 * 32  # two epochs of the generated rows
    assert {name: split["rows"] for name, split in results["data"].items()} == {
        "train": 32,
        "val": 8,
        "test": 8,
    }


def test_the_baseline_is_the_untouched_model(finished: RunResult) -> None:
    baseline = json.loads((finished.folder / "baseline.json").read_text())
    assert baseline == {"split": "test", "metrics": finished.results["baseline"]}


def test_the_config_repeats_the_run(finished: RunResult, tmp_path: Path) -> None:
    written = finished.folder / "config.yaml"
    assert load_config(written) == load_config(QUICKSTART, tiny=True)
    again = edge_glass.train(load_config(written), output=tmp_path / "again", progress=False)
    assert again.results["metrics"] == finished.results["metrics"]
    heads = "model/heads.safetensors"
    assert (again.folder / heads).read_bytes() == (finished.folder / heads).read_bytes()


def test_the_environment_tells_what_it_stood_on(finished: RunResult) -> None:
    environment = json.loads((finished.folder / "environment.json").read_text())
    assert environment["packages"]["torch"] and environment["python"]
    assert environment["hardware"]["cpu_cores"] >= 1
    assert set(environment["fingerprints"]["weights"]) == {"vision", "text"}
    assert set(environment["fingerprints"]["data"]) == {"train", "val", "test"}


def test_metrics_have_every_step_once(finished: RunResult) -> None:
    lines = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/loss" in line] == list(range(1, 9))
    measured = [line["step"] for line in lines if "val/mean_r1" in line]
    assert measured and measured[-1] == 8
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_the_model_is_the_best_checkpoint(finished: RunResult) -> None:
    lines = [json.loads(line) for line in (finished.folder / "metrics.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["val/mean_r1"] for line in lines if "val/mean_r1" in line}
    best = max(scores, key=lambda step: scores[step])
    kept = finished.folder / f"checkpoints/step-{best:06d}/model.safetensors"
    from safetensors.torch import load_file

    chosen, model = load_file(kept), load_file(finished.folder / "model" / "heads.safetensors")
    assert chosen.keys() == model.keys()
    assert all(chosen[name].equal(model[name]) for name in chosen)


# Starting again


def test_a_finished_run_is_left_alone_by_resume(finished: RunResult) -> None:
    before = contents(finished.folder)
    config = load_config(QUICKSTART, ["training.epochs=99"], tiny=True)
    assert edge_glass.train(config, output=finished.folder, resume="latest") == finished
    assert contents(finished.folder) == before


def test_starting_again_needs_a_decision(finished: RunResult) -> None:
    before = contents(finished.folder)
    with pytest.raises(ConfigError) as caught:
        edge_glass.train(load_config(QUICKSTART, tiny=True), output=finished.folder)
    message = str(caught.value)
    assert str(finished.folder) in message and "--resume" in message and "--output" in message
    assert contents(finished.folder) == before


def test_resume_without_a_run_begins_one(tmp_path: Path) -> None:
    config = load_config(QUICKSTART, ["training.max_steps=1"], tiny=True)
    assert (
        edge_glass.train(config, output=tmp_path / "new", resume="latest", progress=False).results["samples"]
        == 8
    )


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    config = load_config(QUICKSTART, tiny=True)
    with pytest.raises(
        CheckpointError, match=r"nowhere is not a complete checkpoint: manifest.json is missing"
    ):
        edge_glass.train(config, output=tmp_path / "new", resume=str(tmp_path / "nowhere"))
    assert not (tmp_path / "new").exists()


def test_other_settings_are_named_on_resume(
    finished: RunResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    checkpoint = list_checkpoints(folder / "checkpoints")[-1]
    config = load_config(QUICKSTART, ["optimization.lr=0.5", "training.early_stopping_patience=7"], tiny=True)
    with (
        caplog.at_level(logging.WARNING, logger="edge_glass"),
        limited_file_size(0),
        pytest.raises(ConfigError),
    ):
        edge_glass.train(config, output=folder, resume=str(checkpoint), progress=False)
    lr = load_config(QUICKSTART, tiny=True).optimization.lr
    assert f"{folder} goes on with other settings than it began with" in caplog.text
    assert f"optimization.lr (was {lr}, is 0.5)" in caplog.text
    assert "training.early_stopping_patience (was None, is 7)" in caplog.text
    assert (folder / "config.yaml").read_bytes() == (finished.folder / "config.yaml").read_bytes()


def test_a_finished_run_says_that_other_settings_and_rows_were_not_used(
    finished: RunResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    claim_other_rows(folder)
    before = contents(folder)
    config = load_config(QUICKSTART, ["optimization.lr=0.5"], tiny=True)
    edge_glass.train(config, output=folder, resume="latest", progress=False)
    lr = load_config(QUICKSTART, tiny=True).optimization.lr
    assert f"was trained with others: optimization.lr (was {lr}, is 0.5), the val split" in caplog.text
    assert contents(folder) == before


def test_another_optimizer_cannot_go_on(finished: RunResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    config = load_config(QUICKSTART, ["optimization.optimizer=adafactor"], tiny=True)
    checkpoint = list_checkpoints(folder / "checkpoints")[0]
    with pytest.raises(ConfigError, match=r"another optimizer: optimization\.optimizer \(was adamw, is ada"):
        edge_glass.train(config, output=folder, resume=str(checkpoint), progress=False)


def claim_other_rows(folder: Path) -> None:
    """Let a run say that it was trained with another validation split."""
    environment = json.loads((folder / "environment.json").read_text())
    environment["fingerprints"]["data"]["val"] = "0" * 64
    (folder / "environment.json").write_text(json.dumps(environment))


def test_other_rows_cannot_go_on(finished: RunResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    claim_other_rows(folder)
    (folder / "results.json").unlink()
    before = contents(folder)
    config = load_config(QUICKSTART, ["optimization.lr=0.5"], tiny=True)
    with pytest.raises(DataError, match=r"was begun with other rows: the val split\."):
        edge_glass.train(config, output=folder, resume="latest", progress=False)
    assert contents(folder) == before


def test_a_changed_caption_is_another_row() -> None:
    table = generated_splits()["val"]
    assert table.digest() == table.select(range(len(table))).digest()
    captions = [["something else"], *table.captions[1:]]
    assert table.digest() != replace(table, captions=captions).digest()
    assert table.digest() != table.select([1, 0, *range(2, len(table))]).digest()


def test_a_second_run_in_one_folder_is_refused(tmp_path: Path) -> None:
    config = load_config(QUICKSTART, tiny=True)
    with only_run_in(tmp_path), pytest.raises(ConfigError, match="another process trains in this folder"):
        edge_glass.train(config, output=tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_learns_nothing_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["training.max_steps=1", "optimization.warmup_ratio=0.1"]
    edge_glass.train(load_config(QUICKSTART, options, tiny=True), output=tmp_path / "run", progress=False)
    assert "the only step has learning rate 0" in caplog.text
    rates = [json.loads(line).get("train/lr") for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [rate for rate in rates if rate is not None] == [0.0]


def test_tiny_names_what_it_does_not_use(caplog: pytest.LogCaptureFixture) -> None:
    load_config(QUICKSTART, ["dataset.train_parquet=mine.parquet", "training.epochs=1"], tiny=True)
    assert "not used: dataset.train_parquet" in caplog.text
    assert "epochs" not in caplog.text


# Taking it away


def write_parquet(folder: Path) -> dict[str, str]:
    """The generated rows as three files."""
    files = {}
    for split, table in generated_splits().items():
        file = folder / f"{split}.parquet"
        captions = [row[0] for row in table.captions]
        pq.write_table(pa.table({"image_bytes": table.pictures, "caption": captions}), file)
        files[f"dataset.{split}_parquet"] = str(file)
    return files


@pytest.fixture(scope="module")
def real_files(_home: None, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A finished run over parquet files and saved encoders, both of which are gone afterwards."""
    from edge_glass.encoders.text import TextEncoder
    from edge_glass.encoders.vision import VisionEncoder

    sources = tmp_path_factory.mktemp("sources")
    VisionEncoder.tiny().save(sources / "vision")
    TextEncoder.tiny().save(sources / "text")
    settings: dict[str, Any] = write_parquet(sources) | {
        "vision_encoder.source": str(sources / "vision"),
        "text_encoder.source": str(sources / "text"),
        "vision_encoder.projection_dim": 16,
        "vision_encoder.mrl_dimensions": [16, 8],
        "dataset.batch_size": 8,
        "dataset.id_column": "null",
        "dataset.extra_captions_column": "null",
        "training.epochs": 2,
    }
    config = load_config(
        CONFIGS / "base_alignment.yaml", [f"{key}={value}" for key, value in settings.items()]
    )
    result = edge_glass.train(config, output=tmp_path_factory.mktemp("runs") / "real", progress=False)
    shutil.rmtree(sources)
    return result


def test_the_model_works_on_another_machine(
    real_files: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cache, no data files, no encoder folders, another place and working directory."""
    there = tmp_path / "there"
    shutil.copytree(real_files.folder, there)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = edge_glass.load(str(there))
    archive = load_archive(there, "test")
    test = generated_splits()["test"]
    pictures = [test.picture(row) for row in range(len(test))]
    for dim in model.dimensions:
        cut = archive.image_embeddings[:, :dim]
        expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
        np.testing.assert_allclose(model.encode_images(pictures, dim), expected, rtol=0, atol=1e-5)
        cut = archive.text_embeddings[:, :dim]
        expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
        np.testing.assert_allclose(model.encode_text(archive.captions, dim), expected, rtol=0, atol=1e-5)
    hits = model.search(archive.captions[0], k=48)
    assert len({hit.identifier for hit in hits}) > 1 and len(hits) == 48
    assert not (tmp_path / "empty").exists(), "something was fetched or cached"
    # The model folder alone is enough to encode.
    alone = edge_glass.load(str(shutil.copytree(there / "model", tmp_path / "alone")))
    assert np.array_equal(alone.encode_text(["a red ring"]), model.encode_text(["a red ring"]))


@pytest.mark.parametrize("which", ["same cache", "empty cache", "no cache"])
def test_evaluate_gives_the_same_numbers(
    finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    if which == "empty cache":
        monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "empty"))
    overrides = ["training.feature_cache=off"] if which == "no cache" else []
    again = edge_glass.evaluate(folder, overrides, progress=False)
    assert again["metrics"] == finished.results["metrics"]
    assert json.loads((folder / "evaluation" / "test.json").read_text()) == again
    assert edge_glass.evaluate(folder, overrides, "val", progress=False)["split"] == "val"


def test_evaluate_needs_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a run folder"):
        edge_glass.evaluate(tmp_path)


# Every experiment


ALIGNMENT = [
    file for file in sorted(CONFIGS.glob("*.yaml")) if load_config(file, tiny=True).task == "alignment"
]


@pytest.mark.parametrize("file", ALIGNMENT, ids=lambda file: file.stem)
def test_every_config_passes_tiny(file: Path, tmp_path: Path) -> None:
    config = load_config(file, tiny=True)
    result = edge_glass.train(config, output=tmp_path / "run", progress=False)
    assert result.results["verdict"]["metric"] == config.evaluation.primary_metric
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert edge_glass.load(str(tmp_path / "run")).dimensions[0] == config.vision_encoder.projection_dim


def test_an_ablation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    config = load_config(CONFIGS / "mrl_ablation.yaml", ["training.max_steps=2"], tiny=True)
    assert config.ablation is not None
    names = list(config.ablation.variants)
    some = config.ablation.model_copy(
        update={"variants": dict(list(config.ablation.variants.items())[:2]), "seeds": [0]}
    )
    config = config.model_copy(update={"ablation": some})

    def stop(line: str) -> None:
        assert line.startswith(f"{names[0]} seed 0: i2t_r1 ")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # the second variant has not been run
        ablate(config, tmp_path, progress=False, show=stop)
    first = tmp_path / f"{names[0]}-seed0"
    before = contents(first)
    assert not (tmp_path / f"{names[1]}-seed0").exists()

    found = edge_glass.ablate(config, tmp_path, progress=False)
    assert [(row["variant"], row["seed"]) for row in found.rows] == [(name, 0) for name in names[:2]]
    assert all(0 <= row["metrics"]["i2t_r1"]["value"] <= 1 for row in found.rows)
    assert contents(first) == before, "a finished variant was touched"
    assert found.page.is_file() and (tmp_path / "ablation.csv").is_file()

    other = config.model_copy(update={"optimization": config.optimization.model_copy(update={"lr": 0.5})})
    with pytest.raises(ConfigError, match=r"config\.yaml: expected the configuration"):
        edge_glass.ablate(other, tmp_path, progress=False)


def test_an_ablation_needs_its_section() -> None:
    with pytest.raises(ConfigError, match="`ablation` section"):
        edge_glass.ablate(load_config(QUICKSTART, tiny=True))


# A full disk


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def config() -> ExperimentConfig:
    """Two steps, a checkpoint after each."""
    return load_config(QUICKSTART, ["training.max_steps=2", "training.eval_epochs=0.25"], tiny=True)


def test_no_room_for_the_model(config: ExperimentConfig, tmp_path: Path) -> None:
    """The checkpoints fit, the finished model does not: nothing is lost, and resuming only saves it."""
    largest = 0
    whole = edge_glass.train(config, output=tmp_path / "whole", progress=False)
    for folder in list_checkpoints(whole.folder / "checkpoints"):
        largest = max(largest, *(file.stat().st_size for file in folder.iterdir()))
    encoder = whole.folder / "model/vision_encoder/model.safetensors"
    assert largest < encoder.stat().st_size - 1000, "a limit between the two cannot be chosen"
    folder = tmp_path / "full"
    with limited_file_size(encoder.stat().st_size - 500), pytest.raises(CheckpointError) as caught:
        edge_glass.train(config, output=folder, progress=False)
    assert f"{folder}/model: the model could not be written" in str(caught.value)
    assert "--resume" in str(caught.value) and caught.value.exit_code == 2
    assert not (folder / "model").exists() and not list(folder.glob(".tmp-*"))
    assert not (folder / "results.json").exists()
    newest = list_checkpoints(folder / "checkpoints")[0]
    assert problems(newest) is None
    resumed = edge_glass.train(config, output=folder, resume="latest", progress=False)
    assert resumed.results["metrics"] == whole.results["metrics"]
    heads = "model/heads.safetensors"
    assert (resumed.folder / heads).read_bytes() == (whole.folder / heads).read_bytes()


@pytest.mark.parametrize("size", [0, 1000, 3000, 5000, 20_000, 60_000, 90_000, 150_000, 250_000])
def test_no_room_at_all(
    config: ExperimentConfig, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the disk is full first (config, log, cache, checkpoint, …): a message, never a traceback."""
    monkeypatch.setenv("EDGE_GLASS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "run"
    with limited_file_size(size), pytest.raises(EdgeGlassError) as caught:
        edge_glass.train(config, output=folder, progress=False)
    message = str(caught.value)
    assert caught.value.exit_code in (2, 3)
    assert str(tmp_path) in message and 1 <= message.count("\n") + 1 <= 2, message
    for checkpoint in list_checkpoints(folder / "checkpoints"):
        read_checkpoint(checkpoint)
    if (folder / "config.yaml").exists():
        assert (folder / "config.yaml").read_text() == dump_config(config)
