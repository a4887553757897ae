from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.corpora import emoji, speech
from edge_glass.corpora.espeak import speak, voices
from edge_glass.data.sounds import decode_sound, sound_hash

REQUEST = [
    ("red heart", "en-US"),
    ("cat", "en+f3"),
    ("cat", "en-US+whisper"),
    ("Oh! No, red.", "en-GB-scotland"),
]


def test_no_voice_is_in_two_splits():
    everyone = [*speech.TRAIN_VOICES, *speech.VAL_VOICES, *speech.TEST_VOICES]
    assert len({name.lower() for name in everyone}) == len(everyone)
    variants = [name.partition("+")[2] for name in (*speech.VAL_VOICES, *speech.TEST_VOICES)]
    assert not {name.partition("+")[2] for name in speech.TRAIN_VOICES} & set(variants)
    assert len(speech.TEST_VOICES) >= 2


def test_who_speaks_a_row():
    assert speech.voices_of("train", 7) == speech.TRAIN_VOICES
    assert speech.voices_of("val", 7) == speech.VAL_VOICES
    in_turn = [speech.voices_of("test", row) for row in range(len(speech.TEST_VOICES) + 1)]
    assert in_turn == [(name,) for name in (*speech.TEST_VOICES, speech.TEST_VOICES[0])]


@pytest.mark.weights
def test_speech_depends_on_nothing_that_was_said_before():
    forwards = [speak(*request) for request in REQUEST]
    backwards = [speak(*request) for request in reversed(REQUEST)][::-1]
    code = "from edge_glass.corpora.espeak import speak\nfrom edge_glass.data.sounds import sound_hash\n"
    code += f"print(*(sound_hash(speak(*request)) for request in {REQUEST[::2] * 2}))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    hashes = [sound_hash(sound) for sound in forwards]
    assert hashes == [sound_hash(sound) for sound in backwards]
    assert elsewhere.stdout.split() == hashes[::2] * 2, elsewhere.stderr
    assert len(set(hashes)) == len(hashes)


@pytest.mark.weights
def test_threads_may_speak_at_once():
    with ThreadPoolExecutor(4) as pool:
        hashes = set(pool.map(lambda _: sound_hash(speak("red heart")), range(20)))
    assert hashes == {sound_hash(speak("red heart"))}


@pytest.mark.weights
def test_what_is_spoken():
    sound = speak("a dog runs over a field of snow")
    assert (sound.samples.dtype, sound.samples.ndim, sound.rate) == (np.float32, 1, 22_050)
    assert 1.5 < sound.seconds < 4 and 0.2 < np.abs(sound.samples).max() <= 1
    slow = speak("a dog runs over a field of snow", words_per_minute=90)
    assert slow.seconds > 1.4 * sound.seconds
    assert speak("").seconds < 0.3
    assert np.array_equal(speak("a\0b").samples, speak("a b").samples)


@pytest.mark.weights
def test_voices_have_names():
    languages, variants = voices()
    assert {"en-US", "en-GB-scotland", "de", "cmn"} <= set(languages) and {"f2", "m3"} <= set(variants)
    assert np.array_equal(speak("cat", "en-us+F2").samples, speak("cat", "en-US+f2").samples)
    for name in (*speech.TRAIN_VOICES, *speech.VAL_VOICES, *speech.TEST_VOICES):
        assert speak("cat", name).seconds > 0.2


@pytest.mark.weights
@pytest.mark.parametrize(
    ("voice", "words"),
    [
        ("klingon", "espeak-ng has no language or accent 'klingon'"),
        ("en-uk", "no language or accent 'en-uk'; near it are .*en-US"),
        ("en-US+f22", "no variant 'f22'; near it are f2"),
        ("", "no language or accent ''"),
        ("../en", "no language or accent"),
    ],
)
def test_unknown_voices_are_named(voice, words):
    with pytest.raises(ConfigError, match=words):
        speak("cat", voice)


def test_an_impossible_speed():
    with pytest.raises(ConfigError, match="80 to 450 words per minute, got 20"):
        speak("cat", words_per_minute=20)


@pytest.mark.weights
def test_spoken_words_are_written(tmp_path):
    file = tmp_path / "words.parquet"
    names = ("en-US+m3", "en+f4")
    assert speech.write_spoken_words(file, ["red heart", "cat"], names, progress=False) == 2
    table = pq.read_table(file)
    assert table.column_names == ["id", "image_bytes", "caption", "aliases", "audio", "voices"]
    first, second = table.to_pylist()
    assert (first["id"], first["caption"], first["voices"]) == ("spoken-000000", "red heart", [names[0]])
    assert (second["id"], second["caption"], second["voices"]) == ("spoken-000001", "cat", [names[1]])
    assert [row["image_bytes"] for row in (first, second)] == [None, None] and first["aliases"] == []
    (one,), (other,) = first["audio"], second["audio"]
    assert decode_sound(one).rate == decode_sound(other).rate == speech.RATE
    assert one == speech.spoken("red heart", names[0]) and other == speech.spoken("cat", names[1])
    before = file.read_bytes()
    speech.write_spoken_words(file, ["red heart", "cat"], names, progress=False)
    assert file.read_bytes() == before


@pytest.mark.parametrize(("words", "says"), [([], "there are no words"), (["cat", " "], "row 1 has no word")])
def test_nothing_to_say(tmp_path, words, says):
    with pytest.raises(DataError, match=says):
        speech.write_spoken_words(tmp_path / "words.parquet", words)
    assert not list(tmp_path.iterdir())


@pytest.mark.weights
@pytest.mark.slow
def test_emoji_with_speech(tmp_path, monkeypatch):
    chosen = speech.common_words

    def few_words(vocabulary: Path, left_out: Iterable[str]) -> list[str]:
        return chosen(vocabulary, left_out, count=30)

    monkeypatch.setattr(speech, "TRAIN_VOICES", speech.TRAIN_VOICES[:1])  # else two minutes
    monkeypatch.setattr(speech, "common_words", few_words)
    silent = emoji.build_emoji(tmp_path / "silent", progress=False)
    loud = emoji.build_emoji(tmp_path / "loud", progress=False, speech=True)
    spoken_words = pq.read_table(loud.pop("spoken_words"))
    measured = {
        name.casefold()
        for split in ("val", "test")
        for row in pq.read_table(loud[split]).to_pylist()
        for name in (row["caption"], *row["aliases"])
    }
    assert len(spoken_words) == 30 and not measured & set(spoken_words["caption"].to_pylist())
    assert spoken_words["image_bytes"].null_count == 30
    assert set(spoken_words.column_names) < set(pq.read_table(loud["train"]).column_names)
    for split, file in loud.items():
        table = pq.read_table(file)
        assert table.drop_columns(["audio", "voices"]).equals(pq.read_table(silent[split]))
        rows = table.select(["audio", "voices"]).to_pylist()
        assert [tuple(row["voices"]) for row in rows] == [
            speech.voices_of(split, number) for number in range(len(rows))
        ]
        assert all(len(row["audio"]) == len(row["voices"]) for row in rows)
        assert 0.3 < decode_sound(rows[-1]["audio"][-1]).seconds < 5
    card = (tmp_path / "loud" / "README.md").read_text(encoding="utf-8")
    assert card.startswith((tmp_path / "silent" / "README.md").read_text(encoding="utf-8"))
    assert "GPL-3.0" in card and speech.TEST_VOICES[0] in card
