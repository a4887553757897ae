"""Vision-language models in 8 and 4 bits, here on the CPU: trained, saved, loaded and merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_vlms import FAMILIES, SIZE, batch, config, detector
from torch import nn

import edge_glass
from detection_runs import CONFIGS
from edge_glass.config import load_config
from edge_glass.decoders.pretrained import QUANTIZATIONS
from edge_glass.detection.data.generated import generated_scenes
from edge_glass.detection.use.detect import DetectModel
from edge_glass.vlm.family import load_family
from edge_glass.vlm.loading import load_vlm
from scene_rows import shape_rows, write_rows

torch.set_num_threads(1)

component_of = load_family("qwen2_vl").component_of  # all of them name their parts alike

WIDE = {**SIZE, "width": 64}
"""On a CPU bitsandbytes (0.50) rounds rows shorter than one block of 64 wrongly."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain Hugging Face folder of each family."""
    found = {}
    for family in FAMILIES:
        found[family] = tmp_path_factory.mktemp(family)
        model, processor = load_vlm(config(family, size=WIDE))
        model.save_pretrained(found[family])
        processor.save_pretrained(found[family])
    return found


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_language_model_is_quantised_and_its_adapters_learn(
    family: str, quantization: str, folders: dict[str, Path]
) -> None:
    model = detector(family, source=str(folders[family]), quantization=quantization, mode="lora")
    for name, module in model.vlm.named_modules():
        if isinstance(module, nn.Linear) and "lora_" not in name:
            plain = name.replace("base_model.model.", "").replace(".base_layer", "")
            assert module.weight.is_floating_point() == (component_of(plain) != "llm"), name
    rows = batch(model)
    plain_logits = detector(family, source=str(folders[family]), mode="frozen").logits(rows).float()
    with torch.no_grad():
        logits = model.eval().logits(rows).float()  # answering first must not cut gradients off
    alike = torch.cosine_similarity(logits.flatten(), plain_logits.flatten(), dim=0)
    assert (0.99 if quantization == "8bit" else 0.9) < alike < 1.0
    model.train()
    output = model(rows)
    output.loss_sum.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert gradients and all(g is not None and g.isfinite().all() for g in gradients.values())
    assert any(g.abs().max() > 0 for g in gradients.values() if g is not None)


def test_a_run_in_4_bits_from_training_to_a_plain_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    """`detection_assistant_only` as it is, but for a toy model, toy data and their sizes."""
    for first, split in enumerate(("train", "val", "test")):
        write_rows(tmp_path / f"{split}.parquet", shape_rows(24, first=100 * first))
    chosen = load_config(
        CONFIGS / "detection_assistant_only.yaml",
        [
            *(f"dataset.{split}={tmp_path / split}.parquet" for split in ("train", "val", "test")),
            f"vlm.source={folders['qwen2_vl']}",
            *(
                "vlm.min_pixels=12544",
                "vlm.max_pixels=12544",
                "training.max_steps=3",
                "training.gradient_accumulation_steps=2",
            ),
            *("training.report_to=[]", "training.num_threads=1", "generation.max_new_tokens=4"),
            *("evaluation.validation_rows=2", "evaluation.test_rows=4", "evaluation.bootstrap_samples=100"),
        ],
    )
    assert chosen.vlm.quantization == "4bit" and chosen.vlm.mode == "lora"
    run = tmp_path / "run"
    edge_glass.train(chosen, output=run, progress=False)
    numbers = json.loads((run / "results.json").read_text())
    assert edge_glass.evaluate(run, progress=False)["metrics"] == numbers["metrics"]
    picture = generated_scenes()["test"].rgb(0)
    DetectModel(run).detect_all([picture])  # loads it anew, so that its canary is checked
    merged = edge_glass.merge(run, rows=2, progress=False)
    record = json.loads((merged.folder / "config.json").read_text())
    assert "quantization_config" not in record
    DetectModel(merged.folder).detect_all([picture])
