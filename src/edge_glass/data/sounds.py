"""Decode one stored sound, strictly, and name it by its content.

Every room that opens a sound goes through `decode_sound`. A sound is its samples and their rate, always
together: samples at an assumed rate give wrong features without any error.
"""

from __future__ import annotations

import hashlib
import io
import struct
from typing import Any, Final, NamedTuple

import numpy as np

from edge_glass.core.errors import error_line
from edge_glass.core.extras import optional_module
from edge_glass.data.cells import BadCell

MAX_SECONDS: Final = 600.0
"""Upper bound on the length of a sound unless the caller gives another."""

MIN_RATE: Final = 4_000
"""Lowest sampling rate in Hz. Below it words are no longer understood; the rate is probably wrong."""

MAX_RATE: Final = 768_000
"""Highest sampling rate in Hz that sound cards know."""

_BLOCK: Final = 1 << 16  # frames at a time, so that a header's claim alone reserves no memory
_UNKNOWN_SIZES: Final = (0, 0xFFFFFFFF, 0xFFFFFFFF - 8, 0x7FFFF024)  # of programs that stream a WAV file
_LOUDEST: Final = 4.0  # four times full scale: mixing may go a little beyond 1, samples on another scale far
_LEFTOVER: Final = 0.01  # share of a file that tags behind the sound may take


class Sound(NamedTuple):
    """One sound.

    Attributes:
        samples: `[T]` float32, mono, full scale -1 to 1.
        rate: samples per second (Hz).
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate


class BadSound(BadCell):
    """A stored sound cannot be used."""

    noun = "sound"


def sound_bytes(value: Any) -> bytes:
    """Return the encoded bytes of one table cell: raw bytes, or the Hugging Face struct `{"bytes", "path"}`.

    Raises:
        BadSound: The cell is empty, holds only a path, or holds something other than bytes.
    """
    return BadSound.require_bytes(value)


def decode_sound(data: bytes, max_seconds: float = MAX_SECONDS) -> Sound:
    """Decode a sound file completely (WAV, FLAC, MP3, Ogg Vorbis and Opus, AIFF …); channels are averaged.

    Length and rate are read from the header and checked before anything is decoded. A cut-off file is noticed
    where its format says how long it is: not so in MP3 and Ogg, which give what is there.

    Returns:
        The samples at the file's own rate.

    Raises:
        BadSound: not a sound, truncated, corrupt, without samples, with NaN or infinite samples, too long, or
            with a sampling rate that cannot be right.
        ConfigError: the package soundfile is missing.
    """
    soundfile = optional_module("soundfile", "audio")
    if not data:
        raise BadSound("no_sound", "the sound has no bytes (length 0)")
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except Exception as error:  # LibsndfileError; TypeError for headerless formats
        raise BadSound("not_a_sound", f"no sound can be read from {_describe(data)}") from error
    with file:
        _check_header(file, data, max_seconds)
        samples = _read(file, max_seconds)
        rate, claimed = int(file.samplerate), file.frames
    if len(samples) < claimed < 1 << 60:
        raise BadSound("truncated", f"the file ends after {len(samples)} of {claimed} samples")
    if not len(samples):
        raise BadSound("no_sound", "the sound has no samples (length 0)")
    if not np.isfinite(samples).all():
        place = int(np.flatnonzero(~np.isfinite(samples))[0])
        raise BadSound("not_finite", f"sample {place} is {samples[place]}; numbers from -1 to 1 are expected")
    if (loudest := float(np.abs(samples).max())) > _LOUDEST:
        raise BadSound("wrong_scale", f"expected samples from -1 to 1, got {loudest:.6g}")
    return Sound(samples, rate)


def sound_hash(sound: Sound) -> str:
    """Return SHA-256 (hex) of what is heard, samples and rate, in whatever file format."""
    digest = hashlib.sha256(struct.pack("<Q", sound.rate))
    digest.update(np.ascontiguousarray(sound.samples, dtype="<f4").tobytes())
    return digest.hexdigest()


def encode_flac(sound: Sound) -> bytes:
    """Encode a sound as 16-bit mono FLAC; the same bytes every time. Samples beyond -1 to 1 are clipped.

    16-bit samples come back exactly.

    Raises:
        ConfigError: the package soundfile is missing.
    """
    soundfile = optional_module("soundfile", "audio")
    integers = np.clip(np.rint(np.asarray(sound.samples, np.float64) * 32768), -32768, 32767)
    buffer = io.BytesIO()
    soundfile.write(buffer, integers.astype(np.int16), sound.rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _check_header(file: Any, data: bytes, max_seconds: float) -> None:
    rate, frames = file.samplerate, file.frames
    if not MIN_RATE <= rate <= MAX_RATE:
        reason = f"the sampling rate is {rate} Hz; {MIN_RATE} to {MAX_RATE} are expected"
        raise BadSound("wrong_rate", reason)
    if frames < 1 << 60 and frames / rate > max_seconds:  # more stands for an unknown length
        raise BadSound("too_long", f"too long: {frames / rate:.1f} s, the limit is {max_seconds:g} s")
    riff_size = int.from_bytes(data[4:8], "little")
    if data[:4] == b"RIFF" and riff_size not in _UNKNOWN_SIZES:
        beyond = len(data) - (riff_size + 8)
        if beyond < -1:
            raise BadSound("truncated", f"the file has {len(data)} bytes; its header says {riff_size + 8}")
        if beyond > _LEFTOVER * len(data) and any(data[-beyond:]):
            raise BadSound("wrong_header", f"the file has {len(data)} bytes; its header says {riff_size + 8}")


def _read(file: Any, max_seconds: float) -> np.ndarray:
    """Read all samples, averaged over the channels, `[T]` float32."""
    blocks: list[np.ndarray] = []
    total, limit = 0, max_seconds * file.samplerate
    while True:
        try:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
        except Exception as error:
            reason = f"the {file.format} data cannot be decoded ({error_line(error, 120)})"
            raise BadSound("corrupt", reason) from error
        if not len(block):
            return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
        total += len(block)
        if total > limit:
            raise BadSound("too_long", f"too long: the limit is {max_seconds:g} s")
        blocks.append(block.mean(axis=1, dtype=np.float32))


def _describe(data: bytes) -> str:
    head = data[:64].lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return "an HTML page, perhaps an error page saved as a sound"
    if data[4:8] == b"ftyp":
        return "an MP4 or M4A file; convert it to FLAC or WAV first"
    return f"{len(data)} bytes, starting with {data[:8]!r}"
