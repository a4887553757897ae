from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import edge_glass.data.feature_cache as feature_cache
import edge_glass.data.features as features
import edge_glass.encoders.tower as tower_module
from edge_glass.alignment.data.feature_rows import FeatureRows, normalized_vectors
from edge_glass.alignment.model.alignment import MultimodalAlignmentModel, build_alignment_model
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.errors import DataError
from edge_glass.data.feature_cache import FeatureCache
from edge_glass.data.features import CachedFeatures, FeatureSource, ItemRef, LiveFeatures
from edge_glass.data.generated import generated_splits
from edge_glass.data.pictures import decode_image, picture_hash
from edge_glass.data.samples import SampleTable
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.training.sampler import EpochBatchSampler


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 everywhere, so that comparisons can be strict; one thread."""
    torch.set_num_threads(1)
    monkeypatch.setattr(tower_module, "fast_dtype", lambda device: torch.float32)


def build(pooling: str = "mean", components: int | None = None, **vision) -> MultimodalAlignmentModel:
    head = {"components": components}
    config = ExperimentConfig.model_validate(
        {
            "name": "test",
            "vision_encoder": {
                "pooling_type": pooling,
                "projection_dim": 32,
                "mrl_dimensions": [32, 16],
                "head": head,
            },
            "text_encoder": {"pooling_type": pooling, "head": head},
        }
    )
    model = build_alignment_model(config, VisionEncoder.tiny(**vision), TextEncoder.tiny())
    for tower in model.towers.values():  # a query of zeros would be mean pooling
        for parameter in tower.pooling.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return model.eval()


def ragged(table: SampleTable) -> SampleTable:
    """The table with captions of very different lengths."""
    captions = [[row[0] + " and more" * (n % 5), *row[1:]] for n, row in enumerate(table.captions)]
    return replace(table, captions=captions)


def tables() -> list[SampleTable]:
    return [ragged(table) for table in generated_splits().values()]


def cached(model: MultimodalAlignmentModel, root: Path, of: list[SampleTable]) -> CachedFeatures:
    source = CachedFeatures(model.towers, FeatureCache(root), progress=False)
    source.fill(of)
    return source


def images(source: FeatureSource, table: SampleTable, rows: Sequence[int]) -> TokenFeatures:
    return source.features("vision", [ItemRef(table, row) for row in rows])


def words(source: FeatureSource, table: SampleTable, places: Sequence[tuple[int, int]]) -> TokenFeatures:
    """Of captions by row and number."""
    return source.features("text", [ItemRef(table, row, take) for row, take in places])


class Counter:
    """Counts the pictures, sounds and captions that go through the encoders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = {"vision": 0, "audio": 0, "text": 0}
        encode = LiveFeatures.encode

        def counted(live, modality, items):
            self.counts[modality] += len(items)
            return encode(live, modality, items)

        monkeypatch.setattr(LiveFeatures, "encode", counted)

    def take(self) -> tuple[int, int]:
        counts = self.counts["vision"], self.counts["text"]
        self.counts = {"vision": 0, "audio": 0, "text": 0}
        return counts


def agree(one: TokenFeatures, other: TokenFeatures) -> None:
    assert one.tokens.shape == other.tokens.shape and torch.equal(one.mask, other.mask)
    torch.testing.assert_close(one.tokens, other.tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "simple", "multihead"])
@pytest.mark.parametrize("shard_rows", [2048, 7])
def test_live_and_cached_features_agree(tmp_path, monkeypatch, pooling, shard_rows):
    monkeypatch.setattr(feature_cache, "SHARD_ROWS", shard_rows)
    monkeypatch.setattr(features, "GROUP_ROWS", {"vision": 5, "text": 6})
    model = build(pooling)
    live = LiveFeatures(model.towers)
    source = cached(model, tmp_path, tables())
    for table in tables():
        for rows in (range(len(table)), [3, 0, 5], [1], [2, 2]):
            captions = [(row, row % 2) for row in rows]
            shown = images(live, table, rows), images(source, table, rows)
            said = words(live, table, captions), words(source, table, captions)
            agree(*shown)
            agree(*said)
            assert shown[0].tokens.shape[1] == (1 if pooling == "mean" else 4)
            for tower, pair in ((model.vision_tower, shown), (model.text_tower, said)):
                live_vectors, cached_vectors = (tower.embed(found) for found in pair)
                torch.testing.assert_close(live_vectors, cached_vectors, rtol=1e-3, atol=1e-4)
    empty = TokenFeatures(*source.tables["text"].gather([source.index["text"][""]]))
    agree(live.encode("text", [""]), empty)


def test_class_token_pooling_agrees_too(tmp_path):
    model = build("cls", architecture="test_vit", image_size=160)
    table = tables()[1]
    live = LiveFeatures(model.towers)
    source = cached(model, tmp_path, [table])
    agree(images(live, table, range(8)), images(source, table, range(8)))
    captions = [(row, 0) for row in range(8)]
    agree(words(live, table, captions), words(source, table, captions))


def test_the_dtype_that_is_fast_here_agrees_with_itself(tmp_path, monkeypatch):
    monkeypatch.undo()
    model = build()
    table = tables()[0]
    live = LiveFeatures(model.towers)
    source = cached(model, tmp_path, [table])
    one, other = images(live, table, range(8)), images(source, table, range(8))
    assert one.tokens.dtype == other.tokens.dtype == torch.float32
    torch.testing.assert_close(one.tokens, other.tokens, rtol=2e-2, atol=2e-2)


def test_filling_is_done_once(tmp_path, monkeypatch):
    counter = Counter(monkeypatch)
    model = build()
    cached(model, tmp_path, tables())
    captions = {text for table in tables() for row in table.captions for text in row}
    assert counter.take() == (48, len(captions) + 1)  # and the empty one, for text dropout
    cached(model, tmp_path, tables())
    assert counter.take() == (0, 0)
    # Heads are no part of the features: another run on the same data finds everything there.
    cached(build("mean"), tmp_path, tables()[1:])
    assert counter.take() == (0, 0)


def change_weight(model: MultimodalAlignmentModel) -> tuple[int, int]:
    with torch.no_grad():
        next(model.vision_tower.encoder.parameters())[0, 0, 0, 0] += 1e-3
    return 48, 0


def change_buffer(model: MultimodalAlignmentModel) -> tuple[int, int]:
    buffers = dict(model.vision_tower.encoder.named_buffers())
    next(value for name, value in buffers.items() if "running_mean" in name)[0] += 1e-3
    return 48, 0


def change_text_weight(model: MultimodalAlignmentModel) -> tuple[int, int]:
    with torch.no_grad():
        next(model.text_tower.encoder.parameters())[-1, -1] += 1e-3
    return 0, -1


def change_transform(model: MultimodalAlignmentModel) -> tuple[int, int]:
    encoder = model.vision_tower.encoder
    encoder.transform = replace(encoder.transform, std=(0.3, 0.3, 0.3))
    return 48, 0


def change_crop(model: MultimodalAlignmentModel) -> tuple[int, int]:
    encoder = model.vision_tower.encoder
    encoder.transform = replace(encoder.transform, resize_to=encoder.transform.resize_to + 1)
    return 48, 0


def change_max_length(model: MultimodalAlignmentModel) -> tuple[int, int]:
    model.text_tower.encoder.max_length = 12
    return 0, -1


@pytest.mark.parametrize(
    "change",
    [change_weight, change_buffer, change_text_weight, change_transform, change_crop, change_max_length],
)
def test_what_changes_features_never_meets_stale_ones(tmp_path, monkeypatch, change):
    counter = Counter(monkeypatch)
    model = build()
    cached(model, tmp_path, tables())
    every_caption = counter.take()[1]
    pictures, captions = change(model)
    source = cached(model, tmp_path, tables())
    assert counter.take() == (pictures, every_caption if captions else 0)
    table = tables()[0]
    live = LiveFeatures(model.towers)
    agree(images(live, table, range(8)), images(source, table, range(8)))
    agree(words(live, table, [(4, 0), (4, 1)]), words(source, table, [(4, 0), (4, 1)]))


def test_another_dtype_or_pooling_has_features_of_its_own(tmp_path, monkeypatch):
    counter = Counter(monkeypatch)
    cached(build("mean"), tmp_path, tables())
    all_of_it = counter.take()
    cached(build("simple"), tmp_path, tables())
    assert counter.take() == all_of_it
    cached(build("multihead"), tmp_path, tables())  # looks at the same tokens
    assert counter.take() == (0, 0)
    monkeypatch.setattr(tower_module, "fast_dtype", lambda device: torch.bfloat16)
    cached(build("mean"), tmp_path, tables())
    assert counter.take() == all_of_it


def test_a_changed_picture_is_encoded_and_no_other(tmp_path, monkeypatch):
    counter = Counter(monkeypatch)
    model = build()
    table = tables()[1]
    cached(model, tmp_path, [table])
    counter.take()
    image = table.image(2)
    image.putpixel((0, 0), (254, 255, 255))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    pictures, hashes = list(table.pictures), list(table.picture_hashes)
    pictures[2], hashes[2] = buffer.getvalue(), picture_hash(decode_image(buffer.getvalue()))
    changed = replace(table, pictures=pictures, picture_hashes=hashes)
    source = cached(model, tmp_path, [changed])
    assert counter.take() == (1, 0)
    live = LiveFeatures(model.towers)
    agree(images(live, changed, range(8)), images(source, changed, range(8)))


def test_a_picture_in_two_splits_is_encoded_once(tmp_path, monkeypatch):
    counter = Counter(monkeypatch)
    table = tables()[1]
    source = cached(build(), tmp_path, [table, table.select([3, 1])])
    assert counter.take()[0] == 8
    agree(images(source, table, [3, 1]), images(source, table.select([3, 1]), [0, 1]))


def test_a_fill_that_is_killed_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_ROWS", 10)
    monkeypatch.setattr(features, "GROUP_ROWS", {"vision": 5, "text": 64})
    model = build("simple")
    real, calls = LiveFeatures.encode, []

    def killed(live, modality, items):
        calls.append(len(items))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(live, modality, items)

    monkeypatch.setattr(LiveFeatures, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        cached(model, tmp_path, tables())
    monkeypatch.setattr(LiveFeatures, "encode", real)
    counter = Counter(monkeypatch)
    source = cached(model, tmp_path, tables())
    assert counter.take()[0] == 48 - 20
    for table in tables():
        live = LiveFeatures(model.towers)
        agree(images(live, table, range(len(table))), images(source, table, range(len(table))))


def test_a_picture_that_changed_since_it_was_read_is_an_error_of_the_data(tmp_path):
    model, table = build(), tables()[1]
    broken = replace(table, pictures=[*table.pictures[:5], b"broken", *table.pictures[6:]])
    with pytest.raises(DataError, match=rf"the picture of row {table.ids[5]} changed"):
        cached(model, tmp_path, [broken])
    with pytest.raises(DataError, match=rf"the picture of row {table.ids[5]} changed"):
        images(LiveFeatures(model.towers), broken, [5])


def rows_of(source: CachedFeatures, table: SampleTable, dropout: float = 0.3) -> FeatureRows:
    return FeatureRows(table, source, normalized_vectors(source), True, seed=3, text_dropout_prob=dropout)


ROWS = [4, 9, 0, 31]


@pytest.mark.parametrize(("pooling", "components"), [("mean", None), ("simple", None), ("mean", 16)])
def test_training_rows_show_the_captions_drawn_for_their_epoch(tmp_path, pooling, components):
    table = tables()[0]
    model = build(pooling, components)
    source = cached(model, tmp_path, [table])
    dataset = rows_of(source, table)
    assert len(dataset) == 32
    shown = set()
    for epoch in range(3):
        batch = dataset.__getitems__([(epoch, row) for row in ROWS])
        chooser = dataset.choosers["text"]
        numbers = chooser.numbers(epoch)[ROWS]
        texts = [chooser.items[number] for number in numbers]
        shown.update(texts)
        said = TokenFeatures(*source.tables["text"].gather([source.index["text"][text] for text in texts]))
        # Some towers take a step more than the cache; what the model makes of a batch has to be the same.
        for name, found in (("vision", images(source, table, ROWS)), ("text", said)):
            assert ("vectors" in batch[name]) == (pooling == "mean" and components is not None)
            tower = model.towers[name]
            torch.testing.assert_close(tower(batch[name]), tower.embed(found), rtol=1e-4, atol=1e-5)
        assert batch["ids"] == [table.ids[row] for row in ROWS]
        groups, rows = batch["groups"], batch["rows"]
        assert groups["vision"].tolist() == ROWS and groups["text"].tolist() == numbers.tolist()
        assert rows["vision"].tolist() == rows["text"].tolist() == [0, 1, 2, 3]
        assert groups["text"].dtype == groups["vision"].dtype == rows["text"].dtype == torch.int64
        single = dataset[epoch, ROWS[1]]["vision"]
        for name, values in single.items():
            torch.testing.assert_close(values[0], batch["vision"][name][1])
    assert "" in shown and len(shown) > 4


def test_batches_are_the_same_in_workers(tmp_path):
    table = tables()[0]
    dataset = rows_of(cached(build("simple"), tmp_path, [table]), table)

    def batches(dataset: FeatureRows, workers: int) -> list[dict]:
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_sampler=EpochBatchSampler(len(dataset), 8, seed=1),
            num_workers=workers,
            collate_fn=lambda batch: batch,
        )
        return list(loader)

    here = batches(dataset, 0)
    for there in (batches(dataset, 2), batches(pickle.loads(pickle.dumps(dataset)), 0)):
        for one, other in zip(here, there, strict=True):
            assert one["ids"] == other["ids"] and torch.equal(one["groups"]["text"], other["groups"]["text"])
            for side in ("vision", "text"):
                assert torch.equal(one[side]["tokens"], other[side]["tokens"])
                assert torch.equal(one[side]["mask"], other[side]["mask"])


def test_training_rows_travel_without_encoders_and_features(tmp_path):
    table = replace(tables()[0], pictures=[b""] * 32)
    source = cached(build("simple"), tmp_path, [tables()[0]])
    dataset = rows_of(source, table)
    dataset[0, 0]
    assert len(pickle.dumps(dataset)) < source.tables["vision"].gather(np.arange(32))[0].nbytes


def test_transparent_and_rotated_pictures_are_encoded_as_they_are_shown(tmp_path):
    model = build()
    upright = Image.new("RGB", (80, 64), "white")
    upright.paste("red", (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored: list[bytes] = []
    for image, options in (
        (upright, {}),
        (upright.transpose(Image.Transpose.ROTATE_90), {"exif": exif}),
    ):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", **options)
        stored.append(buffer.getvalue())
    hashes = [picture_hash(decode_image(data)) for data in stored]
    assert hashes[0] == hashes[1]
    table = SampleTable("rows", ["0", "1"], [["a"], ["b"]], ["other", hashes[1]], [0, 1], stored)
    source = cached(model, tmp_path, [table])
    found = images(source, table, [0, 1]).tokens
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
