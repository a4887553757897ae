"""What `inspect` shows is what training gives to the model, and a fault in it is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import edge_glass
from answering_runs import CONFIGS, toy_config
from edge_glass.config import ExperimentConfig, load_config
from edge_glass.core.errors import ConfigError
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.conversations import ASSISTANT, SYSTEM, USER, Turn
from edge_glass.data.generated import COLOURS, SHAPES, draw_shape
from edge_glass.data.labels import NOT_TRAINED, ConversationTokenizer
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.decoders.tokenizers import tiny_tokenizer
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.experiment.folder import run_folder_of
from edge_glass.instruction.report.inspecting import checks_of_row
from edge_glass.instruction.task import InstructionTask
from edge_glass.reporting.inspection import Inspection

INSTRUCTION = sorted(
    path.stem for path in CONFIGS.glob("*.yaml") if "task: instruction" in path.read_text(encoding="utf-8")
)


def faults(found: Inspection) -> list[str]:
    return [fault for sample in found.samples for _, fault in sample.checks if fault is not None]


@pytest.mark.parametrize("name", INSTRUCTION)
def test_every_instruction_config_can_be_inspected(name: str) -> None:
    """The prefix tokens are as many as the model makes, and the words are those of training."""
    config = toy_config(name)
    found = edge_glass.inspect(config, 5)
    assert len(found.samples) == 5 and found.title == f"{name}-tiny" and faults(found) == []
    assert found.lengths[0].endswith("96 conversations") or config.audio_encoder is not None
    task = InstructionTask(config, progress=False)
    table = task.splits["train"]
    for sample in found.samples:
        batch = task.batch("train", [list(table.ids).index(sample.id)])
        prefix = task.model.prefix(batch)
        assert prefix is not None and sample.prefix_tokens == int(prefix.mask.sum())
        assert [token.id for token in sample.tokens] == batch["input_ids"][0].tolist()
        assert [token.trained for token in sample.tokens] == (batch["labels"][0] != NOT_TRAINED).tolist()


def test_the_picture_is_what_the_encoder_sees() -> None:
    config = toy_config("easy_vqa_trm")
    encoder = VisionEncoder.tiny(config.seed, layers=["blocks.*"])
    one = edge_glass.inspect(config, 1, "test").samples[0].inputs[0]
    assert one.source is not None and one.seen is not None
    np.testing.assert_array_equal(np.asarray(one.seen), np.asarray(encoder.transform.crop(one.source)))
    assert (one.source_size, one.seen_size) == ("40 × 40", "64 × 64")


def test_a_sound_is_shown_as_its_spectrogram() -> None:
    found = edge_glass.inspect(toy_config("trimodal_trm"), 8)
    kinds = [tuple(one.modality for one in sample.inputs) for sample in found.samples]
    assert ("vision", "audio") in kinds
    sounds = [one for sample in found.samples for one in sample.inputs if one.modality == "audio"]
    for one in sounds:
        assert one.seen is not None and one.source is None and "bands" in one.seen_size
        assert one.source_size == "0.3 s" and "2 takes" in one.note


def test_cross_attention_keeps_the_tokens_of_the_picture() -> None:
    found = edge_glass.inspect(toy_config("trimodal_qwen"), 1)
    picture, sound = found.samples[0].inputs
    assert picture.tokens > 0 == sound.tokens and "read by the picture's tokens" in sound.note


def test_splits_and_counts() -> None:
    config = toy_config("easy_vqa_trm")
    train, test = (edge_glass.inspect(config, 1000, split) for split in ("train", "test"))
    assert (len(train.samples), len(test.samples)) == (96, 24)
    assert {sample.split for sample in test.samples} == {"test"}
    few = edge_glass.inspect(config, 3, "test")
    assert [sample.id for sample in few.samples] == [test.samples[at].id for at in (0, 8, 16)]


def test_a_blind_model_is_given_nothing_to_see() -> None:
    found = edge_glass.inspect(toy_config("easy_vqa_trm", "prefix.blind=true"), 2)
    assert [sample.inputs for sample in found.samples] == [(), ()]
    assert found.overview["prefix"] == "none: words alone" and faults(found) == []


def test_training_pictures_are_augmented() -> None:
    config = toy_config("easy_vqa_trm", "dataset.augmentation=crop_flip")
    train = edge_glass.inspect(config, 6).samples
    plain = edge_glass.inspect(toy_config("easy_vqa_trm"), 6).samples
    pairs = [(one.inputs[0].seen, two.inputs[0].seen) for one, two in zip(train, plain, strict=True)]
    assert any(np.asarray(one).tolist() != np.asarray(two).tolist() for one, two in pairs)


def test_of_a_language_model_only_the_tokenizer_is_read(tmp_path: Path) -> None:
    """And the page goes beside the runs."""
    QwenDecoder.tiny(mode="frozen").save(tmp_path / "lm")
    (tmp_path / "lm" / "model.safetensors").unlink()
    VisionEncoder.tiny().save(tmp_path / "vision")
    rows = [
        {
            "image_bytes": draw_shape(colour, shape),
            "question": "[USER] what colour?",
            "answer": f"[ASSISTANT] {colour}",
            "source": "drawn",
        }
        for colour in COLOURS
        for shape in SHAPES
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    config = ExperimentConfig.model_validate(
        {
            "name": "mine",
            "task": "instruction",
            "output_dir": str(tmp_path / "runs"),
            "dataset": {"train_parquet": str(tmp_path / "rows.parquet")},
            "vision_encoder": {"source": str(tmp_path / "vision"), "pooling_type": "none"},
            "decoder": {"kind": "causal_lm", "source": str(tmp_path / "lm")},
        }
    )
    found = edge_glass.inspect(config, 2)
    assert faults(found) == []
    assert found.samples[0].facts == {"source": "drawn"}
    assert found.samples[0].prompt.startswith("<|im_start|>user\nwhat colour?<|im_end|>")
    assert run_folder_of(config) == tmp_path / "runs" / "mine"
    page = found.write_page(tmp_path / "inspect.html")
    assert "what colour?" in page.read_text(encoding="utf-8")


def test_other_tasks_are_refused() -> None:
    config = load_config(CONFIGS / "quickstart.yaml", tiny=True)
    with pytest.raises(
        ConfigError, match=r"quickstart-tiny is of task alignment; .* `inspect`: detection and instruction"
    ):
        edge_glass.inspect(config)


TURNS = (
    Turn(USER, "what colour?"),
    Turn(ASSISTANT, "red"),
    Turn(USER, "and what shape?"),
    Turn(ASSISTANT, "a ring, I think"),
)


def row_of(tokenizer: ConversationTokenizer, turns: tuple[Turn, ...] = TURNS) -> dict[str, Any]:
    """A batch of two rows, the first padded."""
    made = []
    for name, said in (("a", turns), ("b", (TURNS[0], Turn(ASSISTANT, "blue " * 40)))):
        tokens = tokenizer(said)
        made.append({"id": name, **tokens._asdict()})
    return ConversationCollator(tokenizer.tokenizer.pad_token_id, collate={})(made)


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(), QwenDecoder.tiny().tokenizer], ids=["own", "qwen"])
def test_invariants_hold_and_are_found_broken(tokenizer: Any) -> None:
    conversation = ConversationTokenizer(tokenizer)
    batch = row_of(conversation)
    checks = checks_of_row(batch, 0, TURNS, conversation)
    assert len(checks) == 5 and [fault for _, fault in checks] == [None] * 5
    ids, labels, mask = (batch[name] for name in ("input_ids", "labels", "attention_mask"))
    length = int(mask[0].sum())

    def faults_with(name: str, **changed: torch.Tensor) -> str:
        found = dict(checks_of_row({**batch, **changed}, 0, TURNS, conversation))
        [fault] = [fault for check, fault in found.items() if name in check]
        assert fault is not None, (name, found)
        return fault

    def relabelled(place: int, label: int) -> torch.Tensor:
        changed = labels.clone()
        changed[0, place] = label
        return changed

    assert "on padding" in faults_with("padding", labels=relabelled(length, 5))
    assert "not the ids" in faults_with("own token", labels=relabelled(length - 2, 5))
    assert "1 tokens of the first prompt" in faults_with(
        "before the first", labels=relabelled(2, int(ids[0, 2]))
    )
    assert "1 of 2 answers" in faults_with("end of every", labels=relabelled(length - 1, NOT_TRAINED))
    assert "a ring, I thin'" in faults_with("say the answers", labels=relabelled(length - 2, NOT_TRAINED))
    start = next(at for at in range(length - 1, 0, -1) if labels[0, at] == NOT_TRAINED) + 1
    assert "stand between" in faults_with("that of generation", labels=relabelled(start, NOT_TRAINED))
    other = ids.clone()
    other[0, 3] += 1
    assert "training has others" in faults_with("that of generation", input_ids=other)


def test_a_system_turn_belongs_to_the_prompt() -> None:
    conversation = ConversationTokenizer(QwenDecoder.tiny().tokenizer)
    turns = (Turn(SYSTEM, "be short"), *TURNS[:2])
    batch = row_of(conversation, turns)
    assert [fault for _, fault in checks_of_row(batch, 0, turns, conversation)] == [None] * 5
