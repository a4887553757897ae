from __future__ import annotations

import hashlib

import pyarrow.parquet as pq
import pytest

from edge_glass.core.errors import DataError
from edge_glass.corpora import emoji as corpus
from edge_glass.data.pictures import decode_image, picture_hash

DATA = {
    "☺️": {"en": ":smiling_face:", "status": 2, "alias": [":relaxed:", ":Smiling_Face:", ":relaxed:"]},
    "☺": {"en": ":smiling_face:", "status": 4, "alias": [":relaxed:"]},
    "👋": {"en": ":waving_hand:", "status": 2},
    "👋🏽": {"en": ":waving_hand_medium_skin_tone:", "status": 2},
    "🅰": {"en": ":A_button_(blood_type):", "status": 4, "alias": [":a:"]},
    "🅰️": {"en": ":A_button_(blood_type):", "status": 2, "alias": [":a:"]},
    "🫠": {"en": ":melting_face:", "status": 2},
    "🏴": {"de": ":schwarze_flagge:", "status": 2},
}
STEMS = ["263a", "1f44b", "1f44b-1f3fd", "1f170", "1f3f4"]


def test_pictures_meet_their_names():
    items = corpus.find_emoji(STEMS, DATA)
    assert [(item.stem, item.character, item.caption, item.aliases) for item in items] == [
        ("1f170", "🅰️", "A button (blood type)", ("a",)),
        ("263a", "☺️", "smiling face", ("relaxed",)),
        ("1f44b", "👋", "waving hand", ()),
    ]


def test_a_file_name_with_its_variation_selector_is_preferred():
    items = corpus.find_emoji(["263a-fe0f", "263a"], {"☺️": DATA["☺️"]})
    assert [item.stem for item in items] == ["263a-fe0f"]


def test_the_split_does_not_depend_on_the_order_of_the_names():
    names = [f":name_{number}:" for number in range(1000)]
    split = corpus.split_names(names)
    assert split == corpus.split_names(reversed(names))
    assert {key: len(part) for key, part in split.items()} == {"train": 550, "val": 150, "test": 300}
    assert sorted(split["train"] + split["val"] + split["test"]) == sorted(names)
    assert split["test"][:2] == [":name_496:", ":name_65:"]  # random.Random(0), for ever


def test_other_names_than_the_pinned_ones_are_refused():
    with pytest.raises(DataError, match=r"gives 3 pictures other names.*Install emoji==2\.16\.0"):
        corpus._check_names(corpus.find_emoji(STEMS, DATA))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return corpus.build_emoji(tmp_path_factory.mktemp("emoji"), progress=False)


@pytest.mark.weights
def test_the_published_split(built):
    tables = {split: pq.read_table(file) for split, file in built.items()}
    assert {split: table.num_rows for split, table in tables.items()} == {
        "train": 1468,
        "val": 150,
        "test": 300,
    }
    ids = {
        split: hashlib.sha256("\n".join(t["id"].to_pylist()).encode()).hexdigest()
        for split, t in tables.items()
    }
    assert ids == {
        "train": "3dace6751a1a93157a2748d34a04346394d978c88407ec9de97a3a44cf6cf5e4",
        "val": "2977f8d77f6ce9ae21e79a60fb4a9981e01004b9581f918eac5c33624a059ed4",
        "test": "4a7f8ca06eb5deef738f37e3293c1ad16079077c4241ab2c6e85a21240940a9f",
    }
    row = tables["test"].to_pylist()[1]
    assert (row["id"], row["caption"], row["aliases"]) == (
        "1f1e9-1f1ea",
        "Germany",
        ["flag for Germany", "de"],
    )
    image = decode_image(row["image_bytes"])
    assert (image.size, image.mode, picture_hash(image)) == ((72, 72), "RGBA", row["picture_sha256"])


@pytest.mark.weights
def test_no_alias_repeats_its_caption(built):
    for file in built.values():
        for row in pq.read_table(file, columns=["caption", "aliases"]).to_pylist():
            words = [row["caption"], *row["aliases"]]
            assert len({word.casefold() for word in words}) == len(words)
            assert not any("_" in word or word.startswith(":") or not word for word in words)


@pytest.mark.weights
def test_two_builds_have_the_same_bytes(built, tmp_path):
    again = corpus.build_emoji(tmp_path, progress=False)
    for split, file in built.items():
        assert file.read_bytes() == again[split].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "test.parquet",
        "train.parquet",
        "val.parquet",
    ]


@pytest.mark.weights
def test_the_card_names_the_licence_and_the_shared_pictures(built):
    card = (built["train"].parent / "README.md").read_text(encoding="utf-8")
    assert "CC-BY 4.0" in card and "copyright Twitter" in card
    assert "10 groups" in card
    assert "- Norway (train); Svalbard & Jan Mayen (test)" in card
