"""Pictures, sounds and words from the feature cache and as they are decoded give the same batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edge_glass.data.feature_cache as feature_cache
import edge_glass.data.features as features
import edge_glass.encoders.tower as tower_module
from edge_glass.alignment.data.feature_rows import FeatureRows
from edge_glass.alignment.task import AlignmentTask
from edge_glass.config.schema import ExperimentConfig
from edge_glass.data.datasets import TriModalDataset
from edge_glass.data.feature_cache import FeatureCache
from edge_glass.data.features import CachedFeatures, ItemRef, LiveFeatures
from edge_glass.data.generated import generated_splits
from edge_glass.training.sampler import EpochBatchSampler

MODALITIES = ("vision", "audio", "text")


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 everywhere, so that comparisons can be strict; one thread."""
    torch.set_num_threads(1)
    monkeypatch.setattr(tower_module, "fast_dtype", lambda device: torch.float32)


def task_of(
    cache: str,
    pooling: str = "mean",
    components: int | None = None,
    audio_pooling: str = "mean",
    **changes: Any,
) -> AlignmentTask:
    section = {
        "pooling_type": pooling,
        "perceiver": {"num_latents": 2, "depth": 1, "num_heads": 2},
        "head": {"components": components},
    }
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "tiny": True,
            "vision_encoder": {"projection_dim": 16, "mrl_dimensions": [16, 8], **section},
            "text_encoder": section,
            "audio_encoder": section | ({"pooling_type": audio_pooling} if pooling == "mean" else {}),
            "dataset": {"batch_size": 8, "text_dropout_prob": 0.3},
            "training": {"feature_cache": cache, "device": "cpu"},
            "seed": 3,
            **changes,
        }
    )
    return AlignmentTask(config, progress=False)


@pytest.mark.parametrize(
    ("pooling", "components", "audio_pooling"),
    [
        ("mean", None, "mean"),
        ("mean", None, "mean_max"),
        ("mean", 12, "mean_max"),
        ("simple", None, "simple"),
        ("perceiver", None, "perceiver"),
    ],
)
def test_cached_batches_equal_live_ones(tmp_path, monkeypatch, pooling, components, audio_pooling):
    monkeypatch.setattr(feature_cache, "SHARD_ROWS", 13)
    monkeypatch.setattr(features, "GROUP_ROWS", {"vision": 5, "audio": 3, "text": 6})
    sections = pooling, components, audio_pooling
    cached, live = task_of(str(tmp_path), *sections), task_of("off", *sections)
    rows, decoded = cached.train_dataset, live.train_dataset
    assert isinstance(rows, FeatureRows) and isinstance(decoded, TriModalDataset)
    towers = live.model.eval().towers
    kinds, takes = set(), set()
    # Components are scaled to one size, the smallest and least certain ones too.
    close = {"rtol": 1e-2, "atol": 1e-3} if components else {"rtol": 1e-3, "atol": 1e-4}
    for epoch in range(2):
        sampler = EpochBatchSampler(32, 8, seed=1, kinds=cached.row_kinds)
        sampler.epoch = epoch
        for keys in [*sampler, [(epoch, row) for row in (5, 6, 7, 14, 15)], [(epoch, 6)], [(epoch, 7)]]:
            one, other = rows.__getitems__(keys), live.collate([decoded[key] for key in keys])
            assert one["ids"] == other["ids"]
            kinds.add(tuple(len(one["rows"][name]) > 0 for name in MODALITIES))
            takes |= {int(decoded.choosers["audio"].takes(epoch)[row]) for _, row in keys}
            for name, tower in towers.items():
                assert torch.equal(one["rows"][name], other["rows"][name])
                assert torch.equal(one["groups"][name], other["groups"][name])
                assert one["rows"][name].dtype == one["groups"][name].dtype == torch.int64
                assert set(one[name]) == ({"vectors"} if components else {"tokens", "mask"})
                with torch.no_grad():
                    if not components and len(one["rows"][name]):
                        expected = tower.features(other[name])
                        assert torch.equal(one[name]["mask"], expected.mask)
                        torch.testing.assert_close(one[name]["tokens"], expected.tokens, rtol=1e-4, atol=1e-5)
                    vectors = cached.model.eval().towers[name](one[name])
                    torch.testing.assert_close(vectors, tower(other[name]), **close)
            losses = [
                model(batch | {"step": 5})[0] for model, batch in ((cached.model, one), (live.model, other))
            ]
            torch.testing.assert_close(*losses, **close)
    assert kinds >= {(True, True, True), (True, False, True), (False, True, True)} and takes == {0, 1}


def test_a_batch_of_nothing(tmp_path):
    cached, live = task_of(str(tmp_path)), task_of("off")
    one, other = cached.train_dataset.__getitems__([]), live.collate([])
    for task, batch in ((cached, one), (live, other)):
        assert batch["ids"] == []
        assert all(len(batch[what][name]) == 0 for what in ("rows", "groups") for name in MODALITIES)
        loss, report = task.model.train()(batch | {"step": 0})
        assert float(loss.detach()) == 0.0 and report == {}


def test_the_cache_is_filled_once_with_every_take(tmp_path, monkeypatch):
    counts = dict.fromkeys(MODALITIES, 0)
    encode = LiveFeatures.encode

    def counted(source, modality, items):
        counts[modality] += len(items)
        return encode(source, modality, items)

    monkeypatch.setattr(LiveFeatures, "encode", counted)
    first = task_of(str(tmp_path))
    assert counts == {"vision": 32 - 4 + 16, "audio": 2 * (32 - 4 + 16), "text": 1 + 2 * 48}
    task_of(str(tmp_path))
    assert sum(counts.values()) == 44 + 88 + 97
    with torch.no_grad():
        next(first.model.towers["audio"].encoder.parameters())[0, 0] += 1e-2
    CachedFeatures(first.model.towers, FeatureCache(tmp_path), False).fill(first.splits.values())
    assert counts == {"vision": 44, "audio": 2 * 88, "text": 97}


def test_features_of_nothing_and_of_every_take(tmp_path):
    task = task_of(str(tmp_path), "simple")
    live = LiveFeatures(task.model.towers)
    table = task.splits["test"]
    for name in MODALITIES:
        tokens, mask = task.source.features(name, [])
        width = task.model.towers[name].encoder.width
        assert tokens.shape == (0, 1, width) and mask.shape == (0, 1)
        places = [ItemRef(table, row, row % 2 if name != "vision" else 0) for row in (3, 0, 3, 7)]
        one, other = task.source.features(name, places), live.features(name, places)
        assert torch.equal(one.mask, other.mask)
        torch.testing.assert_close(one.tokens, other.tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cache", ["on", "off"])
def test_what_is_measured_is_the_same_from_the_cache(tmp_path, cache):
    task = task_of(str(tmp_path) if cache == "on" else "off", "simple")
    embedded = task.embed(task.model, "train")
    table = task.splits["train"]
    assert {name: len(part.rows) for name, part in embedded.items()} == {
        "vision": 28,
        "audio": 28,
        "text": 32,
    }
    for name, part in embedded.items():
        assert all(table.keys(name)[row] for row in part.rows) and part.vectors.shape == (len(part.rows), 16)
        assert part.groups.tolist() == [embedded["text"].groups[row] for row in part.rows]
    model = task.model.eval()
    row = embedded["audio"].rows[5]
    raw = model.towers["audio"].encoder.collate([model.towers["audio"].encoder.preprocess(table.sound(row))])
    unit = model.encode_audio(raw)[0].numpy()
    vector = embedded["audio"].vectors[5]
    np.testing.assert_allclose(vector / np.linalg.norm(vector), unit, atol=1e-5)
    result = task.retrieval(task.model, "train")
    assert {name: len(found) for name, found in result.query_groups.items()} == {
        "i2t": 28,
        "t2i": 28,
        "a2t": 28,
        "t2a": 28,
        "v2a": 24,
        "a2v": 24,
    }


def test_validation_is_the_mean_over_batches_of_all_rows(tmp_path):
    tasks = task_of(str(tmp_path)), task_of("off")
    values = [task.evaluate(task.model, "train") for task in tasks]
    assert values[0].keys() == values[1].keys() >= {"loss", "a2t_r1", "loss_clip_vision_audio", "mean_r1@8"}
    for name, value in values[0].items():
        assert value == pytest.approx(values[1][name], rel=1e-3), name


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dataset": {"audio_augmentation": "spec_augment"}}, "audio_augmentation=spec_augment"),
        ({"audio_encoder": {"frozen": False}}, "an encoder is trained"),
        ({"dataset": {"augmentation": "flip"}}, "augmentation=flip"),
    ],
)
def test_why_there_is_no_cache_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes, why
) -> None:
    with caplog.at_level("INFO", logger="edge_glass"):
        task = task_of(str(tmp_path), **changes)
    assert isinstance(task.source, LiveFeatures) and why in caplog.text
    assert not (tmp_path / "features").exists()


def test_generated_rows_are_read_with_their_sounds() -> None:
    task = task_of("off")
    assert task.splits == generated_splits(sounds=True)
    assert sorted(set(task.row_kinds.tolist())) == [5, 6, 7]


def test_a_pair_is_averaged_over_the_batches_that_have_it() -> None:
    """Files that are joined come one after the other: whole batches lack a modality."""
    task = task_of("off")
    table, batch = task.splits["train"], task.config.dataset.batch_size
    kinds = task.row_kinds
    silent, blind = np.flatnonzero(kinds == 5).tolist(), np.flatnonzero(kinds == 6).tolist()
    parts = {"audio_text": [*blind, *blind], "vision_text": [*silent, *silent]}
    assert all(len(rows) == batch for rows in parts.values())
    task.splits["val"] = table.select([*parts["audio_text"], *parts["vision_text"]])
    both = task.validation_loss(task.model, "val")
    for pair, rows in parts.items():
        task.splits["val"] = table.select(rows)
        alone = task.validation_loss(task.model, "val")
        assert both[f"loss_clip_{pair}"] == pytest.approx(alone[f"loss_clip_{pair}"]), pair
