"""Whisper tiny.en as it is shipped: the right words come out, and transformers computes the same tokens."""

from __future__ import annotations

import copy
import pickle
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from edge_glass.assets import fetch
from edge_glass.core.errors import ConfigError
from edge_glass.corpora.espeak import speak
from edge_glass.encoders.audio import AudioEncoder

pytestmark = pytest.mark.weights

SOURCE = "asset:whisper-tiny-en"


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    return AudioEncoder.load(SOURCE)


def noise(seconds: float, seed: int = 0) -> tuple[np.ndarray, int]:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(seconds * 16_000))).astype(np.float32), 16_000


def read_model(file: Path) -> dict[str, torch.Tensor]:
    """The encoder's tensors of a CTranslate2 model file (version 6, float16)."""
    tensors = {}
    with file.open("rb") as stream:

        def number(form: str) -> int:
            return int(struct.unpack(f"<{form}", stream.read(struct.calcsize(form)))[0])

        def text() -> str:
            return stream.read(number("H"))[:-1].decode()

        assert number("I") == 6 and text() == "WhisperSpec"
        number("I")
        for _ in range(number("I")):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            kind, data = number("B"), stream.read(number("I"))
            if name.startswith("encoder/") and kind == 4:
                tensors[name[8:]] = torch.from_numpy(np.frombuffer(data, np.float16).astype(np.float32)).view(
                    shape
                )
    return tensors


def as_transformers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under the names of `WhisperEncoder`."""
    state = {"embed_positions.weight": tensors.pop("position_encodings/encodings")}
    parts = {
        "self_attention/layer_norm": "self_attn_layer_norm",
        "self_attention/linear_1": "self_attn.out_proj",
        "ffn/layer_norm": "final_layer_norm",
        "ffn/linear_0": "fc1",
        "ffn/linear_1": "fc2",
    }
    for name, tensor in tensors.items():
        name = name.replace("layer_norm/gamma", "layer_norm/weight").replace(
            "layer_norm/beta", "layer_norm/bias"
        )
        layer = re.match(r"layer_(\d+)/(.*)/(weight|bias)$", name)
        if layer is None:
            state[name.replace("/", ".")] = tensor
        elif layer[2] == "self_attention/linear_0":
            for key, part in zip("qkv", tensor.chunk(3), strict=True):
                if not (key == "k" and layer[3] == "bias"):  # always zero, absent in transformers
                    state[f"layers.{layer[1]}.self_attn.{key}_proj.{layer[3]}"] = part.contiguous()
        else:
            state[f"layers.{layer[1]}.{parts[layer[2]]}.{layer[3]}"] = tensor
    return state


def test_its_shape_and_names(encoder):
    assert (encoder.width, encoder.sampling_rate, encoder.has_cls_token) == (384, 16_000, False)
    assert encoder.device == torch.device("cpu") and encoder.frozen
    assert encoder.frozen_forward([noise(30.0)]).tokens.shape == (1, 1500, 384)
    assert encoder.frozen_forward([noise(31.0)]).tokens.shape == (1, 1550, 384)
    assert encoder.fingerprint == AudioEncoder.load(SOURCE).fingerprint
    with pytest.raises(ConfigError, match="a model of ctranslate2 cannot be trained"):
        AudioEncoder.load(SOURCE, frozen=False)


def test_transformers_computes_the_same_tokens(encoder, tmp_path):
    config = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, num_mel_bins=80
    )
    model = WhisperEncoder(config)
    model.load_state_dict(as_transformers(read_model(fetch("whisper-tiny-en") / "model.bin")))
    model.save_pretrained(tmp_path)
    other = AudioEncoder.load(tmp_path)
    sounds = [speak("red heart"), speak("a dog runs over a field of snow", "en-GB-x-rp")]
    found, expected = encoder.frozen_forward(sounds), other.frozen_forward(sounds)
    assert torch.equal(found.mask, expected.mask)
    torch.testing.assert_close(found.tokens, expected.tokens, rtol=0, atol=2e-3)


def test_the_decoder_hears_what_was_said(encoder):
    """Through `preprocess` and the encoder's tokens, so a wrong spectrogram or rate would show."""
    tokenizer = Tokenizer.from_file(str(fetch("whisper-tiny-en") / "tokenizer.json"))
    sound = speak("The police car is waiting near the house.", "en-GB-x-rp+m1", 150)
    assert sound.rate == 22_050
    silence = np.zeros(30 * sound.rate - len(sound.samples), np.float32)
    tokens = encoder.frozen_forward([(np.concatenate([sound.samples, silence]), sound.rate)]).tokens
    result = encoder.backbone._model.generate(
        ctranslate2.StorageView.from_array(np.ascontiguousarray(tokens.numpy())),
        [["<|startoftranscript|>", "<|notimestamps|>"]],
        beam_size=1,
    )
    heard = tokenizer.decode(result[0].sequences_ids[0]).lower()
    assert "the police car is waiting" in heard, heard


def test_padding_in_the_batch_changes_no_token(encoder):
    sounds = [noise(seconds, row) for row, seconds in enumerate((1.5, 2.0, 1.55, 1.5))]
    batch = encoder.frozen_forward(sounds)
    for row, sound in enumerate(sounds):
        alone = encoder.frozen_forward([sound]).tokens[0]
        torch.testing.assert_close(batch.tokens[row, : len(alone)], alone, rtol=0, atol=1e-5)


def test_save_load_copies_and_threads(encoder, tmp_path):
    expected = encoder.frozen_forward([noise(1.5)]).tokens
    encoder.save(tmp_path)
    AudioEncoder.load(tmp_path).save(tmp_path)  # onto itself
    others = [AudioEncoder.load(tmp_path), copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))]
    for other in others:
        assert other.fingerprint == encoder.fingerprint
        assert torch.equal(other.frozen_forward([noise(1.5)]).tokens, expected)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: encoder.frozen_forward([noise(1.5)]).tokens, range(12)))
    assert all(torch.equal(one, expected) for one in found)
