"""The embedded default data set: 1,918 emoji pictures with their English names, in a fixed split.

Pictures come from the asset `twemoji`, names and aliases from the package `emoji`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_glass import assets
from edge_glass.core.errors import DataError
from edge_glass.core.files import atomic_file, write_whole
from edge_glass.data.pictures import decode_image, picture_hash

logger = logging.getLogger(__name__)

TEST_ROWS: Final = 300
VAL_ROWS: Final = 150

# SHA-256 of the sorted names, one a line. Another set of names would silently be another split.
NAMES_SHA256: Final = "f5796b11cdd9ce4e7e88578e6d9ed904a0d6a28a85277f9ea0df1bb8ebb59ac3"
EMOJI_VERSION: Final = "2.16.0"

_SKIN_TONES: Final = {f"{code:x}" for code in range(0x1F3FB, 0x1F400)}


@dataclass(frozen=True)
class Emoji:
    """One picture: `stem` is its file name (code points in hex), `name` the raw ":name:" it is split by."""

    stem: str
    name: str
    character: str
    aliases: tuple[str, ...]

    @property
    def caption(self) -> str:
        """The name in plain words."""
        return plain_words(self.name)


def plain_words(name: str) -> str:
    """Turn ":A_button_(blood_type):" into "A button (blood type)"."""
    return name.strip(":").replace("_", " ")


def split_names(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the fixed split: sorted, shuffled with seed 0; 300 test, the next 150 val, the rest train."""
    order = sorted(names)
    random.Random(0).shuffle(order)
    return {
        "train": order[TEST_ROWS + VAL_ROWS :],
        "val": order[TEST_ROWS : TEST_ROWS + VAL_ROWS],
        "test": order[:TEST_ROWS],
    }


def find_emoji(stems: Iterable[str], emoji_data: dict[str, dict[str, Any]]) -> list[Emoji]:
    """Match picture files with English names; pictures with a skin tone are left out.

    Args:
        stems: picture file names without suffix: code points in hex, joined by "-".
        emoji_data: `emoji.EMOJI_DATA`: character → {"en": ":name:", "alias": [":other:"], "status": int}.

    Returns:
        Sorted by name.
    """
    known = set(stems)
    found: dict[str, tuple[int, Emoji]] = {}
    for character, entry in emoji_data.items():
        codes = [f"{ord(part):x}" for part in character]
        # Twemoji leaves the variation selector out of most file names, but not of all.
        spellings = ("-".join(codes), "-".join(code for code in codes if code != "fe0f"))
        stem = next((spelling for spelling in spellings if spelling in known), None)
        if "en" not in entry or stem is None or _SKIN_TONES.intersection(codes):
            continue
        # Several spellings of a character share a picture; the best qualified has the lowest status.
        status = int(entry["status"])
        if stem not in found or status < found[stem][0]:
            found[stem] = (status, Emoji(stem, entry["en"], character, _aliases(entry)))
    return sorted((item for _, item in found.values()), key=lambda item: item.name)


def _aliases(entry: dict[str, Any]) -> tuple[str, ...]:
    taken = {plain_words(entry["en"]).casefold()}
    aliases = []
    for alias in map(plain_words, entry.get("alias", [])):
        if alias and alias.casefold() not in taken:
            taken.add(alias.casefold())
            aliases.append(alias)
    return tuple(aliases)


def build_emoji(folder: Path, progress: bool = True, speech: bool = False) -> dict[str, Path]:
    """Write train.parquet, val.parquet, test.parquet and a data set card; the same bytes every time.

    Columns: `id` (code points), `image_bytes` (PNG, as published), `caption`, `aliases` (list of strings),
    `emoji` (the character), `picture_sha256` (`picture_hash` of the decoded picture: some emoji look the same
    though their files differ). With `speech` also `audio` (list of FLAC sounds, 16 kHz mono: the caption,
    spoken) and `voices` (list of strings: who speaks them); the voices of the three splits differ. Besides,
    `spoken_words.parquet` has 10,000 frequent words with a training voice each and no pictures, to train on.

    Args:
        folder: where the files go; it is made if need be.
        progress: show the download of the pictures, if they must be fetched, and the speaking.
        speech: speak the captions too; one or two minutes, and 300 MB instead of 2.

    Returns:
        Split name → file, in the order train, val, test, and spoken_words with `speech`.

    Raises:
        AssetError: the pictures or the speech library cannot be fetched.
        ConfigError: the packages for sounds are missing.
        DataError: the installed package `emoji` has other names than the pinned version.
    """
    import emoji

    pictures = assets.fetch("twemoji", progress) / "72x72"
    items = find_emoji((file.stem for file in pictures.glob("*.png")), emoji.EMOJI_DATA)
    _check_names(items)
    by_name = {item.name: item for item in items}
    splits = {split: [by_name[name] for name in names] for split, names in split_names(by_name).items()}
    hashes: dict[str, str] = {}
    files = {}
    for split, members in splits.items():
        data = [(pictures / f"{item.stem}.png").read_bytes() for item in members]
        for item, picture in zip(members, data, strict=True):
            hashes[item.stem] = picture_hash(decode_image(picture))
        files[split] = folder / f"{split}.parquet"
        sounds = _sounds(split, members, progress) if speech else {}
        _write_split(files[split], members, data, hashes, sounds)
    if speech:
        files["spoken_words"] = _write_words(folder / "spoken_words.parquet", splits, progress)
    write_whole(folder / "README.md", _card(splits, hashes) + (_speech_card() if speech else ""))
    logger.info("wrote %d emoji to %s", len(items), folder)
    return files


def _check_names(items: list[Emoji]) -> None:
    digest = hashlib.sha256("\n".join(item.name for item in items).encode()).hexdigest()
    if digest != NAMES_SHA256:
        raise DataError(
            f"package emoji {importlib.metadata.version('emoji')} gives {len(items)} pictures other names "
            f"than {EMOJI_VERSION} does; the split would differ. Install emoji=={EMOJI_VERSION}."
        )


def _sounds(split: str, items: list[Emoji], progress: bool) -> dict[str, Any]:
    from edge_glass.corpora import speech

    voices = [speech.voices_of(split, row) for row in range(len(items))]
    return speech.speech_columns([item.caption for item in items], voices, progress)


def _write_words(file: Path, splits: dict[str, list[Emoji]], progress: bool) -> Path:
    """Write frequent words; none is a name or alias that is measured."""
    from edge_glass.corpora import speech

    measured = [
        name for split in ("val", "test") for item in splits[split] for name in (item.caption, *item.aliases)
    ]
    vocabulary = assets.fetch("all-minilm-l6-v2", progress) / "vocab.txt"
    speech.write_spoken_words(file, speech.common_words(vocabulary, measured), progress=progress)
    return file


def _write_split(
    file: Path, items: list[Emoji], pictures: list[bytes], hashes: dict[str, str], sounds: dict[str, Any]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "id": pa.array([item.stem for item in items], pa.string()),
            "image_bytes": pa.array(pictures, pa.binary()),
            "caption": pa.array([item.caption for item in items], pa.string()),
            "aliases": pa.array([list(item.aliases) for item in items], pa.list_(pa.string())),
            "emoji": pa.array([item.character for item in items], pa.string()),
            "picture_sha256": pa.array([hashes[item.stem] for item in items], pa.string()),
            **sounds,
        }
    )
    with atomic_file(file) as temporary:
        # No dictionaries: every value is its own, and a reader would have to load all pictures as one.
        pq.write_table(table, temporary, row_group_size=256, use_dictionary=False)


def _card(splits: dict[str, list[Emoji]], hashes: dict[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for split, items in splits.items():
        for item in items:
            groups.setdefault(hashes[item.stem], []).append(f"{item.caption} ({split})")
    same = sorted(sorted(group) for group in groups.values() if len(group) > 1)
    return _CARD.format(
        total=sum(map(len, splits.values())),
        train=len(splits["train"]),
        val=len(splits["val"]),
        test=len(splits["test"]),
        version=EMOJI_VERSION,
        groups=len(same),
        listing="\n".join("- " + "; ".join(group) for group in same),
    )


def _speech_card() -> str:
    from edge_glass.corpora import speech

    return _SPEECH_CARD.format(
        train=", ".join(speech.TRAIN_VOICES),
        val=", ".join(speech.VAL_VOICES),
        test=", ".join(speech.TEST_VOICES),
    )


_CARD: Final = """\
# Emoji pictures with English names

{total} pictures (72x72 PNG): every Twemoji picture without a skin tone that has an English name in
the Python package `emoji` {version}.

| file | rows |
|---|---|
| train.parquet | {train} |
| val.parquet | {val} |
| test.parquet | {test} |

The split is by name and fixed: the sorted names, shuffled with `random.Random(0)`; the first 300 are test,
the next 150 validation, the rest training.

Columns: `id` (code points in hex), `image_bytes` (the PNG as published), `caption` (the name in plain words),
`aliases` (further English names), `emoji` (the character), `picture_sha256` (hash of the decoded pixels).

## Licence and attribution

Graphics: Twemoji, copyright Twitter, Inc and other contributors, licensed under CC-BY 4.0
(https://creativecommons.org/licenses/by/4.0/). The pictures are unchanged. Names: the package `emoji`
(BSD-3-Clause), after the Unicode Common Locale Data Repository (Unicode licence).

## Same picture, several names

{groups} groups of emoji share one picture, some of them across the splits. Leave a training row out when its
`picture_sha256` occurs in validation or test, and count every name of a picture as right when scoring.

{listing}
"""

_SPEECH_CARD: Final = """
## Speech

Columns: `audio` (the caption, spoken: a list of FLAC sounds, 16 bits, mono, 16 kHz), `voices` (the voice of
each sound). A training row is spoken by all training voices, a validation or test row by one, in turn:

| file | voices |
|---|---|
| train.parquet | {train} |
| val.parquet | {val} |
| test.parquet | {test} |

`spoken_words.parquet` holds frequent English words without pictures, each spoken by one training voice:
further rows to train on. No word is among them that is, as a whole, a name or an alias of validation or test.

The voices are synthetic: eSpeak NG 1.52 (GPL-3.0-or-later), which is fetched to make the sounds and is no
part of this data set. Its licence covers the program, not what it speaks.
"""
