from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import edge_glass.data.feature_cache as feature_cache
from edge_glass.core.errors import DataError
from edge_glass.data.feature_cache import FeatureCache, FeatureTable, cache_entries, clear_cache

ABOUT = {"encoder": "abc", "transform": "t1"}


class Encoder:
    """Gives sample `key` the tokens `key`, `key + 0.5`, ..., one to four; notes what it is asked for."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = keys
        self.asked: list[list[str]] = []

    def __call__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        keys = [self.keys[index] for index in indices]
        self.asked.append(keys)
        lengths = torch.tensor([length_of(key) for key in keys])
        tokens = torch.zeros(len(keys), int(lengths.max()), 3)
        for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            tokens[row, :length] = expected(key, int(length))
        return tokens, lengths


def length_of(key: str) -> int:
    return 1 + int(key) % 4


def expected(key: str, length: int) -> torch.Tensor:
    return float(key) + torch.arange(length)[:, None] / 2 + torch.tensor([0.0, 0.1, 0.2])


def names(numbers: range | list[int]) -> list[str]:
    return [str(number) for number in numbers]


def fill(cache: FeatureCache, keys: list[str], about: dict = ABOUT) -> tuple[FeatureTable, Encoder]:
    encoder = Encoder(keys)
    return cache.features(about, keys, encoder), encoder


def check(table: FeatureTable, keys: list[str], indices: list[int]) -> None:
    tokens, mask = table.gather(indices)
    lengths = [length_of(keys[index]) for index in indices]
    assert tokens.shape == (len(indices), max(lengths), 3) and tokens.dtype == torch.float32
    assert mask.shape == tokens.shape[:2] and mask.dtype == torch.bool
    assert mask.sum(1).tolist() == lengths
    for row, index in enumerate(indices):
        assert torch.equal(tokens[row, : lengths[row]], expected(keys[index], lengths[row]))
        assert not tokens[row, lengths[row] :].any() and mask[row, : lengths[row]].all()


def files(root: Path, pattern: str = "*") -> list[Path]:
    return sorted((root / "features").glob(f"*/{pattern}"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_ROWS", 4)


@pytest.mark.usefixtures("small_shards")
def test_features_come_back_in_any_order_and_with_repeats(tmp_path):
    keys = names(range(11))
    table, encoder = fill(FeatureCache(tmp_path), keys)
    assert len(table) == 11 and [len(part) for part in encoder.asked] == [4, 4, 3]
    for indices in ([0], [3, 1], [10, 0, 5, 5, 2], list(range(11)), [4, 5, 6, 7], [0, 4, 8]):
        check(table, keys, indices)
    check(table, keys, np.array([9, 1]))


def test_samples_are_encoded_in_their_order_and_equal_ones_once(tmp_path):
    keys = names([5, 3, 5, 1, 3])
    table, encoder = fill(FeatureCache(tmp_path), keys)
    assert encoder.asked == [["5", "3", "1"]]
    check(table, keys, [0, 1, 2, 3, 4])


def test_what_is_there_is_not_computed_again(tmp_path):
    fill(FeatureCache(tmp_path), names(range(6)))
    keys = names([4, 9, 0, 8])
    table, encoder = fill(FeatureCache(tmp_path), keys)
    assert encoder.asked == [["9", "8"]]
    check(table, keys, [0, 1, 2, 3])
    assert fill(FeatureCache(tmp_path), keys)[1].asked == []


def test_other_encoders_and_transforms_have_features_of_their_own(tmp_path):
    keys = names(range(3))
    fill(FeatureCache(tmp_path), keys)
    for about in ({**ABOUT, "encoder": "abd"}, {**ABOUT, "transform": "t2"}, {**ABOUT, "more": 1}):
        assert fill(FeatureCache(tmp_path), keys, about)[1].asked == [keys]
    reordered = dict(reversed(ABOUT.items()))
    assert fill(FeatureCache(tmp_path), keys, reordered)[1].asked == []
    assert len(files(tmp_path, "about.json")) == 4


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_fill_that_is_killed_goes_on_where_it_stopped(tmp_path, error):
    keys = names(range(11))
    encoder = Encoder(keys)

    def killed(indices):
        if len(encoder.asked) == 2:
            raise error
        return encoder(indices)

    with pytest.raises(error):
        FeatureCache(tmp_path).features(ABOUT, keys, killed)
    table, second = fill(FeatureCache(tmp_path), keys)
    assert [key for part in second.asked for key in part] == keys[8:]
    check(table, keys, list(range(11)))


@pytest.mark.usefixtures("small_shards")
def test_a_fill_that_is_killed_between_the_two_files_of_a_shard(tmp_path, monkeypatch):
    keys = names(range(8))
    real = feature_cache._write

    def killed(path, *parts):
        if path.suffix == ".json" and path.name != "about.json" and files(tmp_path, "*[0-9a-f].json"):
            raise KeyboardInterrupt
        real(path, *parts)

    monkeypatch.setattr(feature_cache, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(FeatureCache(tmp_path), keys)
    monkeypatch.setattr(feature_cache, "_write", real)
    assert len(files(tmp_path, "*.npy")) == 2
    table, second = fill(FeatureCache(tmp_path), keys)
    assert second.asked == [keys[4:]]
    check(table, keys, list(range(8)))
    assert len(files(tmp_path, "*.npy")) == 2


def damage_truncate(tokens: Path, index: Path) -> None:
    tokens.write_bytes(tokens.read_bytes()[:-10])


def damage_lengthen(tokens: Path, index: Path) -> None:
    tokens.write_bytes(tokens.read_bytes() + b"\0")


def damage_empty(tokens: Path, index: Path) -> None:
    tokens.write_bytes(b"")


def damage_no_tokens(tokens: Path, index: Path) -> None:
    tokens.unlink()


def damage_no_index(tokens: Path, index: Path) -> None:
    index.unlink()


def damage_cut_index(tokens: Path, index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-5])


def damage_null_index(tokens: Path, index: Path) -> None:
    index.write_text("null")


def damage_other_index(tokens: Path, index: Path) -> None:
    index.write_text("{}")


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    "damage",
    [
        damage_truncate,
        damage_lengthen,
        damage_empty,
        damage_no_tokens,
        damage_no_index,
        damage_cut_index,
        damage_null_index,
        damage_other_index,
    ],
)
def test_a_torn_shard_is_computed_again(tmp_path, damage):
    keys = names(range(12))
    fill(FeatureCache(tmp_path), keys)
    for index in files(tmp_path, "*.json"):
        if index.name != "about.json" and "4" in json.loads(index.read_text())["keys"]:
            damage(index.with_suffix(".tokens.npy"), index)
    table, second = fill(FeatureCache(tmp_path), keys)
    assert second.asked == [["4", "5", "6", "7"]]
    check(table, keys, list(range(12)))
    assert fill(FeatureCache(tmp_path), keys)[1].asked == []


def test_progress_says_what_is_there_and_then_each_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "SHARD_ROWS", 3)
    steps: list[int] = []
    for numbers in (range(4), range(9), range(9)):
        keys = names(numbers)
        FeatureCache(tmp_path).features(ABOUT, keys, Encoder(keys), steps.append)
        steps.append(-1)
    assert steps == [0, 3, 1, -1, 4, 3, 2, -1, -1]


def test_precision_other_than_float32_is_widened(tmp_path):
    table = FeatureCache(tmp_path).features(
        ABOUT, ["a"], lambda indices: (torch.ones(1, 2, 3, dtype=torch.bfloat16), torch.tensor([2]))
    )
    assert table.gather([0])[0].dtype == torch.float32


def test_samples_without_tokens_have_one_that_is_masked(tmp_path):
    table = FeatureCache(tmp_path).features(
        ABOUT, ["a", "b"], lambda indices: (torch.zeros(len(indices), 1, 3), torch.tensor([0, 1]))
    )
    tokens, mask = table.gather([0])
    assert tokens.shape == (1, 1, 3) and mask.tolist() == [[False]]
    assert table.gather([0, 1])[1].tolist() == [[False], [True]]


def test_what_is_gathered_may_be_written_to_without_reaching_the_disk(tmp_path):
    keys = names(range(3))
    table, _ = fill(FeatureCache(tmp_path), keys)
    table.gather([0, 1])[0].fill_(7)
    table.shards[0].tokens[0] = 7
    check(FeatureCache(tmp_path).features(ABOUT, keys, Encoder(keys)), keys, [0, 1, 2])


@pytest.mark.usefixtures("small_shards")
def test_no_file_stays_open(tmp_path):
    keys = names(range(400))
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 40, hard))
    try:
        table, _ = fill(FeatureCache(tmp_path), keys)
        check(table, keys, list(range(400)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_table_travels_to_other_processes_as_paths(tmp_path):
    keys = names(range(1000))
    table, _ = fill(FeatureCache(tmp_path), keys)
    table.gather([0])
    carried = pickle.dumps(table)
    assert len(carried) < files(tmp_path, "*.npy")[0].stat().st_size
    check(pickle.loads(carried), keys, [999, 3])


def fill_in_process(root: str, barrier, results) -> None:
    feature_cache.SHARD_ROWS = 4
    keys = names(range(40))
    barrier.wait()
    table, _ = fill(FeatureCache(Path(root)), keys)
    results.put([tensor.tolist() for tensor in table.gather(range(40))])


def test_two_processes_that_fill_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=fill_in_process, args=(str(tmp_path), barrier, results)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(timeout=300)
        assert process.exitcode == 0
    assert found[0] == found[1]
    keys = names(range(40))
    table, encoder = fill(FeatureCache(tmp_path), keys)
    assert encoder.asked == []
    check(table, keys, list(range(40)))


def test_a_full_disk_is_said_clearly_and_leaves_nothing_broken(tmp_path, monkeypatch):
    keys = names(range(3))
    real = feature_cache.atomic_file

    @contextlib.contextmanager
    def full(path):
        with real(path) as temporary:
            yield temporary if path.name == "about.json" else Path("/dev/full")  # where every write fails

    monkeypatch.setattr(feature_cache, "atomic_file", full)
    with pytest.raises(DataError) as caught:
        fill(FeatureCache(tmp_path), keys)
    assert caught.value.exit_code == 3
    first, second = str(caught.value).split("\n")
    assert "features could not be written (No space left on device; " in first and "GiB free" in first
    assert second == "Give another folder with training.feature_cache=PATH, or training.feature_cache=off."
    assert [path.name for path in files(tmp_path)] == ["about.json"]
    monkeypatch.setattr(feature_cache, "atomic_file", real)
    table, encoder = fill(FeatureCache(tmp_path), keys)
    assert encoder.asked == [keys]
    check(table, keys, [0, 1, 2])


def test_a_write_that_the_system_refuses(tmp_path):
    # A limit on file sizes makes the kernel refuse a real write, as a full disk does; no rights are needed.
    code = (
        "import resource, sys, torch\n"
        "from pathlib import Path\n"
        "from edge_glass.data.feature_cache import FeatureCache\n"
        "from edge_glass.core.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "encode = lambda rows: (torch.zeros(len(rows), 9, 1000), torch.full((len(rows),), 9))\n"
        "try:\n    FeatureCache(Path(sys.argv[1])).features({}, ['a', 'b', 'c', 'd'], encode)\n"
        "except DataError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert f"could not be written ({os.strerror(errno.EFBIG)}; " in done.stdout
    assert "training.feature_cache=PATH" in done.stdout
    assert [path.name for path in files(tmp_path)] == ["about.json"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(DataError, match="Give another folder"):
        fill(FeatureCache(tmp_path / "a file" / "cache"), ["1"])


def test_an_error_of_the_encoder_is_not_taken_for_a_full_disk(tmp_path):
    def encode(indices):
        raise FileNotFoundError("a.png")

    with pytest.raises(FileNotFoundError):
        FeatureCache(tmp_path).features(ABOUT, ["1"], encode)


def test_what_is_cached_and_clearing_it(tmp_path):
    assert cache_entries(tmp_path) == [] and clear_cache(tmp_path) == 0
    fill(FeatureCache(tmp_path), names(range(5)))
    fill(FeatureCache(tmp_path), names(range(3)), {"encoder": "other"})
    entries = {entry[0]["encoder"]: entry for entry in cache_entries(tmp_path)}
    assert {name: samples for name, (_, samples, _) in entries.items()} == {"abc": 5, "other": 3}
    size = sum(path.stat().st_size for path in files(tmp_path))
    assert sum(entry[2] for entry in entries.values()) == size
    assert clear_cache(tmp_path) == size
    assert cache_entries(tmp_path) == [] and not (tmp_path / "features").exists()


def test_nothing_at_all_is_gathered_as_no_rows_of_the_right_width(tmp_path):
    table, _ = fill(FeatureCache(tmp_path), names(range(3)))
    for indices in ([], np.array([], dtype=np.int64)):
        tokens, mask = table.gather(indices)
        assert tokens.shape == (0, 1, 3) and tokens.dtype == torch.float32
        assert mask.shape == (0, 1) and mask.dtype == torch.bool


class Waiting(Exception):
    """A process waits for the others."""


def wait() -> None:
    raise Waiting


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("count", [2, 3, 7])
def test_processes_compute_a_share_each_however_late_they_come(tmp_path, count):
    """Each begins when those before it are done: what they wrote must not move what is whose."""
    keys, asked = names(range(22)), []
    for number in range(count - 1):
        encoder = Encoder(keys)
        with pytest.raises(Waiting):
            FeatureCache(tmp_path).features(ABOUT, keys, encoder, None, (number, count), wait)
        asked.append(encoder.asked)
    encoder = Encoder(keys)
    table = FeatureCache(tmp_path).features(ABOUT, keys, encoder, None, (count - 1, count))
    asked.append(encoder.asked)
    assert sorted((key for parts in asked for part in parts for key in part), key=int) == keys
    assert max(map(len, asked)) == -(-6 // count)  # six shards
    check(table, keys, [21, 0, 7, 7])


@pytest.mark.usefixtures("small_shards")
def test_where_the_others_have_another_disk_the_rest_is_computed_here(tmp_path):
    keys = names(range(11))
    encoder = Encoder(keys)
    table = FeatureCache(tmp_path).features(ABOUT, keys, encoder, share=(1, 2))
    assert sorted(key for part in encoder.asked for key in part) == sorted(keys)
    assert encoder.asked[0] == names([4, 5, 6, 7])
    check(table, keys, [0, 10, 4])
