"""Splits by group: what shares a picture, a sound, a caption or a named group stays on one side."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace

from edge_glass.core.errors import DataError
from edge_glass.data.samples import SampleTable

logger = logging.getLogger(__name__)


def split_by_group(
    table: SampleTable, fractions: Mapping[str, float], rest: str = "train"
) -> dict[str, SampleTable]:
    """Split one table into several, without a random number.

    Rows that share a picture, a sound, a first caption (in any case) or the table's own group (such as a
    speaker), directly or through others, form a group. The side of a group depends on the smallest hash of
    its pictures and sounds alone: every process agrees, and added rows move others only where they join their
    group.

    Args:
        table: The rows.
        fractions: Split name → share of the groups, such as `{"test": 0.1, "val": 0.1}`.
        rest: Name of the split that gets everything else, and the list of rejected rows.
    """
    groups = connected_groups(table, named=True)
    keys: dict[int, str] = {}
    contents = zip(groups, table.keys("vision"), table.keys("audio"), strict=True)
    for group, pictures, sounds in contents:
        keys[group] = min(keys.get(group, "g"), *pictures, *sounds)  # hex digests sort before "g"
    sides = {group: _side(key, fractions, rest) for group, key in keys.items()}
    members: dict[str, list[int]] = {name: [] for name in (rest, *fractions)}
    for index, group in enumerate(groups):
        members[sides[group]].append(index)
    parts = {name: table.select(indices) for name, indices in members.items()}
    return {name: part if name == rest else replace(part, rejected=()) for name, part in parts.items()}


def connected_groups(table: SampleTable, named: bool = False) -> list[int]:
    """Group number of each row: connected components over shared pictures, sounds, captions and named groups.

    Named groups count for `split_by_group` only (`named`): two sentences of one speaker are no match.
    """
    parent = list(range(len(table)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    seen: dict[str, int] = {}
    pictures, sounds = table.keys("vision"), table.keys("audio")
    for index in range(len(table)):
        keys = [f"content {digest}" for digest in (*pictures[index], *sounds[index])]
        keys += [f"caption {caption.casefold()}" for caption in table.captions[index][:1]]
        if named and table.groups and table.groups[index] is not None:
            keys.append(f"group {table.groups[index]}")
        for key in keys:
            parent[root(index)] = root(seen.setdefault(key, index))
    return [root(index) for index in range(len(table))]


def separate_pictures(splits: dict[str, SampleTable], policy: str) -> dict[str, SampleTable]:
    """Make sure that no picture, and no sound, is on two sides.

    Args:
        splits: `train`, `val` and `test`, those that exist.
        policy: `error`, or `leave_out`: rows of train (and of val, against test) that share a picture or
            sound with a later split are left out.

    Returns:
        The splits; rows that were left out are among their `rejected`.

    Raises:
        DataError: A picture or sound is in two splits and the policy is `error`.
    """
    for modality, noun in (("vision", "picture"), ("audio", "sound")):
        splits = separate_by(splits, policy, modality, noun)
    return splits


def separate_by(
    splits: dict[str, SampleTable], policy: str, modality: str, noun: str
) -> dict[str, SampleTable]:
    """Do as `separate_pictures`, by whatever `keys` gives for a modality and messages call `noun`."""
    order = [name for name in ("train", "val", "test") if name in splits]
    result = dict(splits)
    for position, name in enumerate(order):
        table, further = splits[name], order[position + 1 :]
        later = {key: other for other in further for keys in splits[other].keys(modality) for key in keys}
        shared = {
            row: later[key] for row, keys in enumerate(table.keys(modality)) for key in keys if key in later
        }
        if not shared:
            continue
        if policy == "error":
            first, other = next(iter(shared.items()))
            raise DataError(
                f"{table.source}: {len(shared)} rows share their {noun} with another split (first: "
                f"{table.ids[first]} is also in {other}).\n"
                "Remove them, or set dataset.shared_pictures=leave_out to train without them."
            )
        reason = f"its {noun} is also in a later split"
        logger.info("%s: %d rows are left out: %s", table.source, len(shared), reason)
        result[name] = table.leave_out(set(shared), reason)
    return result


def _side(key: str, fractions: Mapping[str, float], rest: str) -> str:
    position = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    for name, fraction in fractions.items():
        if position < fraction:
            return name
        position -= fraction
    return rest
