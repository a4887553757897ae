"""Rows of pictures, sounds and words as a data set: what an item has, takes, groups, and batches of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_samples import picture, sound, to_mel, to_tensor, trimodal_table, write_parquet
from torch.utils.data import DataLoader

from edge_glass.core.errors import DataError
from edge_glass.data.datasets import AudioTextDataset, TriModalDataset, collate_samples, complete_splits
from edge_glass.data.sounds import decode_sound

PREPROCESS = {"vision": lambda image: to_tensor(image).float(), "audio": to_mel}


def table_of():
    """Row 0 has everything, 1 no picture, 2 no sound, 3 no words."""
    return trimodal_table(
        [
            (picture(0), [sound(0), sound(10)], ["zero", "nought"]),
            (None, [sound(1)], ["one"]),
            (picture(2), [], ["two"]),
            (picture(3), [sound(3)], []),
        ]
    )


def collate(name: str):
    def make(items: list) -> dict[str, torch.Tensor]:
        sizes = torch.tensor([len(item) if name == "text" else item.numel() for item in items])
        return {"sizes": sizes.long()}

    return make


COLLATE = {name: collate(name) for name in ("vision", "audio", "text")}


def heard(seed: int) -> torch.Tensor:
    return to_mel(decode_sound(sound(seed)))


def test_an_item_has_what_its_row_has():
    dataset = TriModalDataset(table_of(), PREPROCESS)
    assert [set(dataset[row]) - {"id", "groups"} for row in range(4)] == [
        {"pixels", "mel", "text"},
        {"mel", "text"},
        {"pixels", "text"},
        {"pixels", "mel"},
    ]
    assert all(len(dataset[row]["groups"]) == (3 if row == 0 else 2) for row in range(4))
    assert torch.equal(dataset[0]["mel"], heard(0)) and dataset[0]["text"] == "zero"
    # Modalities without a preprocess are left out, words never.
    assert set(TriModalDataset(table_of(), {"audio": to_mel})[0]) == {"id", "groups", "mel", "text"}


def test_takes_are_drawn_per_epoch_as_a_function_of_seed_epoch_and_row():
    def takes(seed: int) -> list[bytes]:
        dataset = TriModalDataset(table_of(), PREPROCESS, training=True, seed=seed)
        return [dataset[epoch, 0]["mel"].numpy().tobytes() for epoch in range(12)]

    both = {heard(0).numpy().tobytes(), heard(10).numpy().tobytes()}
    assert takes(1) == takes(1) and set(takes(1)) == both
    assert takes(1) != takes(2)
    fixed = TriModalDataset(table_of(), PREPROCESS)
    assert all(torch.equal(fixed[epoch, 0]["mel"], heard(0)) for epoch in range(12))


def test_workers_draw_the_same_takes_words_and_masks():
    mels = {"vision": PREPROCESS["vision"], "audio": lambda found: to_mel(found).reshape(20, -1)}
    dataset = TriModalDataset(
        table_of(), mels, training=True, seed=3, text_dropout_prob=0.3, audio_augmentation="spec_augment"
    )
    keys = [(epoch, row) for epoch in range(4) for row in (2, 0, 3, 1)]
    for one, other in zip(
        *(DataLoader(dataset, None, sampler=keys, num_workers=workers) for workers in (0, 2)), strict=True
    ):
        assert one.keys() == other.keys() and one["groups"] == other["groups"]
        assert one.get("text") == other.get("text")
        assert all(torch.equal(one[name], other[name]) for name in ("pixels", "mel") if name in one)


def test_masks_are_drawn_in_training_only_and_anew_in_every_epoch():
    mels = {"audio": lambda found: to_mel(found).reshape(20, -1)}
    table = table_of()
    plain = TriModalDataset(table, mels)[1]["mel"]
    masked = TriModalDataset(table, mels, training=True, seed=1, audio_augmentation="spec_augment")
    drawn = [masked[epoch, 1]["mel"] for epoch in range(6)]
    assert len({mel.numpy().tobytes() for mel in drawn}) > 3
    assert torch.equal(masked[4, 1]["mel"], drawn[4])
    kept = TriModalDataset(table, mels, audio_augmentation="spec_augment")[4, 1]["mel"]
    assert torch.equal(kept, plain)


def test_sounds_of_the_same_words_are_no_negatives_and_others_are():
    table = trimodal_table(
        [
            (picture(0), [sound(0)], ["A dog"]),
            (picture(1), [sound(1)], ["a dog"]),
            (picture(0), [sound(2)], ["a cat", "a dog"]),
            (picture(3), [sound(3)], []),
            (picture(4), [sound(3)], []),
            (picture(5), [sound(5)], []),
        ]
    )
    dataset = TriModalDataset(table, PREPROCESS)
    groups = [dataset[row]["groups"] for row in range(6)]
    audio = [group["audio"] for group in groups]
    assert audio[0] == audio[1] and audio[3] == audio[4]
    assert len(set(audio)) == 4
    vision = [group["vision"] for group in groups]
    assert vision[0] == vision[2] and len(set(vision)) == 5
    assert groups[0]["text"] != groups[1]["text"]  # other words, as they are written


def test_a_batch_says_which_rows_have_what():
    dataset = TriModalDataset(table_of(), PREPROCESS)
    batch = collate_samples([dataset[row] for row in (3, 2, 0, 1)], COLLATE)
    assert batch["ids"] == ["3", "2", "0", "1"]
    assert {name: rows.tolist() for name, rows in batch["rows"].items()} == {
        "vision": [0, 1, 2],
        "audio": [0, 2, 3],
        "text": [1, 2, 3],
    }
    assert batch["text"]["sizes"].tolist() == [3, 4, 3]
    for name, rows in batch["rows"].items():
        assert rows.dtype == batch["groups"][name].dtype == torch.int64
        assert len(batch["groups"][name]) == len(rows) == len(batch[name]["sizes"])


@pytest.mark.parametrize("rows", [[], [2]])
def test_a_batch_without_rows_or_without_any_sound(rows):
    dataset = TriModalDataset(table_of(), PREPROCESS)
    batch = collate_samples([dataset[row] for row in rows], COLLATE)
    assert batch["rows"]["audio"].shape == batch["groups"]["audio"].shape == (0,)
    assert batch["rows"]["audio"].dtype == batch["groups"]["audio"].dtype == torch.int64
    assert len(batch["audio"]["sizes"]) == 0 and len(batch["vision"]["sizes"]) == len(rows)


def test_sounds_with_captions_from_a_parquet_file(tmp_path):
    file = write_parquet(
        tmp_path / "a.parquet",
        [picture(n) for n in range(3)],
        ["a", "b", "c"],
        speech=[sound(0), b"?", sound(2)],
    )
    dataset = AudioTextDataset(file, to_mel, audio_column="speech", max_bad_fraction=0.5)
    assert len(dataset) == 2 and set(dataset[1]) == {"id", "groups", "mel", "text"}
    assert torch.equal(dataset[1]["mel"], heard(2)) and dataset[1]["text"] == "c"
    with pytest.raises(DataError, match=r"1 of 3 rows cannot be used \(first: row 1: no sound can be read"):
        AudioTextDataset(file, to_mel, audio_column="speech")


def test_splits_of_rows_that_lack_words_or_pictures():
    rows = [
        (
            picture(n) if n % 3 else None,
            [sound(n)] if n % 3 != 1 else [],
            [f"words {n}"] if n % 3 != 2 else [],
        )
        for n in range(60)
    ]
    splits = complete_splits({"train": trimodal_table(rows)}, 0.2, 0.2, "error")
    assert sum(len(part) for part in splits.values()) == 60
    for name, part in splits.items():
        row = next(row for row in range(len(part)) if part.sound_hashes[row])
        position = part.positions[row]
        assert np.array_equal(part.sound(row).samples, decode_sound(sound(position)).samples), name
