"""Which layers belong to vision, projector, llm and head, and which of them adapters are put on."""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import pytest
import torch
from tiny_vlms import AGGRESSIVE, FAMILIES, config, detector

from edge_glass.config.sections.detection import VlmLoraConfig
from edge_glass.core.errors import ConfigError
from edge_glass.vlm.components import (
    components,
    count_components,
    lora_settings,
    resolve_component_targets,
)
from edge_glass.vlm.family import load_family
from edge_glass.vlm.loading import load_model

torch.set_num_threads(1)

LLM = [
    *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
]
# The golden lists: what stands in a block of the vision tower, and the linear layers of the projector.
BLOCK = {
    "qwen2_vl": ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"],
    "qwen2_5_vl": ["attn.qkv", "attn.proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    "qwen3_vl": ["attn.qkv", "attn.proj", "mlp.linear_fc1", "mlp.linear_fc2"],
}
PROJECTOR = {
    "qwen2_vl": ["merger.mlp.0", "merger.mlp.2"],
    "qwen2_5_vl": ["merger.mlp.0", "merger.mlp.2"],
    "qwen3_vl": [
        "merger.linear_fc1",
        "merger.linear_fc2",
        "deepstack_merger_list.0.linear_fc1",
        "deepstack_merger_list.0.linear_fc2",
    ],
}
MODULES = {
    "qwen2_vl": ["patch_embed", "rotary_pos_emb", "blocks"],
    "qwen2_5_vl": ["patch_embed", "rotary_pos_emb", "blocks"],
    "qwen3_vl": ["patch_embed", "pos_embed", "rotary_pos_emb", "blocks"],
}
MERGERS = {
    "qwen2_vl": ["merger"],
    "qwen2_5_vl": ["merger"],
    "qwen3_vl": ["merger", "deepstack_merger_list"],
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def vlm(family: str) -> Any:
    return load_model(config(family))


def golden(family: str) -> dict[str, list[str]]:
    """Component → full names of all its linear layers."""
    return {
        "vision": [f"model.visual.blocks.{i}.{name}" for i in range(3) for name in BLOCK[family]],
        "projector": [f"model.visual.{name}" for name in PROJECTOR[family]],
        "llm": [f"model.language_model.layers.{i}.{name}" for i in range(2) for name in LLM],
    }


def test_components(vlm: Any, family: str) -> None:
    assert components(vlm, family) == {
        "vision": [f"model.visual.{name}" for name in MODULES[family]],
        "projector": [f"model.visual.{name}" for name in MERGERS[family]],
        "llm": ["model.language_model"],
        "head": ["lm_head"],
    }
    with pytest.raises(ConfigError, match=f"vlm.family is .*but the model is a {family}"):
        components(vlm, next(other for other in FAMILIES if other != family))
    with pytest.raises(ConfigError, match="qwen2_5_vl, qwen2_vl, qwen3_vl; got 'llava'"):
        components(vlm, "llava")


def test_every_parameter_belongs_somewhere(vlm: Any, family: str) -> None:
    component_of = load_family(family).component_of
    counts = Counter(component_of(name) for name, _ in vlm.named_parameters())
    assert set(counts) == {"vision", "projector", "llm", "head"}
    assert component_of("module.vlm.model.visual.merger.mlp.0.lora_A.default.weight") == "projector"
    assert component_of("vlm.model.visual.blocks.1.attn.qkv.base_layer.weight") == "vision"
    with pytest.raises(ConfigError, match=r"model\.audio_tower\.x belongs to no component"):
        component_of("model.audio_tower.x")


def test_the_golden_targets(vlm: Any, family: str) -> None:
    expected = golden(family)
    for component, names in expected.items():
        assert sorted(resolve_component_targets(vlm, family, {component: ["all-linear"]})) == sorted(names)
    attention = [name for name in expected["vision"] if ".attn." in name]
    assert resolve_component_targets(vlm, family, {"vision": ["attention"]}) == attention
    both = {"vision": ["attention", "mlp"], "llm": ["attention", "mlp"]}
    assert resolve_component_targets(vlm, family, both) == expected["vision"] + expected["llm"]


def test_the_presets(vlm: Any, family: str) -> None:
    expected = golden(family)
    light = lora_settings(VlmLoraConfig(preset="lightweight"), vlm, family)
    assert light.targets == [n for n in expected["llm"] if n.endswith(("q_proj", "v_proj"))]
    assert (light.rank, light.alpha) == (8, 16.0)
    heavy = lora_settings(VlmLoraConfig(preset="aggressive"), vlm, family)
    assert sorted(heavy.targets) == sorted(chain(*expected.values()))
    assert heavy.rank == 64


@pytest.mark.parametrize("family", ["qwen3_vl"], scope="module")
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            {"vision": ["q_proj"]},
            "vlm.lora.vision: 'q_proj' matches no linear layer of it; expected one of attention",
        ),
        ({"llm": ["qkv"]}, "vlm.lora.llm: 'qkv' matches no .*q_proj"),
        ({"llm": ["mlp"], "projector": ["mlp"]}, "vlm.lora.projector: 'mlp' .*all-linear, linear_fc1"),
        ({"vision": ["merger.linear_fc1"]}, "vision: 'merger.linear_fc1' matches no linear layer"),
        ({"llm": ["lm_head"]}, "'lm_head' matches no linear layer"),
        ({"llm": [], "vision": []}, "nothing would be trained"),
    ],
)
def test_targets_that_match_nothing(
    vlm: Any, family: str, wanted: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_component_targets(vlm, family, wanted)


def test_the_adapters_stand_exactly_there(family: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        model = detector(family, mode="lora", lora=AGGRESSIVE)
    names = {
        name.removeprefix("vlm.").partition(".lora_")[0]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert names == set(chain(*golden(family).values()))
    assert f"{len(golden(family)['vision'])} of vision" in caplog.text
    assert "model.visual.blocks.[0-2].attn.qkv" in caplog.text
    assert "model.language_model.layers.[0-1].self_attn.q_proj" in caplog.text


def test_parameters_are_counted_by_component(vlm: Any, family: str) -> None:
    rows = {row.component: row for row in count_components(vlm)}
    assert sum(row.total for row in rows.values()) == sum(p.numel() for p in vlm.parameters())
    assert rows["head"].total == vlm.lm_head.weight.numel() and rows["head"].dtype == "float32"
    table = detector(family, components=["projector"]).print_parameter_counts()
    trained = {
        row.component: row.trained for row in detector(family, components=["projector"]).parameter_counts()
    }
    assert trained == {"vision": 0, "projector": rows["projector"].total, "llm": 0, "head": 0}
    assert f"{rows['projector'].total:,}" in table
