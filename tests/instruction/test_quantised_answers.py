"""A run whose language model is in 4 bits, here on the CPU: from training to a plain folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import edge_glass
from answering_runs import CONFIGS
from edge_glass.config import load_config
from edge_glass.data.generated import COLOURS, SHAPES, draw_shape
from edge_glass.decoders.causal_lm_loading import tiny_causal_lm
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.instruction.use import merge as merging
from edge_glass.instruction.use.answer import AnswerModel

torch.set_num_threads(1)


def write_questions(file: Path, shift: int) -> None:
    rows = [
        {"image_bytes": draw_shape(colour, shape), "question": question, "answer": answer}
        for colour in list(COLOURS)[shift::3]
        for shape in SHAPES
        for question, answer in (("what colour is it?", colour), ("what shape is it?", shape))
    ]
    pq.write_table(pa.Table.from_pylist(rows), file)


def test_a_run_in_4_bits_from_training_to_a_plain_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`easy_vqa_smollm2` as it is, but for toy weights and toy data."""
    from transformers import AutoModelForCausalLM

    lm, tokenizer = tiny_causal_lm(0, width=64)
    lm.save_pretrained(tmp_path / "lm")  # type: ignore[operator]
    tokenizer.save_pretrained(tmp_path / "lm")
    VisionEncoder.tiny().save(tmp_path / "vision")
    splits = ("train", "val", "test")
    for shift, split in enumerate(splits):
        write_questions(tmp_path / f"{split}.parquet", shift)
    config = load_config(
        CONFIGS / "easy_vqa_smollm2.yaml",
        [
            *(f"dataset.{split}_parquet={tmp_path / split}.parquet" for split in splits),
            *("dataset.id_column=null", "dataset.max_question_length=256", "dataset.max_answer_length=64"),
            *(f"vision_encoder.source={tmp_path}/vision", "vision_encoder.feature_layers=[]"),
            *(f"decoder.source={tmp_path}/lm", "decoder.quantization=4bit", "generation.max_new_tokens=4"),
            *("training.max_steps=3", "training.num_threads=1", "training.report_to=[]"),
            *("training.feature_cache=off", "evaluation.test_rows=4", "evaluation.bootstrap_samples=100"),
        ],
    )
    run = tmp_path / "run"
    edge_glass.train(config, output=run, progress=False)
    numbers = json.loads((run / "results.json").read_text())
    assert edge_glass.evaluate(run, progress=False)["metrics"] == numbers["metrics"]
    AnswerModel(run).answer_all([(draw_shape("red", SHAPES[0]), "what colour is it?")])  # checks its canary
    answered, usual = [], merging._answers

    def noticed(answerer: Any, *rest: Any) -> list[str]:
        answered.append({parameter.dtype for parameter in answerer.model.decoder.parameters()})
        return usual(answerer, *rest)

    monkeypatch.setattr(merging, "_answers", noticed)
    merged = edge_glass.merge(run, rows=4, progress=False)
    assert answered == [{torch.float32}, {torch.float32}]
    assert "the run was in 4bit; both were compared as plain weights" in merged.lines()
    assert merged.equal == 1.0
    assert "quantization_config" not in json.loads((merged.folder / "config.json").read_text())
    plain = AutoModelForCausalLM.from_pretrained(merged.folder, dtype="auto")
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.bfloat16}
