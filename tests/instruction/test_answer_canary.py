"""A model that answers otherwise than the one that was saved is refused, whatever became of its weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from answer_tasks import LORA, PERCEIVER, Tables, generated, tiny_config
from safetensors.torch import load_file, save_file
from torch import Tensor

import edge_glass
import edge_glass.experiment.run as run_module
from edge_glass.core.canary import FILE as CANARY
from edge_glass.core.canary import Canary, compute_logits
from edge_glass.core.errors import AssetError, CheckpointError
from edge_glass.instruction.model.folder import load_answering_model
from edge_glass.instruction.task import InstructionTask
from edge_glass.training.checkpoint import list_checkpoints, read_checkpoint, write_checkpoint

torch.set_num_threads(1)

SOUNDS: dict[str, Any] = {
    "audio_encoder": {"pooling_type": "none"},
    "prefix": {"perceiver": PERCEIVER},
    "fusion": {"kind": "gated"},
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {"trm": (None, {}), "lora": (LORA, SOUNDS)}

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def runs(session_home: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Finished runs. Tests may not change them."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_GLASS_HOME", session_home)
        patch.setattr(run_module, "write_report", lambda folder: folder)
        for name, (decoder, sections) in KINDS.items():
            config = tiny_config(decoder, **sections, optimization={"lr": 0.02})
            edge_glass.train(config, output=folder / name, progress=False)
    yield {name: folder / name for name in KINDS}


def zeroed(part: str) -> Callable[[State], State]:
    return lambda state: {n: v * 0 if part in n else v for n, v in state.items()}


def left_out(part: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if part not in name}


def swapped(one: str, other: str) -> Callable[[State], State]:
    def change(state: State) -> State:
        assert state[one].shape == state[other].shape
        return state | {one: state[other], other: state[one]}

    return change


def reshaped(name: str) -> Callable[[State], State]:
    return lambda state: state | {name: torch.cat([state[name], state[name]])}


A = "decoder.lm.model.layers.{}.self_attn.{}.lora_A.default.weight"
PROJECTOR = "vision_tower.projector.project.0.weight"
CANARY_SAYS = "gives other answers than the one that was saved"

CHANGES: dict[str, tuple[str, Callable[[State], State], str]] = {
    "adapters zeroed": ("lora", zeroed("lora_B"), CANARY_SAYS),
    "adapters swapped": ("lora", swapped(A.format(0, "q_proj"), A.format(1, "q_proj")), CANARY_SAYS),
    "adapters left out": ("lora", left_out("lora_"), "missing (such as 'decoder."),
    "one adapter left out": ("lora", left_out(A.format(0, "q_proj")), f"1 missing (such as '{A[:20]}"),
    "picture projector zeroed": ("lora", zeroed("vision_tower.projector.project"), CANARY_SAYS),
    "sound projector zeroed": ("lora", zeroed("audio_tower.projector.project"), CANARY_SAYS),
    "perceiver zeroed": ("lora", zeroed("audio_tower.projector.perceiver"), CANARY_SAYS),
    "fusion left out": ("lora", left_out("fusion."), "missing (such as 'fusion."),
    "projector of trm zeroed": ("trm", zeroed("projector.project"), CANARY_SAYS),
    "projector of trm left out": ("trm", left_out(PROJECTOR), f"1 missing (such as '{PROJECTOR}')"),
    "layers of trm swapped": (
        "trm",
        lambda state: {
            n.replace("layers.0", "@").replace("layers.1", "layers.0").replace("@", "layers.1"): v
            for n, v in state.items()
        },
        CANARY_SAYS,
    ),
    "start of y left out": ("trm", left_out("y_start"), "1 missing (such as 'decoder.y_start')"),
    "another shape": ("trm", reshaped(PROJECTOR), f"'{PROJECTOR}' with the shape"),
    "one too many": (
        "trm",
        lambda state: state | {"fusion.x": torch.ones(1)},
        "1 unknown (such as 'fusion.x')",
    ),
    "not a number": ("trm", lambda state: state | {PROJECTOR: state[PROJECTOR] * torch.nan}, CANARY_SAYS),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_artefact_is_refused(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    kind, change, message = CHANGES[name]
    folder = tmp_path / "model"
    shutil.copytree(runs[kind] / "model", folder)
    state = load_file(folder / "trained.safetensors")
    changed = {name: value.contiguous() for name, value in change(state).items()}
    assert changed.keys() != state.keys() or any(not torch.equal(changed[n], state[n]) for n in state), (
        "nothing was changed"
    )
    save_file(changed, folder / "trained.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_answering_model(folder)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_the_untouched_model_are_called_so(
    runs: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    decoder, sections = KINDS[kind]
    fresh = InstructionTask(tiny_config(decoder, **sections), progress=False).model
    shutil.copytree(runs[kind] / "model", tmp_path / "model")
    state = {name: value.contiguous() for name, value in fresh.trainable_state_dict().items()}
    save_file(state, tmp_path / "model" / "trained.safetensors")
    with pytest.raises(CheckpointError, match="They are those of the untouched model"):
        load_answering_model(tmp_path / "model")


@pytest.mark.parametrize("missing", ["trained.safetensors", CANARY, "model.json", "vision_encoder"])
def test_a_part_is_missing(runs: dict[str, Path], tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(runs["trm"] / "model", folder)
    one = folder / missing
    shutil.rmtree(one) if one.is_dir() else one.unlink()
    with pytest.raises((CheckpointError, AssetError)) as caught:
        load_answering_model(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("part", ["trained.safetensors", CANARY, "model.json"])
def test_a_torn_file(runs: dict[str, Path], tmp_path: Path, part: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(runs["trm"] / "model", folder)
    (folder / part).write_bytes((folder / part).read_bytes()[:-7])
    with pytest.raises(CheckpointError) as caught:
        load_answering_model(folder)
    assert str(folder) in str(caught.value)


READ = """
import json, sys
from pathlib import Path
from safetensors.torch import load_file
from edge_glass.core.canary import FILE as CANARY
from edge_glass.core.canary import Canary
from edge_glass.instruction.model.folder import load_answering_model
from edge_glass.core.canary import compute_logits
found = {}
for folder in map(Path, sys.argv[1:]):
    model, config = load_answering_model(folder)
    stored = Canary.of(load_file(folder / CANARY))
    sung = compute_logits(model, stored.sample)
    found[folder.parent.name] = [float((sung - stored.trained).abs().max()), config.decoder.kind]
print(json.dumps(found))
"""


def test_a_fresh_process_finds_the_same_logits(runs: dict[str, Path], tmp_path: Path) -> None:
    """Elsewhere, without a cache."""
    folders = [shutil.copytree(run / "model", tmp_path / name / "model") for name, run in runs.items()]
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
    assert {name: kind for name, (_, kind) in found.items()} == {"trm": "trm", "lora": "causal_lm"}
    assert all(apart < 1e-5 for apart, _ in found.values()), found
    assert not (tmp_path / "empty").exists()


def test_a_language_model_that_learned_with_the_picture_in_front(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    for name, folder in runs.items():
        shutil.copytree(folder / "model", tmp_path / name)
        stored = load_file(tmp_path / name / CANARY)
        del stored["sample.opening"]
        save_file(stored, tmp_path / name / CANARY)
    with pytest.raises(CheckpointError, match="saved when pictures still stood before all words"):
        load_answering_model(tmp_path / "lora")
    load_answering_model(tmp_path / "trm")


def test_training_changed_what_the_canary_sings(runs: dict[str, Path]) -> None:
    for name, run in runs.items():
        stored = Canary.of(load_file(run / "model" / CANARY))
        assert stored.trained.shape == stored.untouched.shape and stored.trained.shape[0] >= 3
        assert float((stored.trained - stored.untouched).abs().max()) > 0.05
        model, _ = load_answering_model(run / "model")
        assert torch.equal(compute_logits(model, stored.sample), stored.trained), name


# Checkpoints


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_hold_exactly_what_is_trained(runs: dict[str, Path], kind: str) -> None:
    decoder, sections = KINDS[kind]
    fresh = InstructionTask(tiny_config(decoder, **sections), progress=False).model
    tensors, _ = read_checkpoint(list_checkpoints(runs[kind] / "checkpoints")[0])
    trained = {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
    further = {name for name in tensors["model.safetensors"] if name not in trained}
    assert trained <= set(tensors["model.safetensors"]) and "canary.safetensors" in tensors
    fixed = ("projector.scale", "standardizer.", "y_start", "z_start", "inv_freq", "positions", "rotary")
    assert all(any(part in name for part in fixed) for name in further), further
    assert not any("encoder." in name or "base_layer" in name for name in tensors["model.safetensors"])


@pytest.mark.parametrize(
    ("kind", "change"), [("trm", zeroed("projector.project")), ("lora", zeroed("lora_B"))]
)
def test_a_changed_checkpoint_is_not_resumed(
    runs: dict[str, Path],
    tmp_path: Path,
    kind: str,
    change: Callable[[State], State],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole, with hashes that match, and yet with other weights than those that sang."""
    monkeypatch.setattr(run_module, "write_report", lambda folder: folder)
    newest = list_checkpoints(runs[kind] / "checkpoints")[0]
    tensors, documents = read_checkpoint(newest)
    tensors["model.safetensors"] = change(tensors["model.safetensors"])
    step = int(newest.name.removeprefix("step-"))
    changed = write_checkpoint(tmp_path / "checkpoints", step, tensors, documents)
    decoder, sections = KINDS[kind]
    config = tiny_config(decoder, **sections, optimization={"lr": 0.02})
    with pytest.raises(CheckpointError) as caught:
        edge_glass.train(config, output=tmp_path, resume="latest", progress=False)
    assert str(changed) in str(caught.value) and CANARY_SAYS in str(caught.value)


def test_the_canary_sees_and_hears_although_the_first_row_does_not() -> None:
    def first_is_blank(tables: Tables) -> Tables:
        table = tables["test"]
        pictures = [None, *table.picture_hashes[1:]]
        return tables | {"test": replace(table, picture_hashes=pictures)}

    with generated(first_is_blank):
        task = InstructionTask(tiny_config(LORA, **SOUNDS), progress=False)
    sample = task.canary(task.model).sample
    assert {"place.vision", "place.audio"} <= set(sample)
    assert int(sample["place.vision"]) == int(sample["place.audio"]) == 0
