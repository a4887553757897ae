"""One place: a pooling, a contrastive loss or an encoder library is one new file."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from edge_glass.alignment import losses
from edge_glass.alignment.model.loss import AlignmentLoss
from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.encoders import poolings, vision
from edge_glass.encoders.pooling import build_pooling
from edge_glass.encoders.vision import VisionEncoder

POOLING = '''
"""The last token."""
from edge_glass.encoders.pooling import Pooling, clean


class LastPooling(Pooling):
    def forward(self, tokens, mask):
        return clean(tokens, mask)[:, -1]


def build(width, options):
    return LastPooling()
'''

LOSS = '''
"""Squared distance of what belongs together."""


def start(temperature):
    return {"logit_scale": 0.0}


def losses(cuts, scale):
    return [(cut.x - cut.y[cut.shares.mine]).square().sum() / len(cut.y) for cut in cuts]
'''

LIBRARY = '''
"""Pictures as they are: a folder with a file `raw.txt`, which says how large."""
from pathlib import Path

from torch import nn

from edge_glass.encoders.image_transform import ImageTransform


class Raw(nn.Module):
    kind = "raw"
    has_cls_token = False

    def __init__(self):
        super().__init__()
        self.model = nn.LayerNorm(1)

    def forward(self, pixels):
        return pixels.flatten(2)

    def describe(self):
        return "raw"

    def save(self, folder):
        return {}


def recognises(source):
    return (Path(source) / "raw.txt").is_file()


def load(source, image_size):
    size = image_size or int((Path(source) / "raw.txt").read_text())
    return Raw(), ImageTransform(size, "squash", size, "bicubic", (0.5,) * 3, (0.5,) * 3)


def rebuild(folder, record, image_size):
    return Raw()
'''


def add(package: ModuleType, name: str, text: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / f"{name}.py").write_text(text)
    patch.setattr(package, "__path__", [*package.__path__, str(folder)])


def test_a_pooling_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="got 'last_token'"):
        build_pooling("last_token", 4)
    add(poolings, "last_token", POOLING, tmp_path, monkeypatch)
    tokens = torch.randn(2, 3, 4)
    pooled = build_pooling("last_token", 4)(tokens, torch.ones(2, 3, dtype=torch.bool))
    assert torch.equal(pooled, tokens[:, -1])


def test_a_loss_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="infonce, siglip; got 'distance'"):
        AlignmentLoss([8, 4], kind="distance")
    add(losses, "distance", LOSS, tmp_path, monkeypatch)
    x = torch.randn(3, 8, requires_grad=True)
    loss, report = AlignmentLoss([8, 4], kind="distance")(x, -x, torch.arange(3), torch.arange(3))
    loss.backward()
    assert report["loss_clip"] == pytest.approx(4.0) and x.grad is not None


def test_an_encoder_library_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, kinds = tmp_path / "encoder", tmp_path / "kinds"
    source.mkdir(), kinds.mkdir()
    (source / "raw.txt").write_text("16")
    with pytest.raises(AssetError, match="timm, transformers"):
        VisionEncoder.load(source)
    add(vision, "raw", LIBRARY, kinds, monkeypatch)
    encoder = VisionEncoder.load(source)
    assert (encoder.num_tokens, encoder.width) == (3, 256)
    encoder.save(tmp_path / "saved")
    assert VisionEncoder.load(tmp_path / "saved").fingerprint == encoder.fingerprint
