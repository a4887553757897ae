"""The feature normaliser: one scale, main directions, measured once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_glass.encoders.normalization import CLIP, FeatureNormalizer, Standardizer


def features(rows: int = 200, width: int = 12) -> np.ndarray:
    generator = np.random.default_rng(0)
    mixed = generator.standard_normal((rows, width)) @ generator.standard_normal((width, width))
    return mixed * np.logspace(-0.5, 0.5, width) + np.arange(width)


@pytest.mark.parametrize("rows", [200, 8])
def test_components_are_orthogonal_and_of_mean_square_one(rows: int) -> None:
    x = features(rows)
    normalizer = FeatureNormalizer(12, 6)
    normalizer.fit(x)
    z = normalizer(torch.from_numpy(x).float())
    assert z.shape == (rows, 6)
    assert float(z.square().mean()) == pytest.approx(1.0, rel=1e-4)
    covariance = torch.cov(z.T)
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    assert off_diagonal.abs().max() < 1e-3 * covariance.max()
    assert (covariance.diagonal().diff() <= 1e-4).all()  # by descending variance


def test_all_components_keep_all_distances() -> None:
    x = torch.from_numpy(features()).float()
    normalizer = FeatureNormalizer(12, 12)
    normalizer.fit(x.numpy())
    z, standardized = normalizer(x), (x - x.mean(0)) / x.std(0, correction=0)
    ratio = torch.cdist(z, z)[0, 1:] / torch.cdist(standardized, standardized)[0, 1:]
    torch.testing.assert_close(ratio, ratio[0].expand_as(ratio), rtol=2e-2, atol=0.0)


def test_an_outlier_is_clipped() -> None:
    x = features()
    normalizer = FeatureNormalizer(12, 12)
    normalizer.fit(x)
    wild = torch.from_numpy(x[:1]).float()
    wild[0, 3] = 1e9
    assert normalizer(wild).norm() < CLIP * 12**0.5 * normalizer.rotation.norm()
    assert torch.isfinite(normalizer(wild)).all()


def test_constant_columns_and_missing_rank_give_zeros() -> None:
    x = np.zeros((50, 12))
    x[:, 0] = np.random.default_rng(0).standard_normal(50)
    normalizer = FeatureNormalizer(12, 6)
    normalizer.fit(x)
    z = normalizer(torch.from_numpy(x).float())
    assert torch.isfinite(z).all()
    assert (z[:, 1:] == 0).all()
    assert z[:, 0].std() > 0


def test_what_was_measured_is_saved_with_the_weights() -> None:
    fitted, fresh = FeatureNormalizer(12, 6), FeatureNormalizer(12, 6)
    fitted.fit(features())
    fresh.load_state_dict(fitted.state_dict())
    x = torch.from_numpy(features(5)).float()
    assert torch.equal(fresh(x), fitted(x))
    assert not list(fitted.parameters())


def test_a_standardizer_measures_parts_as_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(50, 6, generator=generator) * torch.tensor([1e-4, 0.01, 1.0, 3.0, 100.0, 0.0]) + 7
    whole, parts, nothing = Standardizer(6), Standardizer(6), Standardizer(6)
    whole.measure([features])
    parts.measure(features.split(8))
    nothing.measure([])
    assert torch.allclose(whole.inverse_scale, parts.inverse_scale) and torch.allclose(whole.mean, parts.mean)
    z = parts(features.view(5, 10, 6)).flatten(0, 1)
    assert torch.allclose(z.mean(dim=0), torch.zeros(6), atol=1e-2)
    assert torch.allclose(z[:, 2:5].std(dim=0, correction=0), torch.ones(3), atol=0.2)
    assert z[:, 5].abs().max() < 1e-2 and z.abs().max() <= CLIP  # what never changes says nothing
    assert torch.equal(nothing(features), features.clamp(-CLIP, CLIP))
