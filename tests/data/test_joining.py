from __future__ import annotations

import pickle

import numpy as np
from data_samples import make_table, picture, sound, trimodal_table

from edge_glass.data.samples import Rejected, join_tables
from edge_glass.data.sounds import decode_sound
from edge_glass.data.splits import connected_groups


def joined_table():
    pictures = make_table([("a", ["one"]), ("b", ["two"]), ("c", ["three"])], "pictures.parquet")
    spoken = trimodal_table(
        [(None, [sound(0), sound(1)], ["one"]), (picture(9), [sound(2)], ["four"])],
        "spoken.parquet",
        groups=["anna", "ben"],
    )
    pictures = pictures.leave_out({1}, "why not")
    return join_tables([pictures, spoken.select([1, 0])])


def test_rows_keep_their_pictures_sounds_and_words():
    table = joined_table()
    assert table.source == "pictures.parquet, spoken.parquet"
    assert list(table.ids) == ["0", "2", "1", "0"]
    assert table.captions == [["one"], ["three"], ["four"], ["one"]]
    assert [table.picture(row) for row in range(3)] == [picture(0), picture(2), picture(9)]
    assert [len(keys) for keys in table.keys("audio")] == [0, 0, 1, 2]
    assert [len(keys) for keys in table.keys("vision")] == [1, 1, 1, 0]
    assert np.array_equal(table.sound(3, 1).samples, decode_sound(sound(1)).samples)
    assert table.groups == [None, None, "ben", "anna"]
    assert table.rejected == (Rejected(1, "pictures.parquet 1", "why not"),)
    assert connected_groups(table)[0] == connected_groups(table)[3]


def test_selections_and_other_processes_find_the_same():
    table = pickle.loads(pickle.dumps(joined_table().select([3, 1])))
    assert table.picture(1) == picture(2)
    assert np.array_equal(table.sound(0).samples, decode_sound(sound(0)).samples)
    left = joined_table().leave_out({0}, "shared")
    assert left.picture(0) == picture(2) and left.rejected[-1].reason == "shared"
    again = join_tables([joined_table(), make_table([("x", ["y"])])])
    assert again.picture(2) == picture(9) and again.picture(4) == picture(0)


def test_one_table_stays_as_it_is():
    table = make_table([("a", ["one"])])
    assert join_tables([table]) is table
