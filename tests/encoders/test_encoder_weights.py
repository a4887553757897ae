"""The embedded weights: they load, and compute what the libraries compute."""

from __future__ import annotations

import pytest
import torch

from edge_glass.assets import fetch
from edge_glass.encoders.poolings.mean import MeanPooling
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

pytestmark = pytest.mark.weights


def test_minilm_equals_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    folder = fetch("all-minilm-l6-v2")
    encoder = TextEncoder.load("asset:all-minilm-l6-v2")
    texts = ["", "Cat", "a dog runs over a field of snow", "grinning face with big eyes", "word " * 400]
    expected = torch.from_numpy(SentenceTransformer(str(folder), device="cpu").encode(texts))
    features = encoder.frozen_forward(texts)
    assert (encoder.width, encoder.max_length) == (384, 256)
    pooled = torch.nn.functional.normalize(MeanPooling()(*features))  # the folder ends in a Normalize module
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)


def test_efficientnet_lite0_equals_timm() -> None:
    import timm

    encoder = VisionEncoder.load("asset:efficientnet-lite0")
    assert (encoder.width, encoder.num_tokens, encoder.image_size) == (1280, 49, 224)
    assert encoder.transform.mean == encoder.transform.std == (0.5, 0.5, 0.5)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    path = next(fetch("efficientnet-lite0").glob("*.pth"))
    foreign = torch.load(path, weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), foreign, strict=True)))
    pixels = torch.rand(2, 3, 224, 224) * 2 - 1
    with torch.inference_mode():
        expected = model.forward_features(pixels).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder(pixels).tokens, expected, rtol=1e-3, atol=1e-4)
