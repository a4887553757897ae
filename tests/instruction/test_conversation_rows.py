"""Batches of cached features are those that live encoding gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from answer_tasks import LORA, Tables, generated, tiny_config
from torch import Tensor

from edge_glass.data.labels import NOT_TRAINED
from edge_glass.instruction.data.datasets import ConversationRows
from edge_glass.instruction.model.answering import features_of_rows
from edge_glass.instruction.task import InstructionTask

torch.set_num_threads(1)

OFF = {"training": {"feature_cache": "off"}}


def with_words_alone(tables: Tables) -> Tables:
    """The first two rows of each split lose their picture."""
    return {
        name: replace(table, picture_hashes=[None, None, *table.picture_hashes[2:]])
        for name, table in tables.items()
    }


@pytest.fixture(scope="module", params=[False, True], ids=["pictures", "sounds"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[InstructionTask, InstructionTask]:
    """A task whose features are cached, and one that encodes each time."""
    sections: dict[str, Any] = {"audio_encoder": {"pooling_type": "none"}} if request.param else {}
    cache = {"training": {"feature_cache": str(tmp_path_factory.mktemp("cache"))}}
    with generated(with_words_alone):
        cached = InstructionTask(tiny_config(**sections, **cache), progress=False)
        live = InstructionTask(tiny_config(**sections, **OFF), progress=False)
    assert isinstance(cached.train_dataset, ConversationRows) and cached.source is not None
    assert not isinstance(live.train_dataset, ConversationRows) and live.source is None
    return cached, live


def batch_of(task: InstructionTask, split: str, keys: list[tuple[int, int]], prompts: bool = False) -> Any:
    rows: Any = task.rows(split, prompts)
    if isinstance(rows, ConversationRows):
        return rows.__getitems__(keys)
    return task._collator(prompts)([rows[key] for key in keys])


def seen(task: InstructionTask, batch: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """What each row of a batch sees and hears: tokens and mask without padding beyond the longest."""
    found = {}
    for name, inputs in batch["inputs"].items():
        with torch.no_grad():
            features = task.model.towers[name].features(inputs)
        tokens, mask = features_of_rows(features, batch["place"][name])
        found[name] = (tokens, mask)
    return found


def assert_same(both: tuple[InstructionTask, InstructionTask], *what: Any) -> dict[str, Any]:
    cached, live = (batch_of(task, *what) for task in both)
    assert cached["ids"] == live["ids"]
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(cached[name], live[name]), name
    one, other = (seen(task, batch) for task, batch in zip(both, (cached, live), strict=True))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name][1], other[name][1]), name
        assert one[name][0].shape == other[name][0].shape
        kept = one[name][1].unsqueeze(-1)
        torch.testing.assert_close(one[name][0] * kept, other[name][0] * kept, rtol=1e-4, atol=1e-5)
    return cached


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("prompts", [False, True])
def test_measured_batches(both: tuple[InstructionTask, InstructionTask], split: str, prompts: bool) -> None:
    keys = [(0, row) for row in (3, 0, 11, 19, 3, 1)]
    batch = assert_same(both, split, keys, prompts)
    assert (batch["labels"] != NOT_TRAINED).any() != prompts
    assert batch["place"]["vision"].tolist()[1] == batch["place"]["vision"].tolist()[5] == -1


def test_training_batches_of_several_epochs(both: tuple[InstructionTask, InstructionTask]) -> None:
    """Sounds have two takes, of which an epoch draws one."""
    heard = []
    for epoch in range(4):
        batch = assert_same(both, "train", [(epoch, row) for row in range(2, 26)])
        heard.append({name: value[0] for name, value in seen(both[0], batch).items()})
    if "audio" in heard[0]:
        assert any(not torch.equal(heard[0]["audio"], other["audio"]) for other in heard[1:])
    assert all(torch.equal(heard[0]["vision"], other["vision"]) for other in heard[1:])


def test_a_picture_asked_several_times_is_encoded_once(
    both: tuple[InstructionTask, InstructionTask],
) -> None:
    """Rows 8, 8 + third and 8 + 2 third are three questions about one picture."""
    table = both[0].splits["val"]
    same = [row for row, one in enumerate(table.picture_hashes) if one == table.picture_hashes[5]]
    assert len(same) == 3
    rows = [*same, 0, *same, 7]
    for task in both:
        batch = batch_of(task, "val", [(0, row) for row in rows])
        assert len(next(iter(batch["inputs"]["vision"].values()))) == 2
        place = batch["place"]["vision"].tolist()
        assert len({place[at] for at in (0, 1, 2, 4, 5, 6)}) == 1 and place[3] == -1
    assert both[0].source is not None
    stored = len(both[0].source.tables["vision"])
    assert stored == len({one for split in both[0].splits.values() for one in split.picture_hashes if one})


def test_rows_of_words_alone_and_no_rows(both: tuple[InstructionTask, InstructionTask]) -> None:
    blank = [row for row, one in enumerate(both[0].splits["test"].picture_hashes) if one is None]
    silent = [row for row in blank if not both[0].splits["test"].keys("audio")[row]]
    for task in both:
        batch = batch_of(task, "test", [(0, row) for row in blank])
        assert "vision" not in batch["inputs"] and "vision" not in batch["place"]
        empty = batch_of(task, "train", [])
        assert empty["ids"] == [] and empty["inputs"] == {} and task.weight(empty) == 0
        for one in (batch, empty):
            with torch.no_grad():
                output = task.model(one)
            assert torch.isfinite(output.loss_sum)
            assert int(output.count) == task.weight(one)
    assert blank and (silent or "audio" in both[0].model.towers)


def test_the_losses_and_answers_are_the_same(both: tuple[InstructionTask, InstructionTask]) -> None:
    values = [task.validation_loss(task.model, "val", range(24)) for task in both]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    answers = [task.answer(both[0].model, "val", range(12)) for task in both]
    assert answers[0] == answers[1]


def test_the_weight_of_a_batch_is_what_the_decoder_counts(tmp_path: Path) -> None:
    for decoder in (None, LORA):
        task = InstructionTask(tiny_config(decoder), progress=False)
        batch = batch_of(task, "train", [(0, row) for row in (1, 40, 77)])
        with torch.no_grad():
            assert int(task.model(batch).count) == task.weight(batch) > 3
