from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from edge_glass.core.errors import AssetError, ConfigError, DataError
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.audio.whisper import WhisperBackbone
from edge_glass.encoders.log_mel import LogMel


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> tuple[np.ndarray, int]:
    generator = np.random.default_rng(seed)
    return (0.1 * generator.standard_normal(round(seconds * rate))).astype(np.float32), rate


def tone(rate: int, seconds: float = 2.0) -> tuple[np.ndarray, int]:
    times = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * 300 * times)).astype(np.float32), rate


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    return AudioEncoder.tiny(0)


def whisper_config() -> WhisperConfig:
    return WhisperConfig(
        vocab_size=60,
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        num_mel_bins=20,
        max_source_positions=50,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )


# --- spectrogram ---


@pytest.mark.parametrize("samples", [24_000, 24_001, 40_159, 480_000])
@pytest.mark.parametrize("mels", [80, 128])
def test_the_spectrogram_equals_transformers(samples, mels):
    sound = noise(samples / 16_000)
    expected = WhisperFeatureExtractor(feature_size=mels)(
        sound[0], sampling_rate=16_000, padding="longest", return_tensors="pt"
    )["input_features"][0]
    found = LogMel(mels=mels)(sound)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(rate):
    found, expected = LogMel()(tone(rate)), LogMel()(tone(16_000))
    assert found.shape == expected.shape == (80, 200)
    # Within the tone's own bands; a wrong rate would move it elsewhere.
    assert torch.equal(found.mean(1).argmax(), expected.mean(1).argmax())
    torch.testing.assert_close(found.amax(0)[10:-10], expected.amax(0)[10:-10], rtol=0, atol=0.01)


def test_a_short_sound_is_followed_by_silence():
    short = noise(0.3)
    padded = np.pad(short[0], (0, 24_000 - len(short[0])))
    assert torch.equal(LogMel()(short), LogMel()((padded, 16_000)))
    assert LogMel()((np.zeros(0, np.float32), 16_000)).shape == (80, 150)


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ((np.zeros((2, 100), np.float32), 16_000), r"samples \(2, 100\)"),
        ((np.zeros(100, np.int16), 16_000), "int16 samples"),
        ((np.zeros(100, np.float32), 0), "at 0 Hz"),
        ((np.full(100, np.nan, np.float32), 16_000), "NaN or infinite"),
    ],
)
def test_what_is_no_sound_is_refused(encoder, sound, words):
    with pytest.raises(DataError, match=words):
        encoder.preprocess(sound)


def test_a_sound_longer_than_the_limit_is_refused():
    limited = AudioEncoder.tiny(0)
    limited.max_seconds = 2.0
    assert limited.preprocess(noise(2.0)).shape == (20, 200)
    with pytest.raises(DataError, match=r"at most 2 s \(audio_encoder\.max_seconds\); got a sound of 2\.5 s"):
        limited.preprocess(noise(2.5))


# --- tokens ---


def test_a_full_window_equals_the_library():
    config = WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, num_mel_bins=20
    )
    model = WhisperEncoder(config).eval()
    encoder = AudioEncoder(WhisperBackbone(model), LogMel(mels=20))
    mel = encoder.preprocess(noise(30.0))
    features = encoder(encoder.collate([mel]))
    assert features.tokens.shape == (1, 1500, 32) and features.mask.all()
    torch.testing.assert_close(features.tokens, model(mel[None]).last_hidden_state, rtol=0, atol=1e-5)


def test_padding_in_the_batch_changes_no_token(encoder):
    sounds = [noise(seconds, seed=row) for row, seconds in enumerate((1.5, 2.0, 1.55, 1.5, 7.3))]
    batch = encoder.frozen_forward(sounds, micro_batch=2)
    assert batch.mask.sum(1).tolist() == [75, 100, 78, 75, 365]
    for row, sound in enumerate(sounds):
        alone = encoder.frozen_forward([sound]).tokens[0]
        torch.testing.assert_close(batch.tokens[row, : len(alone)], alone, rtol=0, atol=1e-5)
        assert not batch.tokens[row, len(alone) :].any()
        assert batch.mask[row].tolist() == [True] * len(alone) + [False] * (365 - len(alone))


def test_a_long_sound_is_windows_one_after_the_other(encoder):
    mel = encoder.preprocess(noise(5.0))
    tokens = encoder(encoder.collate([mel])).tokens[0]
    windows = [encoder(encoder.collate([part])).tokens[0] for part in mel.split(200, dim=1)]
    assert [len(part) for part in windows] == [100, 100, 50]
    torch.testing.assert_close(tokens, torch.cat(windows), rtol=0, atol=1e-5)


def test_frozen_forward_equals_forward(encoder):
    sounds = [noise(1.7), noise(2.0)]
    inputs = encoder.collate([encoder.preprocess(sound) for sound in sounds])
    for features in (encoder.frozen_forward(sounds), encoder.frozen_forward(inputs)):
        torch.testing.assert_close(features.tokens, encoder(inputs).tokens, rtol=0, atol=1e-6)
        assert not features.tokens.requires_grad and not features.tokens.is_inference()


def test_no_sounds_and_rows_without_sound(encoder):
    nothing = encoder.frozen_forward([])
    assert nothing.tokens.shape == (0, 1, 32) and nothing.mask.shape == (0, 1)
    inputs = encoder.collate([encoder.preprocess(noise(1.5)), torch.zeros(20, 0)])
    features = encoder.frozen_forward(inputs)
    assert features.mask.sum(1).tolist() == [75, 0]


def test_threads_may_call_at_once(encoder):
    sounds = [noise(1.5, seed=seed) for seed in range(8)]
    expected = [encoder.frozen_forward([sound]).tokens for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda sound: encoder.frozen_forward([sound]).tokens, sounds))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


# --- training ---


def test_gradients_reach_the_weights_unless_frozen(encoder):
    inputs = encoder.collate([encoder.preprocess(noise(1.5)), encoder.preprocess(noise(5.0))])
    trained = AudioEncoder.tiny(0, frozen=False).train()
    trained(inputs).tokens.square().sum().backward()
    with_gradient = {name for name, p in trained.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"backbone.model.conv1.weight", "backbone.model.layers.1.fc2.weight"} <= with_gradient
    assert not encoder(inputs).tokens.requires_grad
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.train().training and encoder.device == torch.device("cpu")


# --- names ---


def test_tiny_is_a_function_of_its_seed(encoder):
    state = torch.get_rng_state()
    assert AudioEncoder.tiny(0).fingerprint == encoder.fingerprint != AudioEncoder.tiny(1).fingerprint
    assert torch.equal(state, torch.get_rng_state())


def test_the_fingerprint_sees_weights_and_transform():
    changed = AudioEncoder.tiny(0)
    before = changed.fingerprint
    with torch.no_grad():
        changed.backbone.model.conv1.bias[0] += 1
    assert changed.fingerprint != before
    other = AudioEncoder(AudioEncoder.tiny(0).backbone, LogMel(mels=20, min_seconds=1.0))
    assert other.fingerprint != before and other.transform_id != changed.transform_id


def test_copies_and_pickles(encoder):
    for other in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert other.fingerprint == encoder.fingerprint


# --- folders ---


def test_save_and_load(tmp_path):
    original = AudioEncoder.tiny(3)
    original.max_seconds = 20.0
    original.save(tmp_path)
    loaded = AudioEncoder.load(tmp_path)
    assert (loaded.fingerprint, loaded.max_seconds, loaded.frozen) == (original.fingerprint, 20.0, True)
    assert torch.equal(
        loaded.frozen_forward([noise(1.6)]).tokens, original.frozen_forward([noise(1.6)]).tokens
    )
    assert AudioEncoder.load(tmp_path, max_seconds=5.0).max_seconds == 5.0
    assert any(p.requires_grad for p in AudioEncoder.load(tmp_path, frozen=False).parameters())


@pytest.mark.parametrize("kind", [WhisperModel, WhisperForConditionalGeneration])
def test_the_libraries_folders_give_their_weights(tmp_path, kind):
    model = kind(whisper_config())
    model.save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=20).save_pretrained(tmp_path)
    encoder = AudioEncoder.load(tmp_path)
    assert (encoder.width, encoder.sampling_rate) == (16, 16_000)
    for name, tensor in model.get_encoder().state_dict().items():
        assert torch.equal(encoder.backbone.model.state_dict()[name], tensor), name


def test_the_extractors_own_rate_is_used(tmp_path):
    WhisperModel(whisper_config()).save_pretrained(tmp_path)
    WhisperFeatureExtractor(feature_size=20, sampling_rate=24_000).save_pretrained(tmp_path)
    assert AudioEncoder.load(tmp_path).sampling_rate == 24_000


def test_missing_weights_are_an_error(tmp_path):
    WhisperModel(whisper_config()).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {name: value for name, value in load_file(file).items() if "layers.1.fc2" not in name}
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(AssetError, match=r"lacks weights of WhisperEncoder: 2 missing.*layers\.1\.fc2"):
        AudioEncoder.load(tmp_path)


def test_folders_of_another_kind(tmp_path):
    from edge_glass.encoders.text import TextEncoder

    TextEncoder.tiny().save(tmp_path / "text")
    with pytest.raises(AssetError, match="modality 'text'"):
        AudioEncoder.load(tmp_path / "text")
    (tmp_path / "text" / "encoder.json").unlink()
    with pytest.raises(AssetError, match=r"whisper reads .*got a config.json of model_type 'bert'"):
        AudioEncoder.load(tmp_path / "text")
    with pytest.raises(AssetError, match="which is no folder"):
        AudioEncoder.load(tmp_path / "nothing")
    WhisperModel(whisper_config()).save_pretrained(tmp_path / "audio")
    WhisperFeatureExtractor(feature_size=80).save_pretrained(tmp_path / "audio")
    with pytest.raises(AssetError, match="has 80 mel bands, the model 20"):
        AudioEncoder.load(tmp_path / "audio")


def test_a_broken_ctranslate2_folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"nothing of the kind")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(AssetError, match="cannot be loaded"):
        AudioEncoder.load(tmp_path)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ctranslate2", None)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ConfigError, match=r"pip install 'edge-glass\[audio\]'"):
        AudioEncoder.load(tmp_path)
