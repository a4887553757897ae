"""The evaluation archive: round trip, no pickles, clear errors."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from edge_glass.alignment.measure.archive import EvaluationArchive, load_archive, save_archive
from edge_glass.core.errors import DataError
from edge_glass.data.pictures import make_thumbnail


def small_archive() -> EvaluationArchive:
    generator = np.random.default_rng(0)
    return EvaluationArchive(
        image_embeddings=generator.normal(size=(2, 4)).astype(np.float32),
        text_embeddings=generator.normal(size=(3, 4)).astype(np.float32),
        image_groups=np.array([4, 9]),
        text_groups=np.array([4, 9, 9]),
        image_ids=["a.png", "<b>"],
        captions=["a cat", "ein Hund", "犬"],
        thumbnails=[make_thumbnail(Image.new("RGB", (300, 200), "red")), None],
        baseline_image_ranks=np.array([2, 1]),
        baseline_text_ranks=np.array([2, 1, 2]),
    )


def archive_with_sounds() -> EvaluationArchive:
    return dataclasses.replace(
        small_archive(),
        audio_embeddings=np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32),
        audio_groups=np.array([9, 4, 9, 9]),
        audio_ids=["a", "b", "é", "<d>"],
    )


@pytest.mark.parametrize("with_sounds", [True, False])
@pytest.mark.parametrize("with_baseline", [True, False])
def test_round_trip(tmp_path, with_baseline, with_sounds):
    archive = archive_with_sounds() if with_sounds else small_archive()
    if not with_baseline:
        archive = dataclasses.replace(archive, baseline_image_ranks=None, baseline_text_ranks=None)
    save_archive(tmp_path, "test", archive)
    loaded = load_archive(tmp_path, "test")
    for field in dataclasses.fields(archive):
        expected, found = getattr(archive, field.name), getattr(loaded, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
        else:
            assert found == expected
    assert sorted(p.name for p in (tmp_path / "evaluation").iterdir()) == [
        "test.images.parquet",
        "test.npz",
        *(["test.sounds.parquet"] if with_sounds else []),
        "test.texts.parquet",
    ]


def test_parts_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match="captions has 2 rows"):
        save_archive(tmp_path, "test", dataclasses.replace(small_archive(), captions=["a", "b"]))
    with pytest.raises(DataError, match="baseline_text_ranks"):
        save_archive(tmp_path, "test", dataclasses.replace(small_archive(), baseline_text_ranks=np.ones(9)))


def test_sounds_that_do_not_fit_are_refused(tmp_path):
    for change in ({"audio_ids": ["a"]}, {"audio_groups": np.arange(3)}, {"audio_groups": None}):
        with pytest.raises(DataError, match=rf"{next(iter(change))} has . rows; its embeddings have 4"):
            save_archive(tmp_path, "test", dataclasses.replace(archive_with_sounds(), **change))
    save_archive(tmp_path, "test", archive_with_sounds())
    (tmp_path / "evaluation" / "test.sounds.parquet").unlink()
    with pytest.raises(DataError, match="no such file"):
        load_archive(tmp_path, "test")


def test_missing_and_broken_files_are_data_errors(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_archive(tmp_path, "test")
    path = save_archive(tmp_path, "test", small_archive())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="broken"):
        load_archive(tmp_path, "test")
    np.savez(path, image_embeddings=np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match="broken"):
        load_archive(tmp_path, "test")


def test_thumbnails_shrink_but_do_not_grow_and_keep_transparency():
    wide = Image.open(io.BytesIO(make_thumbnail(Image.new("RGB", (400, 100)))))
    assert wide.size == (96, 24)
    assert Image.open(io.BytesIO(make_thumbnail(Image.new("L", (10, 20))))).size == (10, 20)
    clear = Image.open(io.BytesIO(make_thumbnail(Image.new("RGBA", (10, 10), (255, 0, 0, 0)))))
    assert clear.getpixel((0, 0))[3] == 0
