"""Words spoken by synthetic voices, as compressed sounds in parquet columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edge_glass.core.errors import DataError
from edge_glass.core.extras import optional_module
from edge_glass.core.files import atomic_file
from edge_glass.core.progress import progress_bar
from edge_glass.corpora.espeak import speak
from edge_glass.data.sounds import Sound, encode_flac

RATE: Final = 16_000
"""Samples per second (Hz) of the written sounds: what speech encoders read."""

WORDS_PER_MINUTE: Final = 160

TRAIN_VOICES: Final = (
    "en-US+m1",
    "en-GB-x-rp+f2",
    "en+m3",
    "en-US+f4",
    "en-GB-scotland+m7",
    "en-US+m5",
)
VAL_VOICES: Final = ("en+m6",)
TEST_VOICES: Final = ("en-US+m8", "en+Annie", "en-GB-x-rp+Andy")
"""No voice, accent with its variant, stands in two of the three."""


def spoken(text: str, voice: str) -> bytes:
    """Return the text spoken by a voice: FLAC, 16 bits, mono, 16 kHz; the same bytes every time.

    Raises:
        ConfigError: The voice is unknown, or the packages for sounds are missing.
        AssetError: The speech library cannot be fetched.
    """
    samples, rate = speak(text, voice, WORDS_PER_MINUTE)
    resample = optional_module("soxr", "audio").resample
    return encode_flac(Sound(resample(samples, rate, RATE, quality="HQ"), RATE))


def voices_of(split: str, row: int) -> tuple[str, ...]:
    """Return who speaks a row: in train all its voices, in val and test one, in turn."""
    if split == "train":
        return TRAIN_VOICES
    choice = VAL_VOICES if split == "val" else TEST_VOICES
    return (choice[row % len(choice)],)


def speech_columns(
    words: Sequence[str], voices: Sequence[Sequence[str]], progress: bool = True
) -> dict[str, Any]:
    """Speak each text with each of its voices.

    Returns:
        Arrow arrays `audio` (list of binary, FLAC) and `voices` (list of strings), a row for each text.
    """
    import pyarrow as pa

    rows = []
    with progress_bar("speaking", sum(map(len, voices)), progress) as advance:
        for text, names in zip(words, voices, strict=True):
            rows.append([spoken(text, name) for name in names])
            advance(len(names))
    return {
        "audio": pa.array(rows, pa.list_(pa.binary())),
        "voices": pa.array([list(names) for names in voices], pa.list_(pa.string())),
    }


def common_words(vocabulary: Path, left_out: Iterable[str], count: int = 10_000) -> list[str]:
    """Return the first whole words of a WordPiece vocabulary, which lists frequent words early.

    Args:
        vocabulary: A file with a token on each line.
        left_out: Words that may not be among them, in any case, such as names that are measured.
        count: How many, at most.
    """
    avoided = {text.casefold() for text in left_out}
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    whole = (token for token in tokens if re.fullmatch("[a-z]{3,}", token) and token not in avoided)
    return list(islice(whole, count))


def write_spoken_words(
    file: Path, words: Iterable[str], voices: Sequence[str] = TRAIN_VOICES, progress: bool = True
) -> int:
    """Write rows of words and sounds without pictures; the same bytes every time.

    Each text is spoken by one of the voices, in turn. Columns are those of the emoji files: `id`
    ("spoken-000000", …), `image_bytes` (empty), `caption`, `aliases` (empty lists), `audio` (list of binary,
    FLAC) and `voices`.

    Returns:
        The number of rows.

    Raises:
        DataError: No words, or none but blanks in one of them.
        ConfigError: A voice is unknown, or the packages for sounds are missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = list(words)
    blank = [index for index, text in enumerate(words) if not text.strip()]
    if not words or blank:
        found = f"row {blank[0]} has no word" if blank else "there are no words"
        raise DataError(f"{file}: expected a word to speak in each row, got none: {found}")
    columns = speech_columns(words, [(voices[row % len(voices)],) for row in range(len(words))], progress)
    ids = [f"spoken-{index:06d}" for index in range(len(words))]
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "image_bytes": pa.nulls(len(words), pa.binary()),
            "caption": pa.array(words, pa.string()),
            "aliases": pa.array([[]] * len(words), pa.list_(pa.string())),
            **columns,
        }
    )
    with atomic_file(file) as temporary:
        pq.write_table(table, temporary, row_group_size=256, use_dictionary=False)
    return len(words)
