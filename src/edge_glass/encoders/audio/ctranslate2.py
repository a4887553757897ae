"""The encoder of a Whisper model in CTranslate2 format as a backbone: fast on CPUs, frozen for good."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_glass.assets.files import sha256_of
from edge_glass.core.extras import optional_module
from edge_glass.encoders.log_mel import LogMel
from edge_glass.encoders.sources import read_source_json

MODEL_FILE = "model.bin"
FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt")

# float32 whatever the folder stores: 8-bit arithmetic is twice as fast, but rounds each row by its loudest
# value and is not the same on all processors.
COMPUTE_TYPE = "float32"


class CTranslate2Backbone(nn.Module):
    """A CTranslate2 Whisper model; it has no torch parameters, runs on the CPU and takes no gradients.

    As many threads may call it at once as torch had threads when it was loaded; more wait. The model is never
    written to, so a deep copy shares it, and a pickle holds the folder's name, which must still be there.

    Attributes:
        folder: Where it was loaded from.
        width: Numbers per token.
        window: Most frames at once; two frames make one token.
    """

    kind = "ctranslate2"
    trainable = False
    device = torch.device("cpu")
    window = 3000  # Whisper's 30 seconds

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._hash = ""
        self._load()
        self.width = int(self(torch.zeros(1, self.mels, 2)).shape[-1])

    def _load(self) -> None:
        library = optional_module("ctranslate2", "audio")
        # Without this it warns that it computes in float32 what is stored in float16.
        level = library.get_log_level()
        library.set_log_level(40)  # logging.ERROR
        try:
            self._model = library.models.Whisper(
                str(self.folder),
                compute_type=COMPUTE_TYPE,
                inter_threads=torch.get_num_threads(),
                intra_threads=1,
            )
        finally:
            library.set_log_level(level)
        self.mels = int(self._model.n_mels)

    def forward(self, mel: Tensor) -> Tensor:
        """Map `[B, M, T]`, T up to `window` → `[B, ceil(T / 2), D]` float32 on the device of `mel`."""
        library = optional_module("ctranslate2", "audio")
        values = np.ascontiguousarray(mel.detach().cpu().numpy(), dtype=np.float32)
        output = self._model.encode(library.StorageView.from_array(values), to_cpu=True)
        return torch.from_numpy(np.array(output)).to(mel.device)

    @contextmanager
    def inference(self, dtype: torch.dtype) -> Iterator[None]:
        """Switch nothing; `dtype` is without meaning here."""
        yield

    def fingerprint(self, description: str) -> str:
        """Return SHA-256 over `description`, the arithmetic and the model's file."""
        import hashlib

        self._hash = self._hash or sha256_of(self.folder / MODEL_FILE)
        text = f"ctranslate2 whisper {COMPUTE_TYPE} {self._hash}\n{description}"
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Copy the model's files."""
        for name in (MODEL_FILE, *FILES):
            source = self.folder / name
            if source.is_file() and source.resolve() != (folder / name).resolve():
                shutil.copyfile(source, folder / name)

    def __deepcopy__(self, memo: dict[int, Any]) -> CTranslate2Backbone:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._load()


def recognises(source: str) -> bool:
    """Say whether `source` is a folder in CTranslate2's layout."""
    return (Path(source) / MODEL_FILE).is_file()


def load(source: str) -> tuple[CTranslate2Backbone, LogMel]:
    """Load a folder in CTranslate2's layout."""
    backbone = CTranslate2Backbone(Path(source))
    settings = read_source_json(source, "preprocessor_config.json") or {}
    return backbone, LogMel.from_settings(dict(settings), backbone.mels, source)
