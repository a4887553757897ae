"""Loading a vision-language model: families, missing weights, what needs a GPU, what is quantised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_vlms import FAMILIES, batch, config, detector
from torch import nn
from transformers.quantizers.quantizers_utils import should_convert_module

from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.vlm.family import load_family
from edge_glass.vlm.loading import load_model, load_vlm, not_quantised, require_quantised
from edge_glass.vlm.model import build_detection_model

torch.set_num_threads(1)

component_of = load_family("qwen2_vl").component_of  # all of them name their parts alike


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain Hugging Face folder of each family, as the library writes it."""
    found = {}
    for family in FAMILIES:
        found[family] = tmp_path_factory.mktemp(family)
        model, processor = load_vlm(config(family))
        model.save_pretrained(found[family])
        processor.save_pretrained(found[family])
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_is_loaded_with_the_budget_of_the_config(family: str, folders: dict[str, Path]) -> None:
    made = detector(family, mode="frozen")
    source = str(folders[family])
    loaded = detector(family, mode="frozen", source=source, max_pixels=5000, attention="eager")
    assert loaded.vlm.config._attn_implementation == "eager"
    assert loaded.vlm.config.vision_config._attn_implementation == "eager"
    row = batch(made)
    torch.testing.assert_close(loaded.logits(row), made.logits(row), atol=1e-5, rtol=1e-4)
    assert len(batch(loaded)["pixel_values"]) < len(row["pixel_values"])
    assert not loaded.training


def test_another_family_is_refused_before_its_weights_are_read(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"vlm.family is qwen2_5_vl, but '.*' holds a qwen2_vl"):
        load_model(config("qwen2_5_vl", source=str(folders["qwen2_vl"])))


def test_bfloat16_is_of_frozen_weights_only(folders: dict[str, Path]) -> None:
    full = detector(mode="full", components=["projector"], dtype="bfloat16", source=str(folders["qwen2_vl"]))
    kinds = {(component_of(name), p.dtype) for name, p in full.named_parameters()}
    assert kinds == {
        ("projector", torch.float32),
        *((name, torch.bfloat16) for name in ("vision", "llm", "head")),
    }
    loss = full(batch(full)).loss_sum
    loss.backward()
    assert loss.isfinite() and all(
        (p.grad is not None) == (component_of(name) == "projector") for name, p in full.named_parameters()
    )
    lora = detector(mode="lora", dtype="bfloat16")
    assert {p.dtype for p in lora.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in lora.parameters() if not p.requires_grad} == {torch.bfloat16}
    lora(batch(lora)).loss_sum.backward()


@pytest.mark.parametrize("components", [["vision"], ["llm"], ["vision", "projector"], ["projector", "llm"]])
def test_parts_of_different_dtypes_work_together(components: list[str]) -> None:
    for family in FAMILIES:
        model = detector(family, components=components, dtype="bfloat16")
        assert model(batch(model, [0])).loss_sum.isfinite()


@pytest.mark.parametrize("missing", ["visual.merger.mlp.0.weight", "lm_head.weight"])
def test_missing_weights_are_refused(folders: dict[str, Path], tmp_path: Path, missing: str) -> None:
    shutil.copytree(folders["qwen2_vl"], tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    state = load_file(path)
    del state[missing]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(AssetError, match=rf"1 missing \(such as (model\.)?{missing}"):
        load_model(config(source=str(tmp_path / "model")))


def test_a_processor_of_another_model(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["qwen3_vl"], tmp_path / "model")
    path = tmp_path / "model" / "processor_config.json"
    record = json.loads(path.read_text())
    record["image_processor"]["patch_size"] = 14
    path.write_text(json.dumps(record))
    with pytest.raises(AssetError, match="the processor's patch_size is 14; that of the model is 16"):
        load_vlm(config("qwen3_vl", source=str(tmp_path / "model")))
    (tmp_path / "model" / "chat_template.jinja").unlink()
    with pytest.raises(AssetError, match="has no chat template"):
        load_vlm(config("qwen3_vl", source=str(tmp_path / "model")))


def test_sources_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="expected a folder, asset:NAME or a hub id"):
        load_model(config(source=str(tmp_path / "nothing")))
    with pytest.raises(AssetError, match="cannot be loaded"):
        load_model(config(source=str(tmp_path)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the errors are those of machines without a GPU")
def test_what_needs_a_gpu_says_so(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="attention flash needs an NVIDIA GPU"):
        load_model(config(source=str(folders["qwen2_vl"]), attention="flash"))


def test_random_weights_are_not_quantised_and_quantised_ones_not_trained() -> None:
    with pytest.raises(ConfigError, match="nothing to quantise"):
        load_model(config(quantization="4bit"))
    model, processor = load_vlm(config())
    model.is_quantized = True
    from edge_glass.vlm.model import DetectionModel

    with pytest.raises(ConfigError, match="full, but quantised weights cannot be trained"):
        DetectionModel(model, processor, mode="full")


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_language_model_would_be_quantised(family: str) -> None:
    """The rule that transformers applies to our list of layers to be left out."""
    model = load_model(config(family))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert should_convert_module(name, not_quantised(family)) == (component_of(name) == "llm"), name


def test_what_was_quantised_is_looked_up() -> None:
    model = load_model(config("qwen3_vl"))

    def quantise(name: str) -> None:
        layer = model.get_submodule(name)
        layer.weight = nn.Parameter(layer.weight.detach().to(torch.int8), requires_grad=False)

    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and component_of(n) == "llm"]
    for name in layers[:-1]:
        quantise(name)
    with pytest.raises(
        ConfigError, match=rf"1 layers are not as they should be, such as: {layers[-1]} is not"
    ):
        require_quantised(model)
    quantise(layers[-1])
    require_quantised(model)
    quantise("model.visual.deepstack_merger_list.0.linear_fc1")
    with pytest.raises(ConfigError, match=r"deepstack_merger_list\.0\.linear_fc1 is quantised"):
        require_quantised(model)


def test_random_weights_are_a_function_of_the_seed() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    states = []
    for seed in (1, 1, 2):
        one = config(mode="lora").model_copy(update={"seed": seed})
        states.append(build_detection_model(one).state_dict())
    assert torch.equal(torch.rand(1), expected)
    equal = [all(torch.equal(states[0][n], other[n]) for n in other) for other in states]
    assert equal == [True, True, False]
