"""Merging adapters: a plain Hugging Face folder that answers as the run does, or nothing at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import edge_glass
from answering_runs import write_answering_run
from edge_glass.core.errors import CheckpointError, ConfigError
from edge_glass.decoders.kinds.causal_lm import QwenDecoder
from edge_glass.instruction.model.folder import load_answering_model
from edge_glass.instruction.task import InstructionTask
from edge_glass.instruction.use.answer import AnswerModel
from edge_glass.tasks.merging import Merged, require_equal, roomy_device

LORA = "easy_vqa_smollm2"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> InstructionTask:
    """Of the run below."""
    folder = tmp_path_factory.mktemp("merging") / "run"
    made = write_answering_run(folder, LORA)
    made.folder = folder  # type: ignore[attr-defined]
    return made


@pytest.fixture(scope="module")
def folder(task: InstructionTask) -> Path:
    """A run with adapters that matter."""
    return task.folder  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def merged(folder: Path) -> Merged:
    return edge_glass.merge(folder, folder.parent / "merged", progress=False)


def logits_of(lm: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return lm(input_ids=ids).logits


def test_plain_transformers_gives_the_logits_of_the_run(task: InstructionTask, merged: Merged) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(merged.folder)
    plain = AutoModelForCausalLM.from_pretrained(merged.folder).eval()
    ids = tokenizer("what colour is it? a red ring", return_tensors="pt")["input_ids"]
    own = task.model.decoder
    assert (
        ids.tolist()
        == own.tokenizer("what colour is it? a red ring", return_tensors="pt")["input_ids"].tolist()
    )
    expected = logits_of(own.lm, ids)
    scale = expected.abs().max()
    assert (logits_of(plain, ids) - expected).abs().max() <= 1e-5 * scale
    untouched = logits_of(QwenDecoder.tiny(task.config.seed).lm, ids)
    assert (expected - untouched).abs().max() > 0.1 * scale
    assert not any("lora" in name for name, _ in plain.named_parameters())


def test_the_merged_folder_answers_as_the_run(task: InstructionTask, folder: Path, merged: Merged) -> None:
    table = task.splits["test"]
    pairs = [(table.picture(row), table.question(row)) for row in range(len(table))]
    answers = AnswerModel(merged.folder).answer_all(pairs)
    assert answers == AnswerModel(folder).answer_all(pairs)
    assert len(set(answers)) > 2


def test_what_was_measured_is_said_and_kept(task: InstructionTask, merged: Merged) -> None:
    assert merged.rows == len(task.splits["test"]) and merged.equal == 1.0
    assert 0 < merged.logits < 1e-4 and merged.merged == merged.unmerged
    lines = merged.lines()
    assert f"100.0% of {merged.rows} test answers are equal; vqa_accuracy" in lines[1]
    record = json.loads((merged.folder / "model.json").read_text())
    assert record["merged"]["equal"] == 1.0 and record["merged"]["logits"] == merged.logits
    assert record["config"]["decoder"]["mode"] == "frozen"


def test_only_the_prefix_is_beside_the_language_model(merged: Merged) -> None:
    state = load_file(merged.folder / "trained.safetensors")
    assert state and all(name.startswith("vision_tower.") for name in state)
    assert (merged.folder / "vision_encoder").is_dir() and not (merged.folder / "decoder").exists()


def test_a_changed_weight_is_noticed_by_the_canary(merged: Merged, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(merged.folder, copy)
    load_answering_model(copy)
    state = load_file(copy / "model.safetensors")
    name = next(name for name in state if "down_proj" in name)
    save_file(state | {name: state[name] * 1.5}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match="gives other answers than the one that was saved"):
        load_answering_model(copy)


def test_beyond_the_bound_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected at most 1e-12"):
        edge_glass.merge(folder, tmp_path / "none", bound=1e-12, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"logits": 0.01}, "At most logits by 0.001 of the largest may differ"),
        ({"logits": float("nan")}, "logits by 0.001"),
        ({"equal": 0.8}, "80.0% of 64 test answers are equal.*\n.*10% of the answers"),
        ({"merged": 0.9}, "vqa_accuracy 0.950 unmerged, 0.900 merged.*\n.*vqa_accuracy by 0.02"),
        (
            {"equal": 0.5, "merged": 0.5},
            "the answers and vqa_accuracy by 0.02 may differ; nothing was",
        ),
    ],
)
def test_differences_are_refused(changes: dict[str, float], says: str) -> None:
    same = Merged(Path("x"), 1e-6, 64, 0.95, "vqa_accuracy", 0.95, 0.94)
    require_equal(same, 1e-3, half=False)
    with pytest.raises(CheckpointError, match=says):
        require_equal(replace(same, **changes), 1e-3, half=False)


@pytest.mark.parametrize(("free", "kind"), [(1.5, "cuda"), (1.4, "cpu")])
def test_a_gpu_is_used_where_float32_fits(monkeypatch: pytest.MonkeyPatch, free: float, kind: str) -> None:
    model = torch.nn.Linear(1000, 1000, bias=False)  # 4 MB in float32
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free * 4_000_000), 0))
    assert roomy_device(model.bfloat16(), torch.device("cuda", 0)).type == kind
    assert roomy_device(model, torch.device("cpu")).type == "cpu"


def test_an_earlier_merged_model_is_replaced_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    edge_glass.merge(folder, target, rows=0, progress=False)
    (target / "left over").touch()
    edge_glass.merge(folder, target, rows=2, progress=False)
    assert not (target / "left over").exists()
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.png").touch()
    for occupied in (other, other / "a.png", folder):
        with pytest.raises(ConfigError, match="--output"):
            edge_glass.merge(folder, occupied, rows=0, progress=False)
    assert (other / "a.png").exists() and (folder / "config.yaml").exists()


def test_without_its_data_a_run_is_compared_by_logits(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(folder / "model", copy / "model")
    with pytest.raises(CheckpointError, match=r"config\.yaml is missing.*--rows 0"):
        edge_glass.merge(copy, progress=False)
    found = edge_glass.merge(copy, rows=0, progress=False)
    assert found.folder == copy / "merged" and found.rows == 0 and len(found.lines()) == 1
    assert AnswerModel(found.folder).run == copy


@pytest.mark.parametrize(
    ("name", "override", "says"),
    [
        ("easy_vqa_trm", "seed=0", "decoder is trm; only a language model has adapters"),
        (LORA, "decoder.mode=frozen", "decoder.mode is frozen, so there are no adapters"),
        (LORA, "decoder.mode=full decoder.dtype=float32", "decoder.mode is full, so there are no adapters"),
    ],
)
def test_runs_without_adapters(tmp_path: Path, name: str, override: str, says: str) -> None:
    write_answering_run(tmp_path / "run", name, *override.split())
    with pytest.raises(ConfigError, match=says):
        edge_glass.merge(tmp_path / "run", progress=False)


def test_a_merged_model_has_no_adapters_left(merged: Merged) -> None:
    with pytest.raises(ConfigError, match=r"decoder\.mode is frozen"):
        edge_glass.merge(merged.folder, merged.folder.parent / "again", progress=False)


def test_weights_that_were_quantised_are_merged_into_plain_ones(folder: Path, tmp_path: Path) -> None:
    """The toy is never quantised: what is tested is that the model is loaded a second time, without."""
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    record = json.loads((copy / "model/model.json").read_text())
    record["config"]["decoder"]["quantization"] = "4bit"
    (copy / "model/model.json").write_text(json.dumps(record))
    found = edge_glass.merge(copy, rows=4, progress=False)
    assert found.equal == 1.0
    kept = json.loads((found.folder / "model.json").read_text())["config"]["decoder"]
    assert (kept["quantization"], kept["dtype"], kept["mode"]) == ("none", "float32", "frozen")
    assert AnswerModel(found.folder).answer(None, "what is it?") == AnswerModel(folder).answer(
        None, "what is it?"
    )


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        (LORA, ["decoder.lora.dora=true"]),
        (LORA, ["prefix.blind=true"]),
        (LORA, ["decoder.dtype=bfloat16"]),
        ("trimodal_qwen", []),
        ("emoji_caption_smollm2", []),
    ],
)
def test_kinds_of_runs(tmp_path: Path, name: str, overrides: list[str]) -> None:
    task = write_answering_run(tmp_path / "run", name, *overrides)
    found = edge_glass.merge(tmp_path / "run", rows=8, progress=False)
    assert found.equal == 1.0 and found.rows == 8
    assert AnswerModel(found.folder).model.modalities == task.model.modalities
