"""Closed-form alignment against scikit-learn and by its definition."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_glass.errors import ConfigError, DataError
from edge_glass.models.closed_form import CanonicalCorrelation, RidgeRegression, Standardizer

Array = NDArray[np.float64]


def related(rows: int = 400, seed: int = 0) -> tuple[Array, Array]:
    """Two views of three common causes, with a little noise."""
    random = np.random.default_rng(seed)
    causes = random.normal(size=(rows, 3))
    x = causes @ random.normal(size=(3, 8)) + 0.5 * random.normal(size=(rows, 8))
    y = causes @ random.normal(size=(3, 5)) + 0.5 * random.normal(size=(rows, 5))
    return x * 10 + 3, y - 1


def recall_at_1(x: Array, y: Array) -> float:
    x, y = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (x, y))
    return float(((x @ y.T).argmax(axis=1) == np.arange(len(x))).mean())


def test_correlations_equal_scikit_learn() -> None:
    from sklearn.cross_decomposition import CCA

    x, y = related()
    ours = CanonicalCorrelation.fit(x, y, regularization=1e-9)
    theirs = CCA(n_components=5, max_iter=5000, tol=1e-12).fit(x, y)
    a, b = theirs.transform(x, y)
    expected = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(5)]
    np.testing.assert_allclose(ours.correlations, expected, atol=1e-4)
    a, b = ours.project_x(x), ours.project_y(y)
    measured = [np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(5)]
    np.testing.assert_allclose(measured, ours.correlations, atol=1e-6)


def test_directions_are_uncorrelated_and_scaled_by_their_correlation() -> None:
    x, y = related()
    model = CanonicalCorrelation.fit(x, y, regularization=1e-9, power=2.0)
    covariance = np.cov(model.project_x(x).T, bias=True)
    np.testing.assert_allclose(covariance, np.diag(model.correlations**4), atol=1e-6)


def test_components_are_a_prefix() -> None:
    x, y = related()
    full, cut = (CanonicalCorrelation.fit(x, y, 0.1, components) for components in (None, 2))
    assert cut.project_x(x).shape == (400, 2)
    np.testing.assert_allclose(full.project_y(y)[:, :2], cut.project_y(y))


def test_finds_matching_rows_it_has_not_seen() -> None:
    x, y = related(600)
    for model in (
        CanonicalCorrelation.fit(x[:500], y[:500], 0.1),
        RidgeRegression.fit(x[:500], y[:500], 0.1),
    ):
        found = recall_at_1(model.project_x(x[500:]), model.project_y(y[500:]))
        shuffled = recall_at_1(model.project_x(x[500:]), model.project_y(y[500:][::-1]))
        assert found > 0.15 > 0.05 > shuffled  # chance is 0.01


def test_ridge_equals_scikit_learn() -> None:
    from sklearn.linear_model import Ridge

    x, y = related()
    model = RidgeRegression.fit(x, y, regularization=0.3)
    standard_x, standard_y = Standardizer.fit(x)(x), Standardizer.fit(y)(y)
    expected = Ridge(alpha=0.3 * len(x), fit_intercept=False).fit(standard_x, standard_y).predict(standard_x)
    np.testing.assert_allclose(model.project_x(x), expected, atol=1e-8)
    np.testing.assert_allclose(model.project_y(y), standard_y)


def test_units_and_constant_columns_do_not_matter() -> None:
    x, y = related()
    first = CanonicalCorrelation.fit(x, y)
    changed = np.hstack([x * 1e4 - 7, np.full((len(x), 2), 1e6)])
    second = CanonicalCorrelation.fit(changed, y)
    np.testing.assert_allclose(np.abs(second.project_x(changed)), np.abs(first.project_x(x)), atol=1e-8)


def test_more_columns_than_rows() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 50)).astype(np.float32), random.normal(size=(20, 30)).astype(np.float32)
    model = CanonicalCorrelation.fit(x, y, 0.1)
    assert np.isfinite(model.project_x(x)).all()
    assert recall_at_1(model.project_x(x), model.project_y(y)) == 1.0


def test_refused() -> None:
    x, y = related(10)
    with pytest.raises(ConfigError, match="above 0"):
        CanonicalCorrelation.fit(x, y, regularization=0.0)
    with pytest.raises(DataError, match="10 rows against 9"):
        RidgeRegression.fit(x, y[:9])


@pytest.mark.slow
def test_quick_at_the_size_of_the_emoji_set() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(1468, 1280)), random.normal(size=(1468, 384))
    start = time.perf_counter()
    CanonicalCorrelation.fit(x, y, 0.5)
    assert time.perf_counter() - start < 5.0  # about 0.3 s on two idle cores
