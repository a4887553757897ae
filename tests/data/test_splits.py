from __future__ import annotations

import pytest
from data_samples import make_table, sound, trimodal_table
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_glass.core.errors import DataError
from edge_glass.data.samples import Rejected, SampleTable
from edge_glass.data.splits import connected_groups, separate_pictures, split_by_group

FRACTIONS = {"test": 0.3, "val": 0.3}

rows = st.lists(
    st.tuples(
        st.integers(0, 20).map("picture {}".format),
        st.lists(st.integers(0, 20).map("Caption {}".format), min_size=1, max_size=2),
    ),
    max_size=40,
)


def content(table: SampleTable) -> set[tuple[str, str, str]]:
    return {
        (str(position), digest, captions[0])
        for position, digest, captions in zip(
            table.positions, table.picture_hashes, table.captions, strict=True
        )
    }


@settings(max_examples=200, deadline=None)
@given(rows)
def test_no_picture_and_no_caption_on_two_sides_and_no_row_lost(pairs):
    table = make_table(pairs)
    splits = split_by_group(table, FRACTIONS)
    assert list(splits) == ["train", "test", "val"]
    assert sorted(position for part in splits.values() for position in part.positions) == list(
        range(len(table))
    )
    for one in splits:
        for other in splits:
            if one < other:
                assert not set(splits[one].picture_hashes) & set(splits[other].picture_hashes)
                first = ({captions[0] for captions in splits[name].captions} for name in (one, other))
                assert not set.intersection(*first)


@settings(max_examples=100, deadline=None)
@given(rows, rows)
def test_added_rows_move_no_row_whose_group_they_do_not_join(pairs, more):
    before, after = make_table(pairs), make_table([*pairs, *more])
    groups = connected_groups(after)
    joined = set(groups[len(pairs) :])
    sides = [
        {
            position: name
            for name, part in split_by_group(table, FRACTIONS).items()
            for position in part.positions
        }
        for table in (before, after)
    ]
    for row in range(len(pairs)):
        if groups[row] not in joined:
            assert sides[0][row] == sides[1][row]


@settings(max_examples=100, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(pairs, random):
    table = make_table(pairs)
    order = list(range(len(table)))
    random.shuffle(order)
    splits, shuffled = split_by_group(table, FRACTIONS), split_by_group(table.select(order), FRACTIONS)
    for name, part in splits.items():
        assert content(part) == content(shuffled[name])


@settings(max_examples=100, deadline=None)
@given(rows)
def test_groups_are_the_connected_components(pairs):
    table = make_table(pairs)
    groups = connected_groups(table)
    labels = list(range(len(table)))  # spread the smallest label until nothing changes
    changed = True
    while changed:
        changed = False
        for i in range(len(pairs)):
            for j in range(len(pairs)):
                linked = pairs[i][0] == pairs[j][0] or pairs[i][1][0] == pairs[j][1][0]
                if linked and labels[j] < labels[i]:
                    labels[i], changed = labels[j], True
    assert [[a == b for b in groups] for a in groups] == [[a == b for b in labels] for a in labels]


def test_shares_are_about_right_and_of_disjoint_rows():
    table = make_table([(f"picture {n}", [f"caption {n}"]) for n in range(4000)])
    splits = split_by_group(table, {"test": 0.1, "val": 0.2})
    sizes = {name: len(part) / 4000 for name, part in splits.items()}
    assert sizes == pytest.approx({"train": 0.7, "test": 0.1, "val": 0.2}, abs=0.02)
    only_val = split_by_group(table, {"val": 0.2})
    assert len(only_val["val"]) / 4000 == pytest.approx(0.2, abs=0.02)


def test_the_side_of_a_picture_is_fixed_for_ever():
    table = make_table([(f"picture {n}", [f"caption {n}"]) for n in range(30)])
    splits = split_by_group(table, {"test": 0.2, "val": 0.2})
    assert list(splits["test"].positions) == [0, 1, 8, 11, 21, 22, 25]
    assert list(splits["val"].positions) == [2, 10, 14, 16, 19, 27]


def test_groups_go_through_pictures_and_captions_in_any_case():
    table = make_table([("a", ["x"]), ("b", ["X"]), ("b", ["y"]), ("c", ["z"]), ("d", ["other", "x"])])
    groups = connected_groups(table)
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 3


def test_nothing_to_split_off():
    table = make_table([("a", ["x"]), ("b", ["y"])])
    splits = split_by_group(table, {"test": 0.0})
    assert len(splits["train"]) == 2 and len(splits["test"]) == 0
    assert {name: len(part) for name, part in split_by_group(make_table([]), FRACTIONS).items()} == {
        "train": 0,
        "test": 0,
        "val": 0,
    }


def test_rejected_rows_are_counted_once():
    base = make_table([(f"p{n}", [f"c{n}"]) for n in range(50)])
    bad = (Rejected(50, "50", "the caption is missing"),)
    table = SampleTable(
        base.source, base.ids, base.captions, base.picture_hashes, base.positions, base.pictures, bad
    )
    splits = split_by_group(table, FRACTIONS)
    assert {name: part.rejected for name, part in splits.items()} == {"train": bad, "test": (), "val": ()}


def overlapping() -> dict[str, SampleTable]:
    return {
        "train": make_table([("a", ["1"]), ("b", ["2"]), ("c", ["3"]), ("a", ["4"])], "train.parquet"),
        "val": make_table([("b", ["5"]), ("d", ["6"]), ("e", ["7"])], "val.parquet"),
        "test": make_table([("a", ["8"]), ("d", ["9"])], "test.parquet"),
    }


def test_a_picture_on_two_sides_is_an_error_that_says_where_and_what_to_do():
    with pytest.raises(DataError) as caught:
        separate_pictures(overlapping(), "error")
    assert str(caught.value) == (
        "train.parquet: 3 rows share their picture with another split (first: 0 is also in test).\n"
        "Remove them, or set dataset.shared_pictures=leave_out to train without them."
    )
    del (splits := overlapping())["train"]
    with pytest.raises(DataError, match=r"val\.parquet: 1 rows .* \(first: 1 is also in test\)"):
        separate_pictures(splits, "error")


def test_left_out_rows_are_those_of_the_earlier_split_and_are_counted():
    splits = separate_pictures(overlapping(), "leave_out")
    assert {name: [row[0] for row in part.captions] for name, part in splits.items()} == {
        "train": ["3"],
        "val": ["5", "7"],
        "test": ["8", "9"],
    }
    assert [(lost.row, lost.reason) for lost in splits["train"].rejected] == [
        (0, "its picture is also in a later split"),
        (1, "its picture is also in a later split"),
        (3, "its picture is also in a later split"),
    ]
    assert [lost.row for lost in splits["val"].rejected] == [1] and splits["test"].rejected == ()


@settings(max_examples=100, deadline=None)
@given(rows, rows, rows)
def test_after_leaving_out_no_picture_is_shared(train, val, test):
    splits = {"train": make_table(train), "val": make_table(val), "test": make_table(test)}
    result = separate_pictures(splits, "leave_out")
    shown = {name: set(part.picture_hashes) for name, part in result.items()}
    assert not shown["train"] & (shown["val"] | shown["test"]) and not shown["val"] & shown["test"]
    assert len(result["test"]) == len(test)
    for name, pairs in (("train", train), ("val", val)):
        assert len(result[name]) + len(result[name].rejected) == len(pairs)


def test_splits_that_share_nothing_stay_as_they_are():
    splits = {"train": make_table([("a", ["x"])]), "test": make_table([("b", ["x"])])}
    assert separate_pictures(splits, "error") == splits


def test_what_shares_a_sound_or_a_named_group_stays_together():
    rows = [(None, [sound(n), sound(n // 2 + 100)], [f"words {n}"]) for n in range(60)]
    names = [f"speaker {n % 60 // 6}" if n % 5 else None for n in range(60)]
    table = trimodal_table(rows, groups=names)
    for fractions in ({"test": 0.3, "val": 0.3}, {"test": 0.5}):
        splits = split_by_group(table, fractions)
        takes = [{take for row in part.sound_hashes for take in row} for part in splits.values()]
        speakers = [{name for name in part.groups if name} for part in splits.values()]
        assert sum(map(len, takes)) == len(set.union(*takes)) == 90
        assert sum(map(len, speakers)) == len(set.union(*speakers)) == 10
        assert min(len(part) for part in splits.values()) > 0
    # Words of one speaker are no match for each other's sounds; the same sound is.
    groups = connected_groups(table)
    assert groups[0] == groups[1] != groups[2] and len(set(groups)) == 30


def test_rows_without_words_or_pictures_are_no_group_of_their_own():
    table = trimodal_table([(None, [sound(n)], []) for n in range(40)])
    assert len(set(connected_groups(table))) == 40
    splits = split_by_group(table, FRACTIONS)
    assert all(len(part) > 3 for part in splits.values())
