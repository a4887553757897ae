"""Finding things with a finished model: the same alone and in a batch, boxes in source pixels, COCO out."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import edge_glass
from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import canary
from edge_glass.core.canary import Canary
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.detection.boxes.codec import box_codec, seen_size
from edge_glass.detection.collators import Qwen2VLCollatorV2, planned_size, prompt_batch
from edge_glass.detection.data.conversations import convert_to_conversation_format
from edge_glass.detection.data.table import asked
from edge_glass.detection.use.detect import (
    Detection,
    DetectModel,
    Detector,
    picture_files,
    run_qwen2vl_inference,
    to_coco,
)
from edge_glass.vlm.folder import save_detection_model
from edge_glass.vlm.generation import Written
from edge_glass.vlm.model import build_detection_model

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
SIZE = {"width": 32, "layers": 2, "heads": 2, "vision_width": 32, "vision_layers": 3, "vision_heads": 2}
SIZES = ((90, 60), (64, 120), (100, 100), (224, 56), (90, 60))
CATEGORIES = ("face", "animal")


def picture(number: int) -> Image.Image:
    """Noise of a colour, as a function of the number."""
    generator = np.random.default_rng(number)
    width, height = SIZES[number % len(SIZES)]
    tint = generator.integers(0, 256, 3)
    noise = generator.integers(0, 256, (height, width, 3))
    return Image.fromarray(((noise + tint) // 2).astype(np.uint8))


def toy_config(family: str = "qwen2_vl", **sections: Any) -> ExperimentConfig:
    vlm = {"family": family, "size": SIZE, "min_pixels": 3136, "max_pixels": 9000, "mode": "full"}
    return ExperimentConfig.model_validate(
        {
            "name": "toy",
            "task": "detection",
            "dataset": {"categories": list(CATEGORIES)},
            "generation": {"max_new_tokens": 6, "batch_size": 2},
            "vlm": vlm,
            **sections,
        }
    )


def toy_model(config: ExperimentConfig) -> Any:
    """A model after a training that went in a random direction."""
    model = build_detection_model(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in model.trainable_state_dict().values():
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def rows_of(
    config: ExperimentConfig, model: Any, boxes: int = 0, answer: bool = False
) -> list[dict[str, Any]]:
    """Conversation rows as training makes them."""
    codec = box_codec(config.vlm.family, config.detection.box_format)
    prompt = asked(config.detection.prompt, CATEGORIES)
    rows = []
    for number in range(len(SIZES)):
        image = picture(number)
        found = np.array([[5.0, 6.0, 40.0, 50.0]] * boxes).reshape(-1, 4)
        example = {"id": str(number), "boxes": found, "labels": ["face"] * boxes}
        example |= {"width": image.width, "height": image.height}
        seen = planned_size(model.processor, *image.size)
        row = convert_to_conversation_format(
            example, codec, seen, prompt, config.dataset.system_prompt, answer=answer
        )
        rows.append({**row, "images": [image]})
    return rows


def write_run(folder: Path, config: ExperimentConfig) -> Any:
    """A finished run without the training; gives its model."""
    model = toy_model(config)
    codec = box_codec(config.vlm.family, config.detection.box_format)
    batch = Qwen2VLCollatorV2(model.processor, codec)(rows_of(config, model, boxes=1, answer=True)[:1])
    sample = canary.canary_sample(batch)
    sung = canary.compute_logits(model, sample)
    save_detection_model(model, config, folder / "model", Canary(sample, sung, sung + 1.0))
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "toy"
    write_run(folder, toy_config(dataset={"categories": list(CATEGORIES), "system_prompt": "Be exact."}))
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> DetectModel:
    loaded = edge_glass.load(str(run))
    assert isinstance(loaded, DetectModel)
    return loaded


def test_prompts_are_those_of_training(model: DetectModel) -> None:
    """A user gets what the metrics were measured on: the same tokens, written from the same prompts."""
    batch = prompt_batch(model.model.processor, rows_of(model.config, model.model))
    written = model.model.generate(batch, model.settings)
    expected = [model.model.tokenizer.decode(tokens).strip() for tokens in written.tokens]
    found = model.detect_all([picture(number) for number in range(len(SIZES))])
    assert [one.text for one in found] == expected and len(set(expected)) > 2


def test_many_at_once_are_the_same_as_one_by_one(model: DetectModel) -> None:
    pictures = [picture(number) for number in range(len(SIZES))]
    alone = [model.detect(one) for one in pictures]
    for size in (None, 10):
        together = model.detect_all(pictures, size)
        assert [one.text for one in together] == [one.text for one in alone]
        assert [one.size for one in together] == list(SIZES)
    assert model.detect_all([]) == []


@pytest.mark.parametrize(
    ("family", "box_format"), [("qwen2_vl", "tokens"), ("qwen2_5_vl", "json"), ("qwen3_vl", "json")]
)
def test_boxes_come_in_pixels_of_the_source(
    family: str, box_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(family, detection={"box_format": box_format})
    detector = Detector(build_detection_model(config), config)
    codec, tokenizer = detector.codec, detector.model.tokenizer
    patch = detector.model.processor.image_processor.patch_size
    true = [np.array([[10.0, 5.0, 60.0, 50.0], [3.0, 30.0, 33.0, 59.0]]) + number for number in range(3)]

    def written(batch: Any, settings: Any) -> Written:
        tokens = []
        for place, grid in enumerate(batch["image_grid_thw"]):
            text = codec.write(true[place], CATEGORIES, SIZES[place], seen_size(grid, patch))
            tokens.append(tokenizer(text, add_special_tokens=False)["input_ids"])
        return Written(tokens, [True] * len(tokens), [[-0.5] * len(one) for one in tokens])

    monkeypatch.setattr(detector.model, "generate", written)
    for place, one in enumerate(detector.detect_all([picture(number) for number in range(3)], 3)):
        wanted = dict(zip(CATEGORIES, np.clip(true[place], 0, [*SIZES[place], *SIZES[place]]), strict=True))
        assert sorted(one.labels) == sorted(CATEGORIES) and one.problem is None and not one.cut_off
        for box, label in zip(one.boxes, one.labels, strict=True):
            assert np.abs(box - wanted[label]).max() < 1.2, "a pixel, and the rounding of the format"
        assert one.scores == pytest.approx([np.exp(-0.5)] * 2) and one.boxes.dtype == np.float64


def answered(
    model: Any, monkeypatch: pytest.MonkeyPatch, text: str, probs: Any = None, ended: bool = True
) -> Detection:
    """What comes of one picture when the model writes this."""
    tokens = model.model.tokenizer(text, add_special_tokens=False)["input_ids"]
    log_probs = probs(tokens) if probs else [-1.0] * len(tokens)
    monkeypatch.setattr(model.model, "generate", lambda *_: Written([tokens], [ended], [log_probs]))
    return model.detect(picture(0))


def test_scores_are_of_a_box_own_tokens(model: DetectModel, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        '[{"bbox_2d": [1, 2, 30, 40], "label": "face"}, {"bbox_2d": [500, 600, 700, 800], "label": "animal"}]'
    )
    decode = model.model.tokenizer.decode

    def sure_of_the_first(tokens: list[int]) -> list[float]:
        second = len(text[: text.index("500")])
        ends = np.cumsum([len(decode([token])) for token in tokens])
        return np.where(ends <= second, -0.1, -2.0).tolist()

    found = answered(model, monkeypatch, text, sure_of_the_first)
    assert found.scores[0] == pytest.approx(np.exp(-0.1)) and found.scores[1] < 0.3


def test_answers_that_cannot_be_read(model: DetectModel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = answered(model, monkeypatch, "I see a nice face.")
    assert found.problem and not len(found.boxes) and found.labels == [] and found.scores == []
    assert found.boxes.shape == (0, 4) and found.text == "I see a nice face."
    cut = answered(model, monkeypatch, '[{"bbox_2d": [1, 2, 30, 40], "label": "face"}, {"bbox', ended=False)
    assert cut.cut_off and len(cut.boxes) == 1
    nothing = answered(model, monkeypatch, "[]")
    assert nothing.problem is None and not len(nothing.boxes) and not nothing.cut_off


def test_running_out_of_tokens_is_said(model: DetectModel) -> None:
    found = model.detect_all([picture(number) for number in range(3)], max_new_tokens=2)
    assert any(one.cut_off for one in found)
    with pytest.raises(ConfigError, match="max_new_tokens: expected"):
        model.detect(picture(0), max_new_tokens=0)


def test_a_picture_may_be_a_file_its_bytes_or_decoded(model: DetectModel, tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    picture(0).save(file)
    clear = picture(0).convert("RGBA")
    found = model.detect_all([file, str(file), file.read_bytes(), picture(0), clear])
    assert len({one.text for one in found}) == 1
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    picture(0).save(buffer, format="JPEG", exif=exif)
    assert model.detect(buffer.getvalue()).size == (60, 90)


def test_pictures_that_cannot_be_looked_at(model: DetectModel, tmp_path: Path) -> None:
    note = tmp_path / "note.png"
    note.write_text("hello")
    with pytest.raises(DataError, match=r"note\.png"):
        model.detect(note)
    with pytest.raises(DataError, match="no such file"):
        model.detect(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"picture 2.*5000.*200 times"):
        model.detect_all([picture(0), Image.new("RGB", (5000, 1))])


def test_what_to_look_for_can_be_said(run: Path, model: DetectModel) -> None:
    assert model.categories == CATEGORIES
    seen: list[str] = []

    def noted(batch: Any, settings: Any) -> Written:
        seen.append(model.model.tokenizer.decode(batch["input_ids"][0]))
        return Written([[]], [True], [[]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.model, "generate", noted)
        model.detect(picture(0))
        model.detect(picture(0), categories=["barcode"])
    assert "'face, animal'" in seen[0] and "Be exact." in seen[0] and "'barcode'" in seen[1]
    lost = Detector(model.model, model.config.model_copy(update={"dataset": type(model.config.dataset)()}))
    with pytest.raises(ConfigError, match="what to look for is not known"):
        lost.detect(picture(0))


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_models_of_transformers_answer_alike(family: str) -> None:
    """One function for both: the words are those of the model with everything around it."""
    config = toy_config(family)
    detector = Detector(toy_model(config), config)
    prompt = asked(config.detection.prompt, CATEGORIES)
    for number in range(2):
        expected = detector.detect(picture(number)).text
        for given in (detector.model, detector.model.vlm):
            said = run_qwen2vl_inference(given, detector.model.processor, picture(number), prompt, 6)
            assert said == expected
    vlm = detector.model.vlm.train()
    run_qwen2vl_inference(vlm, detector.model.processor, picture(0), "find", 1, system_prompt="Be exact.")
    assert vlm.training, "the mode is kept"


def found(boxes: list[list[float]], labels: list[str], size: tuple[int, int] = (100, 80)) -> Detection:
    array = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return Detection(array, labels, [0.5] * len(labels), "", None, False, size)


def test_coco(tmp_path: Path) -> None:
    names = [tmp_path / "a.png", tmp_path / "b.png"]
    document = to_coco(
        [found([[10, 20, 30, 60], [0, 0, 5, 5]], ["face", "cat"]), found([], [], (7, 9))],
        names,
        ["face", "dog"],
    )
    document = json.loads(json.dumps(document))
    assert document["categories"] == [
        {"id": 1, "name": "face"},
        {"id": 2, "name": "dog"},
        {"id": 3, "name": "cat"},
    ]
    assert document["images"][1] == {"id": 2, "file_name": str(names[1]), "width": 7, "height": 9}
    first = document["annotations"][0]
    assert first["bbox"] == [10, 20, 20, 40] and first["area"] == 800 and first["score"] == 0.5
    assert [one["category_id"] for one in document["annotations"]] == [1, 3]


def test_coco_is_read_by_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    document = to_coco([found([[10, 20, 30, 60]], ["face"]), found([], [])], ["a.png", "b.png"])
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document))
    truth = coco.COCO(str(path))
    results = truth.loadRes(document["annotations"])
    assert truth.getImgIds() == [1, 2] and results.anns[1]["bbox"] == [10, 20, 20, 40]


def test_files_and_folders(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "sub/c.webp", "note.txt"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(b"")
    found = picture_files([tmp_path / "photos" / "note.txt", tmp_path / "photos"])
    assert [file.name for file in found] == ["note.txt", "a.JPG", "b.png", "c.webp"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no picture"):
        picture_files([tmp_path / "empty"])
    with pytest.raises(DataError, match="no such file or folder"):
        picture_files([tmp_path / "none.png"])


def test_other_tasks_are_refused(run: Path, tmp_path: Path) -> None:
    from edge_glass.instruction.use.answer import AnswerModel

    with pytest.raises(ConfigError, match=r"toy finds things; .*edge-glass detect"):
        AnswerModel(run)
    (tmp_path / "model.json").write_text('{"config": {"task": "instruction"}}')
    with pytest.raises(ConfigError, match="answers questions; expected one that finds things"):
        DetectModel(tmp_path)
