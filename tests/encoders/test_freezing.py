"""A frozen encoder is the same in training as in use."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from edge_glass.core.parameters import count_parameters, format_parameter_table
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder
from edge_glass.encoders.vision.timm import TimmBackbone, timm_transform


def dropping_encoder(frozen: bool) -> VisionEncoder:
    """A toy with batch norm, dropout and drop-path, whose batch norm has seen nothing yet."""
    torch.manual_seed(0)
    options = {"drop_rate": 0.5, "drop_path_rate": 0.5}
    model = timm.create_model("test_efficientnet", **options)
    encoder = VisionEncoder(
        TimmBackbone(model, "test_efficientnet", options), timm_transform(model, 64), frozen
    )
    kinds = {type(module).__name__ for module in encoder.modules()}
    assert "DropPath" in kinds
    assert any("BatchNorm" in kind for kind in kinds)
    return encoder


def test_frozen_inside_a_model_in_training() -> None:
    encoder = dropping_encoder(frozen=True)
    pixels = torch.randn(4, 3, 64, 64)
    expected = encoder.frozen_forward(pixels).tokens
    before = copy.deepcopy(encoder.state_dict())
    model = nn.Sequential(encoder).train()
    assert torch.equal(model[0](pixels).tokens, expected)
    assert torch.equal(model[0](pixels).tokens, expected)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not any(module.training for module in encoder.modules())
    assert not encoder(pixels).tokens.requires_grad


def test_the_test_can_fail() -> None:
    encoder = dropping_encoder(frozen=False)
    pixels = torch.randn(4, 3, 64, 64)
    expected = encoder.frozen_forward(pixels).tokens
    before = copy.deepcopy(encoder.state_dict())
    encoder.train()
    assert not torch.equal(encoder(pixels).tokens, expected)
    assert any(not torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder(pixels).tokens.requires_grad


def test_frozen_text_has_no_dropout() -> None:
    encoder = TextEncoder.tiny()
    assert encoder.model.config.hidden_dropout_prob > 0
    tokenized = encoder.tokenize(["a cat", "dogs"])
    expected = encoder.eval()(tokenized).tokens
    assert torch.equal(nn.Sequential(encoder).train()[0](tokenized).tokens, expected)


@pytest.mark.parametrize("mode", [True, False])
def test_train_returns_the_module(mode: bool) -> None:
    encoder = TextEncoder.tiny()
    assert encoder.train(mode) is encoder


def test_parameter_table() -> None:
    trained, frozen = nn.Linear(3, 4), nn.Linear(2, 2).requires_grad_(False).bfloat16()
    rows = [count_parameters("head", trained), count_parameters("encoder", frozen)]
    assert (rows[0].total, rows[0].trained, rows[0].frozen, rows[0].dtype) == (16, 16, 0, "float32")
    assert (rows[1].total, rows[1].trained, rows[1].frozen, rows[1].dtype) == (6, 0, 6, "bfloat16")
    table = format_parameter_table([*rows, count_parameters("pooling", nn.Identity())]).splitlines()
    assert table[-1].split() == ["all", "22", "16", "6"]
    assert table[3].split() == ["pooling", "0", "0", "0", "-"]
