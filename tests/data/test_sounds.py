from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

from edge_glass.core.errors import ConfigError
from edge_glass.data.sounds import BadSound, Sound, decode_sound, encode_flac, sound_bytes, sound_hash


def tone(seconds: float = 0.25, rate: int = 16_000) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encode(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav_header(rate: int, frames: int, riff_size: int | None = None) -> bytes:
    """A 16-bit mono header that claims `frames` samples."""
    size = 2 * frames
    riff = 36 + size if riff_size is None else riff_size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def problem(data: bytes, **options: float) -> BadSound:
    with pytest.raises(BadSound) as caught:
        decode_sound(data, **options)
    return caught.value


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "FLOAT"), ("WAV", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16")]
)
def test_lossless_formats_come_back(kind, subtype):
    sound = decode_sound(encode(tone(), kind=kind, subtype=subtype))
    assert (sound.samples.dtype, sound.samples.shape, sound.rate) == (np.float32, (4000,), 16_000)
    assert np.abs(sound.samples - tone()).max() < 1e-4
    assert sound.seconds == 0.25


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_lossy_formats_keep_rate_and_loudness(kind):
    sound = decode_sound(encode(tone(1.0, 22_050), 22_050, kind))
    assert sound.rate == 22_050 and 0.9 < sound.seconds < 1.2
    assert np.sqrt(np.mean(sound.samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.15)


def test_a_low_rate_is_kept_as_it_is():
    assert decode_sound(encode(tone(rate=8000), 8000)).rate == 8000


def test_channels_are_averaged():
    stereo = np.stack([tone(), np.zeros_like(tone())], axis=1)
    sound = decode_sound(encode(stereo, subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, tone() / 2)


def test_a_long_file_is_joined_from_its_blocks():
    samples = np.random.default_rng(0).uniform(-1, 1, 200_001).astype(np.float32)
    np.testing.assert_array_equal(decode_sound(encode(samples, subtype="FLOAT")).samples, samples)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", "no_sound", "length 0"),
        (encode(np.zeros(0, np.float32)), "no_sound", "no samples"),
        (b"Dear diary, this is a text file named .wav", "not_a_sound", "42 bytes, starting with b'Dear dia'"),
        (b"<!DOCTYPE html><html>", "not_a_sound", "an HTML page"),
        (b"\0\0\0\x18ftypM4A ", "not_a_sound", "convert it to FLAC or WAV"),
        (encode(tone(rate=2000), 2000), "wrong_rate", "2000 Hz; 4000 to"),
        (encode(np.zeros(601 * 4000, np.int16), 4000), "too_long", "601.0 s, the limit is 600 s"),
        (wav_header(16_000, 7200 * 16_000) + bytes(64), "truncated", "108 bytes; its header says 230400044"),
        (encode(tone())[:-1000], "truncated", "header says 8044"),
        (encode(tone(2.0), kind="FLAC")[:-1000], "(truncated|corrupt)", ""),
    ],
    ids=[
        "empty",
        "no-samples",
        "text",
        "html",
        "m4a",
        "2kHz",
        "too-long",
        "2-hours-claimed",
        "cut-wav",
        "cut-flac",
    ],
)
def test_bad_sounds_say_why(data, kind, words):
    error = problem(data)
    assert error.kind in kind and words in error.reason


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_named(value):
    samples = tone()
    samples[7] = value
    error = problem(encode(samples, subtype="FLOAT"))
    assert error.kind == "not_finite" and "sample 7 is" in error.reason


def test_the_limit_of_length_is_the_callers():
    assert decode_sound(encode(tone(1.0)), max_seconds=1.0).seconds == 1.0
    assert "1.0 s, the limit is 0.5 s" in problem(encode(tone(1.0)), max_seconds=0.5).reason


def test_hours_are_refused_before_they_are_decoded():
    two_hours = encode(np.zeros(7200 * 4000, np.int16), 4000, "FLAC")
    tracemalloc.start()
    assert "7200.0 s" in problem(two_hours).reason
    problem(wav_header(16_000, 7200 * 16_000) + bytes(64))
    # Streamed, of unknown size, and nothing there.
    problem(wav_header(16_000, 500 * 16_000, riff_size=0xFFFFFFFF))
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()


def test_a_streamed_wav_of_unknown_length_is_read():
    data = wav_header(16_000, 0x7FFFFFFF // 2, riff_size=0xFFFFFFFF) + bytes(3200)
    assert len(decode_sound(data).samples) == 1600


def test_what_sox_writes_into_a_pipe_is_read():
    data = encode(tone())
    data = data[:4] + struct.pack("<I", 0x7FFFF024) + data[8:40] + struct.pack("<I", 0x7FFFF000) + data[44:]
    assert decode_sound(data).samples.tolist() == decode_sound(encode(tone())).samples.tolist()


def test_a_file_that_is_longer_than_its_header_says_is_a_bad_sound():
    whole = encode(tone(1.0))
    short = 36 + (len(whole) - 44) // 4
    cut = whole[:4] + struct.pack("<I", short) + whole[8:40] + struct.pack("<I", short - 36) + whole[44:]
    assert problem(cut).kind == "wrong_header" and f"{len(whole)} bytes" in problem(cut).reason
    assert problem(whole + whole).kind in ("wrong_header", "not_a_sound")
    assert decode_sound(whole + bytes(len(whole))).seconds == 1.0  # padding


def test_samples_on_another_scale_are_a_bad_sound():
    assert problem(encode(tone() * 32767, subtype="FLOAT")).kind == "wrong_scale"
    assert decode_sound(encode(tone() * 2, subtype="FLOAT")).seconds == 0.25


def test_flac_keeps_16_bit_samples_exactly_and_clips_louder_ones():
    integers = np.array([-32768, -1, 0, 1, 32767] * 100, np.float32) / 32768
    data = encode_flac(Sound(integers, 16_000))
    assert data == encode_flac(Sound(integers, 16_000)) and data[:4] == b"fLaC"
    np.testing.assert_array_equal(decode_sound(data).samples, integers)
    loud = decode_sound(encode_flac(Sound(np.array([1.5, -1.5] * 50, np.float32), 16_000)))
    assert (loud.samples.max(), loud.samples.min()) == (np.float32(32767 / 32768), -1.0)


def test_the_hash_is_of_what_is_heard():
    integers = (tone() * 32767).astype(np.int16)
    sound = decode_sound(encode(integers))
    assert sound_hash(sound) == sound_hash(decode_sound(encode(integers, kind="FLAC")))
    assert sound_hash(sound) != sound_hash(Sound(sound.samples, 8000))
    assert sound_hash(sound) != sound_hash(Sound(sound.samples[:-1], sound.rate))


def test_cells():
    assert sound_bytes(b"x") == sound_bytes({"bytes": b"x", "path": None}) == sound_bytes(bytearray(b"x"))
    for value, words in [
        (None, "null"),
        ({"bytes": None, "path": "a.wav"}, "'a.wav'"),
        (3, "int"),
        (b"", "length 0"),
    ]:
        with pytest.raises(BadSound, match=words):
            sound_bytes(value)


def test_errors_survive_the_way_home_from_a_worker():
    error = pickle.loads(pickle.dumps(BadSound("corrupt", "why")))
    assert (error.kind, error.reason, str(error)) == ("corrupt", "why", "why")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(ConfigError, match=r"pip install 'edge-glass\[audio\]'"):
        decode_sound(b"x")


def test_the_module_is_light_until_a_sound_is_read():
    code = "import sys, edge_glass.data.sounds; print('soundfile' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
