"""`VisionEncoder` over toy models of the real classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from edge_glass.core.errors import AssetError
from edge_glass.encoders.vision import VisionEncoder

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
TOYS = [("test_efficientnet", 64), ("test_vit", 32), ("test_convnext", 64)]


def noise(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def pixels_for(encoder: VisionEncoder, count: int = 3) -> torch.Tensor:
    return torch.stack([encoder.preprocess(noise(seed)) for seed in range(count)])


def saved_tower(kind: str, folder: Path) -> nn.Module:
    """Save a random tower in Hugging Face layout with its image processor; return what it should compute."""
    torch.manual_seed(0)
    size = {"height": 32, "width": 32}
    if kind == "clip":  # the whole model, as on the hub: the text half has to be left out
        text = CLIPTextConfig(
            vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
        )
        vision = CLIPVisionConfig(**SMALL)
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict()))
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
        tower = model.vision_model
    elif kind == "siglip":
        tower = model = SiglipVisionModel(SiglipVisionConfig(**SMALL))
        SiglipImageProcessorPil(size=size).save_pretrained(folder)
    elif kind == "dinov2":
        tower = model = Dinov2Model(Dinov2Config(**{**SMALL, "image_size": 48}))
        BitImageProcessorPil(size={"shortest_edge": 36}, crop_size=size).save_pretrained(folder)
    elif kind == "registers":
        tower = model = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SMALL, num_register_tokens=4))
        BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    else:
        tower = model = ViTModel(ViTConfig(**SMALL), add_pooling_layer=False)
    model.save_pretrained(folder)
    return tower.eval()


@pytest.mark.parametrize(("architecture", "size"), TOYS)
def test_tokens_are_the_library_s_features(architecture: str, size: int) -> None:
    encoder = VisionEncoder.tiny(architecture=architecture, image_size=size)
    pixels = pixels_for(encoder)
    features = encoder(pixels)
    with torch.inference_mode():
        expected = encoder.backbone.model.forward_features(pixels)
    if expected.ndim == 4:
        expected = expected.permute(0, 2, 3, 1).reshape(3, -1, encoder.width)
    torch.testing.assert_close(features.tokens, expected, rtol=1e-4, atol=1e-5)
    assert features.tokens.shape == (3, encoder.num_tokens, encoder.width)
    assert features.mask.all()
    assert encoder.has_cls_token == (architecture == "test_vit")


def test_channels_last_features_and_registers() -> None:
    from edge_glass.encoders.vision.timm import TimmBackbone

    pixels = torch.randn(2, 3, 64, 64)
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, embed_dim=8, depths=(1, 1), num_heads=(1, 1)
    )
    backbone = TimmBackbone(swin, "swin", {}).eval()
    expected = backbone.model.forward_features(pixels)  # [B, H, W, C]
    assert torch.equal(backbone(pixels), expected.reshape(2, -1, expected.shape[-1]))

    registered = timm.create_model("test_vit3", img_size=64, reg_tokens=4)
    backbone = TimmBackbone(registered, "test_vit3", {}).eval()
    assert backbone.prefix_tokens == 4 + backbone.has_cls_token
    patches = registered.forward_features(pixels)[:, backbone.prefix_tokens :]
    assert torch.equal(backbone(pixels)[:, int(backbone.has_cls_token) :], patches)


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "registers", "vit"])
def test_transformers_towers(kind: str, tmp_path: Path) -> None:
    tower = saved_tower(kind, tmp_path)
    encoder = VisionEncoder.load(tmp_path)
    pixels = pixels_for(encoder)
    with torch.inference_mode():
        expected = tower(pixel_values=pixels).last_hidden_state
    if kind == "registers":
        expected = torch.cat([expected[:, :1], expected[:, 5:]], dim=1)
    torch.testing.assert_close(encoder(pixels).tokens, expected, rtol=1e-4, atol=1e-5)
    assert encoder.has_cls_token == (kind != "siglip")
    assert (encoder.num_tokens, encoder.width, encoder.image_size) == (16 + encoder.has_cls_token, 32, 32)


@pytest.mark.parametrize(
    ("kind", "processor"),
    [("clip", CLIPImageProcessorPil), ("siglip", SiglipImageProcessorPil), ("dinov2", BitImageProcessorPil)],
)
def test_preprocessing_equals_the_library_s(kind: str, processor: Any, tmp_path: Path) -> None:
    saved_tower(kind, tmp_path)
    encoder = VisionEncoder.load(tmp_path)
    reference = processor.from_pretrained(tmp_path)
    for size in [(40, 30), (32, 32), (31, 90)]:
        picture = noise(size=size)
        expected = torch.as_tensor(np.array(reference(picture, return_tensors="np")["pixel_values"][0]))
        torch.testing.assert_close(encoder.preprocess(picture), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "vit"])
def test_another_image_size(kind: str, tmp_path: Path) -> None:
    saved_tower(kind, tmp_path)
    encoder = VisionEncoder.load(tmp_path, image_size=48)
    assert encoder.num_tokens == 36 + encoder.has_cls_token
    if kind == "dinov2":
        assert (encoder.transform.image_size, encoder.transform.resize_to) == (48, 54)
    assert encoder.transform_id != VisionEncoder.load(tmp_path).transform_id


@pytest.mark.parametrize("kind", ["test_efficientnet", "test_vit", "clip", "siglip", "dinov2"])
def test_save_and_load(kind: str, tmp_path: Path) -> None:
    if kind.startswith("test_"):
        encoder = VisionEncoder.tiny(seed=3, architecture=kind, image_size=64)
    else:
        saved_tower(kind, tmp_path / "library")
        encoder = VisionEncoder.load(tmp_path / "library", image_size=48)
    encoder.save(tmp_path / "saved")
    loaded = VisionEncoder.load(tmp_path / "saved")
    pixels = pixels_for(encoder)
    assert torch.equal(loaded(pixels).tokens, encoder(pixels).tokens)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.transform == encoder.transform
    assert loaded.frozen
    with pytest.raises(AssetError, match="was saved for"):
        VisionEncoder.load(tmp_path / "saved", image_size=96)


def test_loads_what_timm_saved(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=7).eval()
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    encoder = VisionEncoder.load(tmp_path)
    pixels = pixels_for(encoder, 2)
    with torch.inference_mode():
        expected = model.forward_features(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder(pixels).tokens, expected, rtol=1e-4, atol=1e-5)
    assert encoder.image_size == 160


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_frozen_forward(dtype: torch.dtype) -> None:
    encoder = VisionEncoder.tiny()
    pixels = pixels_for(encoder, 5)
    together = encoder.frozen_forward(pixels, micro_batch=5, dtype=dtype)
    apart = encoder.frozen_forward(pixels, micro_batch=2, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(together.tokens, apart.tokens, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(together.tokens, encoder(pixels).tokens, rtol=tolerance, atol=tolerance)
    assert together.tokens.dtype == torch.float32
    assert encoder.frozen_forward(pixels[:0]).tokens.shape == (0, encoder.num_tokens, encoder.width)


def test_frozen_features_can_meet_a_loss() -> None:
    encoder = VisionEncoder.tiny()
    head = nn.Linear(encoder.width, 2)
    head(encoder.frozen_forward(pixels_for(encoder)).tokens).sum().backward()
    assert head.weight.grad is not None


def test_frozen_forward_of_a_trained_encoder_restores_its_mode() -> None:
    encoder = VisionEncoder.tiny()
    trained = VisionEncoder(encoder.backbone, encoder.transform, frozen=False).train()
    trained.requires_grad_(True)
    trained.frozen_forward(pixels_for(trained))
    assert trained.training
    assert trained.backbone.training


def test_tiny_is_a_function_of_the_seed() -> None:
    state = torch.get_rng_state()
    first, second, other = (VisionEncoder.tiny(seed).fingerprint for seed in (1, 1, 2))
    assert first == second != other
    assert torch.equal(torch.get_rng_state(), state)


def test_says_plainly_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"timm, transformers reads .*got no config.json"):
        VisionEncoder.load(tmp_path)
    with pytest.raises(AssetError, match="no model 'resnet9000'"):
        VisionEncoder.load("timm/resnet9000")
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(AssetError, match="holds 1 tensors; tf_efficientnet_lite0 has 296"):
        VisionEncoder.load(tmp_path)


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for source in ("nobody/no-such-tower", "hf-hub:nobody/no-such-tower", "timm/tf_efficientnet_lite0"):
        with pytest.raises(AssetError, match="local folder, or a hub id that this machine can reach"):
            VisionEncoder.load(source)


def test_unreachable_hub_and_missing_folder_fail_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*arguments: Any) -> None:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(AssetError, match="cannot be reached from this machine"):
        VisionEncoder.load("nobody/no-such-tower")
    with pytest.raises(AssetError, match=r"got './nowhere', which is no folder"):
        VisionEncoder.load("./nowhere")


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved_tower("siglip", tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    dropped = next(name for name in tensors if name.endswith("layers.1.mlp.fc1.weight"))
    del tensors[dropped]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AssetError, match="lacks weights of SiglipVisionModel: 1 missing"):
        VisionEncoder.load(tmp_path)


def test_a_text_model_is_no_vision_encoder(tmp_path: Path) -> None:
    from edge_glass.encoders.text import TextEncoder

    text = TextEncoder.tiny()
    text.model.save_pretrained(tmp_path / "bert")
    with pytest.raises(AssetError, match="expected a tower of pictures; got a 'bert' model"):
        VisionEncoder.load(tmp_path / "bert")
    text.save(tmp_path / "saved")
    with pytest.raises(AssetError, match="modality 'vision'"):
        VisionEncoder.load(tmp_path / "saved")
