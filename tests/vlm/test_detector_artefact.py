"""The folder of a finished detector: whole, and refused when anything in it is not as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_vlms import AGGRESSIVE, FAMILIES, batch, config, moved
from torch import Tensor

from edge_glass.config.schema import ExperimentConfig
from edge_glass.core import canary
from edge_glass.core.canary import FILE as CANARY
from edge_glass.core.canary import Canary
from edge_glass.core.errors import AssetError, CheckpointError, ConfigError
from edge_glass.vlm.folder import (
    DETECTION_FOLDER,
    box_convention,
    load_detection_model,
    require_convention,
    save_detection_model,
)
from edge_glass.vlm.loading import load_vlm
from edge_glass.vlm.model import DetectionModel, build_detection_model

torch.set_num_threads(1)

MODES: dict[str, dict[str, Any]] = {
    "full": {"mode": "full"},
    "part": {"mode": "full", "components": ["projector"], "dtype": "bfloat16"},
    "lora": {"mode": "lora", "lora": AGGRESSIVE},
    "dora": {"mode": "lora", "lora": {"preset": "lightweight", "dora": True}},
    "frozen": {"mode": "frozen"},
}
State = dict[str, Tensor]


def trained(settings: ExperimentConfig) -> tuple[DetectionModel, Canary]:
    """A model after some training, and its canary."""
    model = build_detection_model(settings)
    sample = canary.canary_sample(batch(model, [0]))
    untouched = canary.compute_logits(model, sample)
    moved(model, by=0.1)
    return model, Canary(sample, canary.compute_logits(model, sample), untouched)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Folders of finished models, made when first asked for. Tests may not change them."""
    found: dict[tuple[str, str], Path] = {}

    def make(family: str, mode: str) -> Path:
        if (family, mode) not in found:
            settings = config(family, **MODES[mode])
            model, sung = trained(settings)
            folder = tmp_path_factory.mktemp("runs") / "model"
            found[family, mode] = save_detection_model(model, settings, folder, sung)
        return found[family, mode]

    return make


@pytest.fixture
def copied(finished: Callable[[str, str], Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy that may be changed."""

    def copy(mode: str, family: str = "qwen2_vl") -> Path:
        return shutil.copytree(finished(family, mode), tmp_path / "model")

    return copy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_it_goes_round(finished: Callable[[str, str], Path], family: str, mode: str) -> None:
    folder = finished(family, mode)
    model, settings = load_detection_model(folder)
    assert (model.family.model_type, model.mode) == (family, MODES[mode]["mode"]) and not model.training
    assert settings.vlm == config(family, **MODES[mode]).vlm
    original, _ = trained(settings)
    states = original.trainable_state_dict(), model.trainable_state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert {n: p.dtype for n, p in model.named_parameters()} == {
        n: p.dtype for n, p in original.named_parameters()
    }
    rows = batch(original)
    assert torch.equal(model.logits(rows), original.logits(rows))
    assert (folder / "adapter").exists() == (MODES[mode]["mode"] == "lora")
    assert (folder / "vlm").exists() == (MODES[mode]["mode"] == "full")


def test_what_the_folder_says_of_itself(finished: Callable[[str, str], Path]) -> None:
    record = json.loads((finished("qwen2_5_vl", "lora") / "model.json").read_text())
    assert record["boxes"] == {
        "family": "qwen2_5_vl",
        "format": "json",
        "coordinates": "pixels of the resized picture",
        "corners": "x1, y1, x2, y2",
    }
    assert record["pixel_budget"]["max_pixels"] == 9000 and record["pixel_budget"]["patch_size"] == 14
    assert record["versions"]["transformers"] and set(record["parameters"]) >= {"vision", "projector"}
    assert "model.visual.merger.mlp.0" in record["adapted_layers"]
    assert record["parameters"]["vision"]["trained"] > 0


READ = """
import json, sys
from pathlib import Path
from edge_glass.core.canary import compute_logits, read_canary
from edge_glass.vlm.folder import load_detection_model
found = {}
for folder in map(Path, sys.argv[1:]):
    model, _ = load_detection_model(folder)
    stored = read_canary(folder)
    apart = compute_logits(model, stored.sample) - stored.trained
    found[model.family.model_type] = float(apart.abs().max())
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_fresh_process_finds_the_same_logits(finished: Callable[[str, str], Path], tmp_path: Path) -> None:
    """Elsewhere; the stock trainer would have loaded almost nothing of the first two (FACTS, section 0)."""
    folders = [
        shutil.copytree(finished(family, mode), tmp_path / family)
        for family, mode in zip(FAMILIES, ("full", "lora", "full"), strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, folders)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "EDGE_GLASS_HOME": str(tmp_path / "empty")},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) == set(FAMILIES) and all(apart < 1e-5 for apart in found.values()), found


# What is refused


def zeroed(part: str) -> Callable[[State], State]:
    return lambda state: {n: v * 0 if part in n else v for n, v in state.items()}


def left_out(part: str) -> Callable[[State], State]:
    return lambda state: {n: v for n, v in state.items() if part not in n}


ADAPTER = "adapter/adapter_model.safetensors"
WEIGHTS = "vlm/model.safetensors"
CANARY_SAYS = "gives other answers than the one that was saved"
UNTOUCHED = "They are those of the untouched model"
CHANGES: dict[str, tuple[str, str, Callable[[State], State], str]] = {
    "adapters zeroed": ("lora", ADAPTER, zeroed("lora_B"), UNTOUCHED),
    "vision adapters zeroed": ("lora", ADAPTER, zeroed("visual.blocks"), CANARY_SAYS),
    "adapters left out": ("lora", ADAPTER, left_out("lora_B"), "other tensors than adapter_manifest.json"),
    "one key left out": ("lora", ADAPTER, left_out("merger.mlp.0.lora_A"), "other tensors than"),
    "weights zeroed": ("full", WEIGHTS, zeroed("blocks.1"), CANARY_SAYS),
    "merger left out": ("full", WEIGHTS, left_out("merger"), r"missing \(such as model.visual.merger"),
    "renamed as the stock trainer saves": (
        "full",
        WEIGHTS,
        lambda state: {n.replace("language_model.", "text."): v for n, v in state.items()},
        "left over",
    ),
    "one too many": ("full", WEIGHTS, lambda s: s | {"model.visual.x": torch.ones(1)}, "1 left over"),
    "another shape": ("full", WEIGHTS, lambda s: s | {"lm_head.weight": torch.ones(3, 3)}, "cannot be read"),
    "not a number": (
        "full",
        WEIGHTS,
        lambda s: s | {"lm_head.weight": s["lm_head.weight"] * torch.nan},
        CANARY_SAYS,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_artefact_is_refused(copied: Callable[..., Path], name: str) -> None:
    mode, file, change, message = CHANGES[name]
    path = copied(mode) / file
    state = load_file(path)
    changed = {n: v.contiguous() for n, v in change(state).items()}
    assert changed.keys() != state.keys() or any(not torch.equal(changed[n], state[n]) for n in state)
    save_file(changed, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message) as caught:
        load_detection_model(path.parents[1])
    assert str(path.parents[1]) in str(caught.value)


def change_json(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "processor/processor_config.json",
            lambda r: r["image_processor"]["size"].update(longest_edge=50_000),
            r"another pixel budget than .*: max_pixels: expected 9000, got 50000",
        ),
        (
            "model.json",
            lambda r: r["pixel_budget"].update(min_pixels=784),
            "min_pixels: expected 784, got 3136",
        ),
        (
            "model.json",
            lambda r: r["boxes"].update(coordinates="pixels of the resized picture"),
            "coordinates of its boxes is 'pixels of the resized picture', but",
        ),
        ("model.json", lambda r: r["boxes"].update(format="tokens"), "format of its boxes is 'tokens', but"),
        ("model.json", lambda r: r["boxes"].pop("corners"), "corners of its boxes is None"),
        (
            "model.json",
            lambda r: r["config"]["vlm"].update(family="qwen2_5_vl"),
            "family of its boxes is 'qwen2_vl', but they would be read as 'qwen2_5_vl'",
        ),
        ("model.json", lambda r: r.pop("pixel_budget"), "model.json cannot be read"),
        ("adapter/adapter_manifest.json", lambda r: r["settings"].update(alpha=1.0), "got 1.0"),
        ("model.json", lambda r: r["config"].update(seed=7), "trained on another model of the same shapes"),
    ],
)
def test_other_conventions_are_refused(
    copied: Callable[..., Path], file: str, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    folder = copied("lora")
    change_json(folder / file, change)
    with pytest.raises(CheckpointError, match=message):
        load_detection_model(folder)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_another_family_is_refused(copied: Callable[..., Path], mode: str) -> None:
    """Even when all that names the family was changed with it."""
    folder = copied(mode)

    def change(record: dict[str, Any]) -> None:
        record["config"]["vlm"]["family"] = "qwen3_vl"
        record["boxes"]["family"] = "qwen3_vl"

    change_json(folder / "model.json", change)
    with pytest.raises((CheckpointError, ConfigError, AssetError)) as caught:
        load_detection_model(folder)
    assert "qwen3_vl" in str(caught.value) or "patch_size" in str(caught.value)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_missing_and_torn_parts(copied: Callable[..., Path], mode: str) -> None:
    folder = copied(mode)
    weights = folder / (ADAPTER if mode == "lora" else WEIGHTS)
    for path in (weights, folder / CANARY, folder / "model.json"):
        whole = path.read_bytes()
        path.write_bytes(whole[:-7])
        with pytest.raises(CheckpointError, match=str(folder)):
            load_detection_model(folder)
        path.unlink()
        with pytest.raises(CheckpointError, match=str(folder)):
            load_detection_model(folder)
        path.write_bytes(whole)
    for part in ("processor", weights.parent.name):
        (folder / part).rename(folder / "away")
        with pytest.raises(CheckpointError, match=str(folder)):
            load_detection_model(folder)
        (folder / "away").rename(folder / part)
    load_detection_model(folder)


def test_a_run_with_another_convention_is_refused(finished: Callable[[str, str], Path]) -> None:
    folder = finished("qwen2_5_vl", "lora")
    settings = config("qwen2_5_vl", **MODES["lora"])
    require_convention(settings, folder)
    for change, message in (
        ({"max_pixels": 20_000}, "vlm.max_pixels is 20000, but .* was trained with 9000"),
        ({"family": "qwen2_vl"}, "vlm.family is qwen2_vl, but .* was trained with qwen2_5_vl"),
    ):
        other = settings.model_copy(update={"vlm": settings.vlm.model_copy(update=change)})
        with pytest.raises(ConfigError, match=message):
            require_convention(other, folder)
    tokens = settings.detection.model_copy(update={"box_format": "tokens"})
    with pytest.raises(ConfigError, match=r"detection\.box_format is tokens"):
        require_convention(settings.model_copy(update={"detection": tokens}), folder)
    assert box_convention(settings) == DETECTION_FOLDER.read(folder)[0]["boxes"]


def test_a_full_disk_leaves_what_was_there(
    finished: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(finished("qwen2_vl", "lora"), tmp_path / "model")
    model, settings = load_detection_model(folder)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model.processor, "save_pretrained", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*free some space"):
        save_detection_model(model, settings, folder, canary.read_canary(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load_detection_model(folder)


# Merged


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_transformers_reads_a_merged_model(
    finished: Callable[[str, str], Path], tmp_path: Path, family: str
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = finished(family, "lora")
    model, settings = load_detection_model(folder)
    stored = canary.read_canary(folder)
    rows = batch(model)
    before = model.logits(rows)
    with pytest.raises(CheckpointError, match="merge it first"):
        DETECTION_FOLDER.save_merged(model, settings, tmp_path / "merged", stored, {})
    difference = model.merge(canary.BOUND)
    signed = Canary(stored.sample, canary.compute_logits(model, stored.sample), stored.untouched)
    merged = DETECTION_FOLDER.save_merged(
        model, settings, tmp_path / "merged", signed, {"logits": difference}
    )

    plain = AutoModelForImageTextToText.from_pretrained(merged).eval()
    processor = AutoProcessor.from_pretrained(merged)
    labels = rows.pop("labels")
    with torch.no_grad():
        logits = plain(**rows).logits[:, :-1][labels[:, 1:] != -100]
    assert (logits - before).abs().max() <= canary.BOUND * before.abs().max()
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}]}], add_generation_prompt=True, tokenize=False
    )
    assert "<|image_pad|>" in text and text.endswith("assistant\n")
    assert processor.image_processor.size["longest_edge"] == 9000

    again, plain_settings = load_detection_model(merged)
    assert again.mode == "frozen" and plain_settings.vlm.mode == "frozen" and again.adapter is None
    assert DETECTION_FOLDER.read(merged)[0]["merged"] == {"logits": difference}
    torch.testing.assert_close(again.logits({**rows, "labels": labels}), before, atol=1e-3, rtol=1e-2)


def test_a_named_base_is_not_copied(tmp_path: Path) -> None:
    """Adapters on a folder: it is read again, and another one of the same shapes is refused."""
    base = tmp_path / "base"
    for seed in (1, 2):
        vlm, processor = load_vlm(config("qwen3_vl").model_copy(update={"seed": seed}))
        vlm.save_pretrained(base / str(seed))
        processor.save_pretrained(base / str(seed))
    settings = config("qwen3_vl", source=str(base / "1"), mode="lora", lora=AGGRESSIVE)
    model, sung = trained(settings)
    folder = save_detection_model(model, settings, tmp_path / "model", sung)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert size < (base / "1" / "model.safetensors").stat().st_size
    load_detection_model(folder)
    assert DETECTION_FOLDER.load_unquantized(folder).mode == "lora"
    shutil.rmtree(base / "1")
    (base / "2").rename(base / "1")
    with pytest.raises(CheckpointError, match="trained on another model of the same shapes"):
        load_detection_model(folder)
    shutil.rmtree(base)
    with pytest.raises(AssetError, match="expected a folder, asset:NAME or a hub id"):
        load_detection_model(folder)
