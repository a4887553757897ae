"""What is measured before training: codebooks, and the closed form where rows allow it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import edge_glass.alignment.task as alignment
import edge_glass.tasks.sources as sources
from edge_glass.alignment.closed_form import closed_form_retrieval, fit_closed_form, start_from_closed_form
from edge_glass.alignment.task import AlignmentTask
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.errors import DataError
from edge_glass.data.generated import generated_splits
from edge_glass.data.samples import SampleTable
from edge_glass.encoders.poolings.codebook import CodebookPooling

torch.set_num_threads(1)


def task_of(audio: dict[str, Any] | None = None, warm_start: str = "none", **options: Any) -> AlignmentTask:
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "tiny": True,
            "vision_encoder": {"projection_dim": 16, "mrl_dimensions": [16, 8]},
            "audio_encoder": audio or {},
            "dataset": {"batch_size": 8},
            "training": {"feature_cache": "off", "device": "cpu", "warm_start": warm_start},
        }
    )
    return AlignmentTask(config, progress=False, **options)


# Codebooks


def codebook_of(task: AlignmentTask) -> CodebookPooling:
    pooling = task.model.towers["audio"].pooling
    assert isinstance(pooling, CodebookPooling)
    return pooling


def test_a_codebook_is_measured_on_the_training_rows_alike_each_time() -> None:
    one, other = (task_of({"pooling_type": "codebook"}) for _ in range(2))
    assert codebook_of(one).fingerprint == codebook_of(other).fingerprint
    items = [place.table.item("audio", place.row, place.take) for place in one.places("train", "audio")]
    live = alignment.LiveFeatures(one.model.towers).tokens("audio", items)
    torch.testing.assert_close(
        codebook_of(one).mean, live.tokens[live.mask].mean(dim=0), rtol=1e-4, atol=1e-5
    )
    measured = task_of({"pooling_type": "codebook"}, model=one.model)
    assert codebook_of(measured).fingerprint == codebook_of(other).fingerprint


def test_a_finished_model_keeps_its_codebook() -> None:
    model = task_of({"pooling_type": "codebook"}).model
    pooling = model.towers["audio"].pooling
    pooling.codes += 1
    before = pooling.fingerprint
    assert codebook_of(task_of({"pooling_type": "codebook"}, model=model)).fingerprint == before


def test_few_sounds_are_enough_and_many_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fit = CodebookPooling.fit
    monkeypatch.setattr(
        CodebookPooling, "fit", lambda self, tokens: (seen.append(len(tokens)), fit(self, tokens))[1]
    )
    task_of({"pooling_type": "codebook"})
    monkeypatch.setattr(alignment, "CODEBOOK_ITEMS", 7)
    pooling = codebook_of(task_of({"pooling_type": "codebook"}))
    assert seen[1] == seen[0] // 4  # 28 sounds of one length
    assert all(torch.isfinite(value).all() for value in pooling.buffers())


# The closed form

Change = Callable[[SampleTable], SampleTable]


@pytest.fixture
def with_rows(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Change the generated training rows."""

    def change(how: Change) -> None:
        def splits(sounds: bool) -> dict[str, SampleTable]:
            tables = generated_splits(sounds)
            return tables | {"train": how(tables["train"])}

        monkeypatch.setattr(sources, "generated_splits", splits)

    return change


def unspoken(table: SampleTable) -> SampleTable:
    """Rows have either sounds or words."""
    silent = [[] if row % 2 else list(keys) for row, keys in enumerate(table.sound_hashes)]
    wordless = [list(texts) if row % 2 else [] for row, texts in enumerate(table.captions)]
    return replace(table, sound_hashes=silent, captions=wordless)


def one_word(table: SampleTable) -> SampleTable:
    """Only one row has both a sound, in two takes, and words; and others say the same."""
    table = unspoken(table)
    table.captions[0] = ["a tone"]
    return table


def same_words(table: SampleTable) -> SampleTable:
    return replace(table, captions=[["a thing"] for _ in table.captions])


@pytest.mark.parametrize("how", [unspoken, one_word])
def test_too_few_rows_for_a_closed_form(
    with_rows: Callable[[Change], None], caplog: pytest.LogCaptureFixture, how: Change
) -> None:
    with_rows(how)
    says = "generated train rows: no two different rows have both audio and text"
    with caplog.at_level(logging.WARNING, logger="edge_glass"):
        assert fit_closed_form(task_of()) is None
    assert [f"the closed form is not measured: {says}"] == caplog.messages
    with pytest.raises(DataError, match=f"{says}; set training.warm_start to none"):
        fit_closed_form(task_of(warm_start="closed_form"))


def test_rows_that_all_say_the_same(with_rows: Callable[[Change], None]) -> None:
    with_rows(same_words)
    assert fit_closed_form(task_of()) is None


@pytest.mark.parametrize("audio", [None, {"pooling_type": "codebook", "head": {"components": 8}}])
def test_training_starts_where_the_closed_form_is(audio: dict[str, Any] | None) -> None:
    """With sounds, at every dimension, and whatever the pooling is."""
    task = task_of(audio, warm_start="closed_form")
    solved = fit_closed_form(task)
    assert solved is not None and set(solved.maps) == {"vision", "audio", "text"}
    untouched = task.embed(task.model, "test")
    found = closed_form_retrieval(task, solved, untouched)
    assert found.dimensions == (16, 8) and set(found.directions) == {"i2t", "t2i", "a2t", "t2a", "v2a", "a2v"}
    if audio is None:
        return  # heads without normalisers of their own see other features
    start_from_closed_form(task, solved)
    place = task.places("test", "audio")
    tower = task.model.eval().towers["audio"]
    pooled = task.pooled("audio", place)
    with torch.no_grad():
        vectors = tower.normalized(torch.from_numpy(pooled))
        embedded = tower.projection(vectors).numpy()
    expected = solved.maps["audio"].project(vectors.numpy())
    np.testing.assert_allclose(embedded[:, : expected.shape[1]], expected, rtol=1e-3, atol=1e-3)
