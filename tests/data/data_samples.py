"""Small pictures, files and tables for the tests of this folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from edge_glass.data.samples import SampleTable
from edge_glass.data.sounds import Sound, decode_sound, encode_flac, sound_hash


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (8, 8), **options: Any) -> bytes:
    """A picture of noise, a function of its seed and size."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def write_parquet(path: Path, images: Sequence[Any], captions: Any, **more: Any) -> Path:
    """A parquet file with columns `image_bytes` and `caption`, and more by name."""
    pq.write_table(pa.table({"image_bytes": images, "caption": captions, **more}), path)
    return path


def strings(*cells: bytes) -> pa.StringArray:
    """A string column whose cells are any bytes, as careless writers make them."""
    offsets = np.cumsum([0, *(len(cell) for cell in cells)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(cells), pa.py_buffer(offsets), pa.py_buffer(b"".join(cells)))


def make_table(rows: Sequence[tuple[str, Sequence[str]]], source: str = "rows") -> SampleTable:
    """A table of (name of a picture, captions); ids are row numbers, hashes are of the names."""
    return SampleTable(
        source=source,
        ids=[str(number) for number in range(len(rows))],
        captions=[list(captions) for _, captions in rows],
        picture_hashes=[hashlib.sha256(name.encode()).hexdigest() for name, _ in rows],
        positions=list(range(len(rows))),
        pictures=[picture(number) for number in range(len(rows))],
    )


def to_tensor(image: Image.Image) -> Tensor:
    """A picture as it is: uint8 `[3, H, W]`."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def sound(seed: int, seconds: float = 0.05, rate: int = 8000) -> bytes:
    """FLAC bytes of noise, a function of its seed and length."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, int(seconds * rate)).astype(np.float32)
    return encode_flac(Sound(samples, rate))


def hash_of(encoded: bytes) -> str:
    """Content hash of a sound file."""
    return sound_hash(decode_sound(encoded))


Cells = tuple[bytes | None, list[bytes], list[str]]


def trimodal_table(rows: Sequence[Cells], source: str = "rows", groups: Sequence[str] = ()) -> SampleTable:
    """A table of (picture or None, takes, captions); ids are row numbers."""
    return SampleTable(
        source=source,
        ids=[str(number) for number in range(len(rows))],
        captions=[captions for _, _, captions in rows],
        picture_hashes=[None if shown is None else hashlib.sha256(shown).hexdigest() for shown, _, _ in rows],
        positions=list(range(len(rows))),
        pictures=[shown or b"" for shown, _, _ in rows],
        sound_hashes=[[hash_of(take) for take in takes] for _, takes, _ in rows],
        sounds=[takes for _, takes, _ in rows],
        groups=groups,
    )


def to_mel(heard: Sound) -> Tensor:
    """A sound as float `[1, T]`, unlike any spectrogram."""
    return torch.from_numpy(heard.samples)[None]
