"""Splits by group: what shares a picture or a caption stays on one side."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace

from edge_glass.data.pairs import PairTable
from edge_glass.errors import DataError

logger = logging.getLogger(__name__)

SHARED_PICTURE = "its picture is also in a later split"


def split_by_group(
    table: PairTable, fractions: Mapping[str, float], rest: str = "train"
) -> dict[str, PairTable]:
    """Split one table into several, without a random number.

    Rows that share a picture or a first caption (in any case), directly or through others, form a group. The
    side of a group depends on the smallest hash of its pictures alone: every process agrees, and added rows
    move others only where they join their group.

    Args:
        table: The rows.
        fractions: Split name → share of the groups, such as `{"test": 0.1, "val": 0.1}`.
        rest: Name of the split that gets everything else, and the list of rejected rows.
    """
    groups = connected_groups(table)
    keys: dict[int, str] = {}
    for index, group in enumerate(groups):
        keys[group] = min(keys.get(group, "g"), table.picture_hashes[index])  # hex digests sort before "g"
    sides = {group: _side(key, fractions, rest) for group, key in keys.items()}
    members: dict[str, list[int]] = {name: [] for name in (rest, *fractions)}
    for index, group in enumerate(groups):
        members[sides[group]].append(index)
    parts = {name: table.select(indices) for name, indices in members.items()}
    return {name: part if name == rest else replace(part, rejected=()) for name, part in parts.items()}


def connected_groups(table: PairTable) -> list[int]:
    """Group number of each row: connected components over shared pictures and equal captions."""
    parent = list(range(len(table)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[str, int] = {}
    for index in range(len(table)):
        for key in (
            f"picture {table.picture_hashes[index]}",
            f"caption {table.captions[index][0].casefold()}",
        ):
            parent[root(index)] = root(seen.setdefault(key, index))
    return [root(index) for index in range(len(table))]


def separate_pictures(splits: dict[str, PairTable], policy: str) -> dict[str, PairTable]:
    """Make sure that no picture is on two sides.

    Args:
        splits: `train`, `val` and `test`, those that exist.
        policy: `error`, or `leave_out`: rows of train (and of val, against test) that share a picture with a
            later split are left out.

    Returns:
        The splits; rows that were left out are among their `rejected`.

    Raises:
        DataError: A picture is in two splits and the policy is `error`.
    """
    order = [name for name in ("train", "val", "test") if name in splits]
    result = dict(splits)
    for position, name in enumerate(order):
        later = {digest: other for other in order[position + 1 :] for digest in splits[other].picture_hashes}
        shared = [i for i, digest in enumerate(splits[name].picture_hashes) if digest in later]
        if not shared:
            continue
        if policy == "error":
            table, first = splits[name], shared[0]
            raise DataError(
                f"{table.source}: {len(shared)} rows share their picture with another split (first: "
                f"{table.ids[first]} is also in {later[table.picture_hashes[first]]}).\n"
                "Remove them, or set dataset.shared_pictures=leave_out to train without them."
            )
        logger.info("%s: %d rows are left out: %s", splits[name].source, len(shared), SHARED_PICTURE)
        result[name] = splits[name].leave_out(set(shared), SHARED_PICTURE)
    return result


def _side(key: str, fractions: Mapping[str, float], rest: str) -> str:
    position = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    for name, fraction in fractions.items():
        if position < fraction:
            return name
        position -= fraction
    return rest
