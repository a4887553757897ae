"""Canonical correlation: against scikit-learn, and what regularisation and weights do."""

from __future__ import annotations

import numpy as np
import pytest

from edge_glass.alignment.model.cca import CanonicalCorrelation
from edge_glass.core.errors import ConfigError, DataError


def pairs(rows: int = 300, shared: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two views `[rows, 8]` and `[rows, 6]` of `shared` hidden numbers, with noise."""
    generator = np.random.default_rng(seed)
    hidden = generator.standard_normal((rows, shared))
    x = hidden @ generator.standard_normal((shared, 8)) + 0.3 * generator.standard_normal((rows, 8))
    y = hidden @ generator.standard_normal((shared, 6)) + 0.3 * generator.standard_normal((rows, 6))
    return 5.0 + 2.0 * x, y - 3.0


def recall(images: np.ndarray, texts: np.ndarray) -> float:
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    return float(((images @ texts.T).argmax(axis=1) == np.arange(len(images))).mean())


def test_correlations_agree_with_scikit_learn() -> None:
    from sklearn.cross_decomposition import CCA

    x, y = pairs()
    ours = CanonicalCorrelation.fit(x, y, (1e-9, 1e-9), components=3)
    left, right = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit_transform(x, y)
    theirs = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(3)]
    np.testing.assert_allclose(ours.correlations, theirs, atol=1e-4)


def test_projections_correlate_as_promised() -> None:
    x, y = pairs()
    model = CanonicalCorrelation.fit(x, y, (1e-9, 1e-9), components=3)
    u, v = model.project_x(x), model.project_y(y)
    for direction in range(3):
        measured = np.corrcoef(u[:, direction], v[:, direction])[0, 1]
        assert measured == pytest.approx(model.correlations[direction], abs=1e-6)
    np.testing.assert_allclose(np.corrcoef(u.T), np.eye(3), atol=1e-6)


def test_it_finds_unseen_pairs() -> None:
    x, y = pairs(rows=400, shared=5)
    model = CanonicalCorrelation.fit(x[:300], y[:300], (0.1, 0.1))
    found = recall(model.project_x(x[300:]), model.project_y(y[300:]))
    assert found > 0.25  # chance is 0.01


def test_the_first_columns_are_the_smaller_analysis() -> None:
    x, y = pairs()
    full = CanonicalCorrelation.fit(x, y)
    small = CanonicalCorrelation.fit(x, y, components=2)
    np.testing.assert_allclose(np.abs(full.project_x(x)[:, :2]), np.abs(small.project_x(x)), rtol=1e-9)


def test_more_columns_than_rows_is_what_regularisation_is_for() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((20, 100)), generator.standard_normal((20, 50))
    weak, strong = (CanonicalCorrelation.fit(x, y, (r, r)).correlations[0] for r in (1e-6, 10.0))
    assert weak == pytest.approx(1.0, abs=1e-3)  # noise fits noise
    assert strong < 0.5


def test_scale_of_the_features_does_not_matter() -> None:
    x, y = pairs()
    plain, scaled = CanonicalCorrelation.fit(x, y), CanonicalCorrelation.fit(1000.0 * x, y / 7.0)
    np.testing.assert_allclose(plain.correlations, scaled.correlations, rtol=1e-9)


@pytest.mark.parametrize("regularization", [(0.0, 1.0), (1.0, -1.0)])
def test_regularisation_must_be_positive(regularization: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        CanonicalCorrelation.fit(*pairs(), regularization)


def test_unequal_rows_are_named() -> None:
    x, y = pairs()
    with pytest.raises(DataError, match="got 300 rows and 299"):
        CanonicalCorrelation.fit(x, y[:-1])
