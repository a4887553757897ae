"""Features from several depths: the right layers, pooled, saved, and safe under threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.depths import matching_modules, pool_places
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

PIXELS = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_patterns_match_part_by_part() -> None:
    names = ["blocks", "blocks.0", "blocks.0.bn1", "blocks.1.bn1", "bn1"]
    assert matching_modules(names, ["blocks.*"]) == ["blocks.0"]
    assert matching_modules(names, ["bn1", "blocks.*.bn1"]) == ["blocks.0.bn1", "blocks.1.bn1", "bn1"]


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(ConfigError, match="'nowhere' matches no layer"):
        VisionEncoder.tiny(layers=["nowhere"])


def test_features_are_the_pooled_outputs_of_the_layers() -> None:
    encoder = VisionEncoder.tiny(layers=["blocks.*", "bn2"])
    model = encoder.backbone.backbone.model  # type: ignore[union-attr]
    seen: dict[str, torch.Tensor] = {}
    names = encoder.backbone.names  # type: ignore[union-attr]
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: seen.__setitem__(name, output)
        )
        for name in names
    ]
    tokens = encoder(PIXELS).tokens
    for hook in hooks:
        hook.remove()
    expected = torch.cat([seen[name].amax((2, 3)) for name in names], dim=1)
    assert len(names) > 2
    assert tokens.shape == (6, 1, encoder.width)
    torch.testing.assert_close(tokens[:, 0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_equals_its_definition(dtype: torch.dtype) -> None:
    maps = torch.randn(2, 5, 7, 6).to(dtype).contiguous(memory_format=torch.channels_last)
    tokens = torch.randn(2, 9, 5).to(dtype)
    assert torch.equal(pool_places(maps, "max"), maps.amax((2, 3)))
    assert torch.equal(pool_places(tokens, "max"), tokens.amax(1))
    torch.testing.assert_close(pool_places(maps, "mean"), maps.mean((2, 3)), rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(pool_places(tokens, "mean"), tokens.mean(1))


def test_transformer_layers_are_pooled_over_their_tokens() -> None:
    encoder = VisionEncoder.tiny(architecture="test_vit", layers=["blocks.*"])
    assert encoder(PIXELS[:, :, : encoder.image_size, : encoder.image_size]).tokens.shape == (
        6,
        1,
        encoder.width,
    )
    assert not encoder.has_cls_token


def test_threads_do_not_mix_their_pictures() -> None:
    encoder = VisionEncoder.tiny(layers=["blocks.*"])
    alone = [encoder(PIXELS[i : i + 1]).tokens for i in range(6)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: encoder(PIXELS[i : i + 1]).tokens, [0, 1, 2, 3, 4, 5] * 8))
    for index, tokens in enumerate(together):
        torch.testing.assert_close(tokens, alone[index % 6], rtol=1e-5, atol=1e-6)


def test_layers_are_saved_and_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    encoder = VisionEncoder.tiny(layers=["blocks.*"])
    encoder.save(tmp_path)
    loaded = VisionEncoder.load(tmp_path)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.fingerprint != VisionEncoder.tiny(layers=["bn2"]).fingerprint
    assert torch.equal(loaded(PIXELS).tokens, encoder(PIXELS).tokens)


def test_text_layers_are_joined_token_by_token(tmp_path: Path) -> None:
    plain, joined = TextEncoder.tiny(), TextEncoder.tiny(layers=[0, 2])
    tokenized = plain.tokenize(["a red circle", "blue"])
    last, both = plain(tokenized), joined(tokenized)
    assert both.tokens.shape == (*last.tokens.shape[:2], 2 * plain.width)
    torch.testing.assert_close(both.tokens[..., plain.width :], last.tokens)
    assert joined.fingerprint != plain.fingerprint
    joined.save(tmp_path)
    assert torch.equal(TextEncoder.load(tmp_path)(tokenized).tokens, both.tokens)


def test_a_text_layer_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match=r"feature_layers: expected 0 \(embeddings\) to 2; got 9"):
        TextEncoder.tiny(layers=[9])
