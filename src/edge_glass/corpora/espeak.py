"""Text → speech with libespeak-ng, called through ctypes; no system package is needed."""

from __future__ import annotations

import _ctypes  # what unloads a library; ctypes itself has no name for it
import ctypes
import difflib
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_glass import assets
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.sounds import Sound

# From speak_lib.h
_SYNCHRONOUS, _DO_NOT_EXIT, _CHARACTERS, _UTF8, _RATE = 2, 1 << 15, 1, 1, 1
_LIBRARIES: Final = {"win32": "espeak-ng.dll", "darwin": "libespeak-ng.dylib"}
_OnSamples: Final = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)

SLOWEST: Final = 80
FASTEST: Final = 450

_lock = threading.Lock()


def speak(text: str, voice: str = "en-US", words_per_minute: int = 175) -> Sound:
    """Speak a text; the same samples every time on the same kind of machine.

    The library keeps the phase of its oscillators and a random state from one call to the next, and nothing
    in its interface resets them, so it is loaded anew for each text (3 ms). One call at a time: others wait.

    Args:
        text: Plain text; it may be empty, which gives a moment of silence.
        voice: Language and accent, with or without a variant: "en-US", "en-GB-scotland+f2" (see `voices`).
        words_per_minute: Speed, 80 to 450.

    Returns:
        Mono float32 samples at 22,050 Hz.

    Raises:
        ConfigError: The voice is unknown, or the speed out of range.
        AssetError: The library cannot be fetched, or does not exist for this platform.
        DataError: It refuses the text.
    """
    if not SLOWEST <= words_per_minute <= FASTEST:
        raise ConfigError(f"expected {SLOWEST} to {FASTEST} words per minute, got {words_per_minute}")
    folder = _folder(assets.cache_root())
    name = _checked_voice(voice, folder)
    with _lock:
        library = ctypes.CDLL(str(folder / _LIBRARIES.get(sys.platform, "libespeak-ng.so")))
        try:
            return _speak(library, folder, text, name, words_per_minute)
        finally:
            library.espeak_Terminate()
            _unload(library)


def voices() -> tuple[list[str], list[str]]:
    """Return names of all languages with their accents ("en-US"), and of all variants ("f2")."""
    languages, variants = _names(_folder(assets.cache_root()))
    return sorted(languages.values()), sorted(variants.values())


@cache
def _folder(cache_root: Path) -> Path:
    """Return the asset's folder; looking at all its 365 files takes longer than speaking a word."""
    return assets.fetch("espeak-ng")


def _speak(library: Any, folder: Path, text: str, voice: str, words_per_minute: int) -> Sound:
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(folder), _DO_NOT_EXIT)
    if rate <= 0:
        raise DataError(
            f"libespeak-ng cannot read its data in {folder}; try `edge-glass assets verify espeak-ng`"
        )
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # it starts from the clock otherwise
    parts: list[bytes] = []

    @_OnSamples
    def on_samples(samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            parts.append(ctypes.string_at(samples, 2 * count))
        return 0

    library.espeak_SetSynthCallback(on_samples)
    data = text.replace("\0", " ").encode() + b"\0"
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    if library.espeak_SetVoiceByName(voice.encode()) or library.espeak_SetParameter(
        _RATE, words_per_minute, 0
    ):
        raise ConfigError(f"libespeak-ng refuses the voice {voice!r}")
    if library.espeak_Synth(data, len(data), 0, _CHARACTERS, 0, _UTF8, None, None):
        raise DataError(f"libespeak-ng cannot speak {text[:60]!r}")
    library.espeak_Synchronize()
    samples = np.frombuffer(b"".join(parts), np.int16).astype(np.float32) / 32768
    return Sound(samples, int(rate))


def _unload(library: Any) -> None:
    unload = getattr(_ctypes, "FreeLibrary" if sys.platform == "win32" else "dlclose")
    unload(library._handle)


def _checked_voice(voice: str, folder: Path) -> str:
    """Return the voice as its files spell it; the library silently ignores a variant it does not know."""
    languages, variants = _names(folder)
    language, plus, variant = voice.partition("+")
    for name, known in ((language, languages), *([(variant, variants)] if plus else [])):
        if name.lower() not in known:
            close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
            some = ", ".join(known[match] for match in close) or ", ".join(list(known.values())[:8])
            kind = "language or accent" if known is languages else "variant"
            raise ConfigError(f"voice {voice!r}: espeak-ng has no {kind} {name!r}; near it are {some}")
    return languages[language.lower()] + (f"+{variants[variant.lower()]}" if plus else "")


@cache
def _names(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return lower-case name → name, of languages and of variants."""
    data = folder / "espeak-ng-data"
    languages = sorted(file.name for file in (data / "lang").rglob("*") if file.is_file())
    variants = sorted(file.name for file in (data / "voices" / "!v").iterdir())
    return {name.lower(): name for name in languages}, {name.lower(): name for name in variants}
