"""Fingerprints change with everything that changes features, and with nothing else."""

from __future__ import annotations

import torch
from torch import nn

from edge_glass.encoders.freezing import FingerprintCache, fingerprint
from edge_glass.encoders.vision import VisionEncoder


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_same_values_same_fingerprint() -> None:
    first, second = convolution(), convolution().to(memory_format=torch.channels_last)
    assert fingerprint("a", first) == fingerprint("a", second)


def test_everything_counts() -> None:
    texts = {fingerprint("a", convolution()), fingerprint("b", convolution())}
    for change in (
        lambda module: module[0].weight.data[0, 0, 0, 0].add_(1e-6),
        lambda module: module[1].running_mean.add_(1e-6),
        lambda module: module[1].num_batches_tracked.add_(1),
        lambda module: module.double(),
    ):
        module = convolution()
        change(module)
        texts.add(fingerprint("a", module))
    assert len(texts) == 6


def test_the_same_bytes_in_another_shape_or_under_another_name() -> None:
    modules = [nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False), nn.Embedding(3, 2)]
    modules += [nn.Sequential(nn.Linear(2, 3, bias=False)), nn.Linear(2, 3, bias=False, dtype=torch.bfloat16)]
    for module in modules:
        for parameter in module.parameters():
            parameter.data.zero_()
    modules[2].weight.requires_grad_(False)  # no matter: it does not change features
    texts = [fingerprint("a", module) for module in modules]
    assert texts[0] == texts[2]
    assert len({texts[0], texts[1], texts[3], texts[4]}) == 4


def test_bfloat16_and_scalars() -> None:
    module = convolution().bfloat16()
    module.scalar = nn.Parameter(torch.tensor(1.0))
    assert len(fingerprint("a", module)) == 64


def test_cache_notices_an_optimiser_step_and_loading() -> None:
    module, cache = convolution(), FingerprintCache()
    first = cache.get("a", module)
    assert cache.get("a", module) == first == fingerprint("a", module)
    module(torch.randn(2, 3, 8, 8)).sum().backward()
    torch.optim.AdamW(module.parameters()).step()
    second = cache.get("a", module)
    assert second == fingerprint("a", module) != first
    module.load_state_dict(convolution().state_dict())
    assert cache.get("a", module) == first


def test_encoder_fingerprint_covers_weights_and_transform() -> None:
    encoder = VisionEncoder.tiny()
    first = encoder.fingerprint
    other = VisionEncoder.tiny(image_size=96)
    assert other.fingerprint != first
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    assert encoder.fingerprint != first
