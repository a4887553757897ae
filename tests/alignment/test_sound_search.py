"""Searching with sounds, with several things at once, and with what is no sound."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from edge_glass.alignment.model.alignment import build_alignment_model
from edge_glass.alignment.model.folder import save_model
from edge_glass.alignment.use.index import PictureIndex, save_index
from edge_glass.alignment.use.search import AlignmentModel
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.generated import RATE, generated_splits, play_shape
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

SAMPLES = play_shape("red", "ring", 0).samples
CAPTION = "a red ring"


def write_run(folder: Path, sounds: bool = True, fusion: str | None = None) -> Path:
    """The folder of a run that was never trained, with the generated test pictures as its index."""
    sections = {"audio_encoder": {}} if sounds else {}
    vision = {"projection_dim": 32, "mrl_dimensions": [16]}
    config = ExperimentConfig.model_validate(
        {
            "name": "toy",
            "vision_encoder": vision,
            **sections,
            **({"fusion": {"kind": fusion}} if fusion else {}),
        }
    )
    encoders = [VisionEncoder.tiny(), TextEncoder.tiny(), *([AudioEncoder.tiny()] if sounds else [])]
    save_model(build_alignment_model(config, *encoders), config, folder / "model")
    table = generated_splits()["test"]
    model = AlignmentModel(folder)
    embeddings = model.project_images([table.picture(row) for row in range(8)])
    captions = [row[0] for row in table.captions]
    save_index(
        folder / "index", PictureIndex(embeddings, list(table.ids), captions, ["test"] * 8, [None] * 8)
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AlignmentModel:
    return AlignmentModel(write_run(tmp_path_factory.mktemp("runs") / "hearing"))


def wav(samples: np.ndarray, rate: int = RATE, kind: str = "FLOAT") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype=kind)
    return buffer.getvalue()


def scores(model: AlignmentModel, dim: int | None = None, **query: object) -> dict[str, float]:
    return {hit.identifier: hit.score for hit in model.search(k=99, dim=dim, **query)}


def agree(one: dict[str, float], other: dict[str, float], tolerance: float = 1e-5) -> None:
    assert one.keys() == other.keys() and len(one) == 8
    assert [one[name] for name in one] == pytest.approx([other[name] for name in one], abs=tolerance)


def test_a_sound_may_be_a_file_its_bytes_or_samples(model: AlignmentModel, tmp_path: Path) -> None:
    data = wav(SAMPLES)
    (tmp_path / "a.wav").write_bytes(data)
    expected = scores(model, audio=(SAMPLES, RATE))
    for sound in (data, tmp_path / "a.wav", str(tmp_path / "a.wav"), (SAMPLES.astype(np.float64), RATE)):
        agree(scores(model, audio=sound), expected)
    hits = model.search(audio=data, k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3] and hits[0].score >= hits[1].score >= hits[2].score
    embedded = model.encode_audio([data, (SAMPLES[:2000], RATE)], dim=16)
    assert embedded.shape == (2, 16) and np.allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-5)
    cut = truncate_and_normalize(torch.from_numpy(np.array(model.index.embeddings)), 16).numpy()
    by_hand = dict(zip(model.index.ids, (cut @ embedded[0]).tolist(), strict=True))
    agree(scores(model, dim=16, audio=data), by_hand)


def test_other_rates_and_channels_are_heard_alike(model: AlignmentModel) -> None:
    """The tones lie far below the mel bands that 8 kHz cuts off."""
    time = np.arange(RATE) / RATE
    samples = (0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    expected = scores(model, audio=(samples, RATE))
    both = np.stack([1.5 * samples, 0.5 * samples], axis=1)
    agree(scores(model, audio=wav(both)), expected)
    agree(scores(model, audio=wav(samples[::2], 8000)), scores(model, audio=(samples[::2], 8000)))
    low = model.encode_audio([wav(samples[::2], 8000), wav(samples)])
    assert low[0] @ low[1] > 0.95
    agree(scores(model, audio=wav(samples, kind="PCM_16")), expected, 1e-3)


def test_a_query_of_several_things_is_their_mean_when_no_fusion_was_trained(
    model: AlignmentModel, tmp_path: Path
) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 30, 3), dtype=np.uint8))
    parts = {
        "audio": model.encode_audio([(SAMPLES, RATE)]),
        "query": model.encode_text([CAPTION]),
        "image": model.encode_images([picture]),
    }
    given = {"audio": (SAMPLES, RATE), "query": CAPTION, "image": picture}
    trained = [
        AlignmentModel(write_run(tmp_path / kind, fusion=kind)) for kind in ("gated", "cross_attention")
    ]
    for names in (("audio", "query"), ("audio", "image"), ("query", "image"), ("audio", "query", "image")):
        mean = np.mean([parts[name] for name in names], axis=0)[0]
        for dim in (None, 16):
            vector = truncate_and_normalize(torch.from_numpy(mean), dim).numpy()
            index = truncate_and_normalize(torch.from_numpy(np.array(model.index.embeddings)), dim).numpy()
            by_hand = dict(zip(model.index.ids, (index @ vector).tolist(), strict=True))
            for one in (model, *trained):  # first weights of towers do not depend on the fusion
                agree(scores(one, dim, **{name: given[name] for name in names}), by_hand)


def test_a_picture_may_stand_where_words_do(model: AlignmentModel) -> None:
    picture = generated_splits()["test"].picture(2)
    assert model.search(picture)[0].identifier == model.index.ids[2]
    agree(scores(model, query=picture), scores(model, image=picture))


def test_a_model_without_sounds_says_so(tmp_path: Path) -> None:
    deaf = AlignmentModel(write_run(tmp_path / "deaf", sounds=False))
    for ask in (
        lambda: deaf.search(audio=(SAMPLES, RATE)),
        lambda: deaf.search(CAPTION, audio=wav(SAMPLES)),
        lambda: deaf.encode_audio([wav(SAMPLES)]),
    ):
        with pytest.raises(
            ConfigError, match=r"deaf: this model was trained without sounds \(no audio_encoder\)"
        ):
            ask()
    picture = Image.new("RGB", (20, 20), "red")
    mean = np.concatenate([deaf.encode_text([CAPTION]), deaf.encode_images([picture])]).mean(axis=0)
    index = truncate_and_normalize(torch.from_numpy(np.array(deaf.index.embeddings))).numpy()
    vector = mean / np.linalg.norm(mean)
    agree(
        scores(deaf, query=CAPTION, image=picture),
        dict(zip(deaf.index.ids, (index @ vector).tolist(), strict=True)),
    )


def test_nothing_to_search_for(model: AlignmentModel) -> None:
    with pytest.raises(ConfigError, match="nothing to search for; give words, a picture or a sound"):
        model.search()


def two_hours() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(7200 * 4000, np.int16), 4000, format="FLAC")
    return buffer.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the sound has no bytes"),
    "no-samples": (lambda: wav(np.zeros(0, np.float32)), "the sound has no samples"),
    "nan": (lambda: wav(np.array([0.1, np.nan, 0.1] * 1000, np.float32)), "sample 1 is nan"),
    "infinite": (lambda: wav(np.array([0.1, 0.1, np.inf] * 1000, np.float32)), "sample 2 is inf"),
    "text": (lambda: b"These are no sounds but words.\n" * 50, "no sound can be read"),
    "page": (lambda: b"<!DOCTYPE html><html>404</html>", "an HTML page"),
    "cut-off": (lambda: wav(SAMPLES)[:-2000], "its header says"),
    "two-hours": (two_hours, "too long: 7200.0 s, the limit is 600 s"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_sound_is_an_error_that_names_the_file(
    model: AlignmentModel, tmp_path: Path, name: str
) -> None:
    make, reason = BAD[name]
    data, path = make(), tmp_path / f"{name}.wav"
    path.write_bytes(data)
    for sound, called in ((path, str(path)), (str(path), str(path)), (data, "the sound")):
        with pytest.raises(DataError) as caught:
            model.search(CAPTION, audio=sound)
        message = str(caught.value)
        assert message.startswith(f"{called}: ") and reason in message and "\n" not in message
        assert caught.value.exit_code == 3


def test_files_that_are_not_there(model: AlignmentModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.wav: no such file"):
        model.search(audio=tmp_path / "nowhere.wav")
    with pytest.raises(DataError, match="cannot be read"):
        model.search(audio=tmp_path)


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        ((np.array([0.1, np.nan] * 1000, np.float32), RATE), "NaN or infinite"),
        ((np.zeros((2000, 2), np.float32), RATE), "mono"),
        ((np.zeros(2000, np.int16), RATE), "int16"),
        ((SAMPLES, 0), "0 Hz"),
        ((np.zeros(0, np.float32), RATE), "no samples|empty|length 0"),
    ],
    ids=["nan", "stereo", "integers", "no rate", "empty"],
)
def test_samples_that_are_no_sound(model: AlignmentModel, sound: tuple[np.ndarray, int], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        model.search(audio=sound)


def test_no_items_give_no_embeddings(model: AlignmentModel) -> None:
    for found in (model.encode_audio([]), model.encode_text([]), model.encode_images([])):
        assert found.shape == (0, 32)
