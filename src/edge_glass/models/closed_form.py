"""Alignment without gradient descent: regularised CCA and ridge regression, solved in closed form.

Both take less than a second on a few thousand pairs and are hard to beat on few data: a trained head that
does not reach them has learned nothing worth its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from edge_glass.errors import ConfigError, DataError

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Standardizer:
    """Columns to mean 0 and variance 1; constant columns become 0."""

    mean: Array
    scale: Array

    @classmethod
    def fit(cls, x: Array) -> Self:
        """Measure `[N, D]`."""
        x = np.asarray(x, dtype=np.float64)
        deviation = x.std(axis=0)
        constant = deviation <= 1e-10 * np.maximum(1.0, np.abs(x).max(axis=0))
        return cls(x.mean(axis=0), np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation)))

    def __call__(self, x: Array) -> Array:
        """`[N, D]` → `[N, D]` float64."""
        return (np.asarray(x, dtype=np.float64) - self.mean) * self.scale


def _check_pairs(x: Array, y: Array, regularization: float) -> None:
    if len(x) != len(y) or len(x) < 2:
        raise DataError(f"closed form: {len(x)} rows against {len(y)}; two or more pairs are needed")
    if regularization <= 0:
        raise ConfigError(f"closed form: regularization is {regularization}; a number above 0 would be right")


@dataclass(frozen=True)
class CanonicalCorrelation:
    """Regularised canonical correlation analysis.

    Both sides are standardised, then turned so that matching directions correlate most; direction i is
    weighted by its correlation to the power `power`, so that the cosine of two projections is a similarity
    in which trustworthy directions count most. The first d columns are the analysis with d components.

    Attributes:
        correlations: `[components]` (regularised) canonical correlations, descending.
    """

    x_standardizer: Standardizer
    y_standardizer: Standardizer
    x_weights: Array
    y_weights: Array
    correlations: Array
    power: float

    @classmethod
    def fit(
        cls,
        x: Array,
        y: Array,
        regularization: float = 0.1,
        components: int | None = None,
        power: float = 1.0,
    ) -> Self:
        """Solve.

        Args:
            x: `[N, Dx]` features.
            y: `[N, Dy]` features of the same rows.
            regularization: Added to the diagonal of both correlation matrices, whose own diagonal is 1.
            components: Directions kept; None for min(Dx, Dy).
            power: Of the correlations, in the weights of the directions.

        Raises:
            DataError: Not pairs.
            ConfigError: `regularization` is not positive.

        Source: Vinod, Canonical ridge and econometrics of joint production, 1976; weights after Gong et al.,
        A multi-view embedding space for modeling internet images, tags, and their semantics, 2014.
        """
        _check_pairs(x, y, regularization)
        x_standardizer, y_standardizer = Standardizer.fit(x), Standardizer.fit(y)
        x, y = x_standardizer(x), y_standardizer(y)
        x_factor = _regularized_factor(x, regularization)
        y_factor = _regularized_factor(y, regularization)
        whitened = linalg.solve_triangular(x_factor, x.T @ y / len(x), lower=True)
        whitened = linalg.solve_triangular(y_factor, whitened.T, lower=True).T
        left, correlations, right = linalg.svd(whitened, full_matrices=False)
        keep = slice(components)
        return cls(
            x_standardizer,
            y_standardizer,
            linalg.solve_triangular(x_factor.T, left[:, keep], lower=False),
            linalg.solve_triangular(y_factor.T, right[keep].T, lower=False),
            correlations[keep],
            power,
        )

    def project_x(self, x: Array) -> Array:
        """`[N, Dx]` → `[N, components]` float64, ready for cosine."""
        return self.x_standardizer(x) @ self.x_weights * self.correlations**self.power

    def project_y(self, y: Array) -> Array:
        """`[N, Dy]` → `[N, components]` float64, ready for cosine."""
        return self.y_standardizer(y) @ self.y_weights * self.correlations**self.power


def _regularized_factor(x: Array, regularization: float) -> Array:
    """Lower Cholesky factor of xᵀx / N + regularization · I."""
    covariance = x.T @ x / len(x)
    covariance[np.diag_indices_from(covariance)] += regularization
    return linalg.cholesky(covariance, lower=True)


@dataclass(frozen=True)
class RidgeRegression:
    """Linear map from standardised x to standardised y with an L2 penalty: compare in the space of y."""

    x_standardizer: Standardizer
    y_standardizer: Standardizer
    weights: Array

    @classmethod
    def fit(cls, x: Array, y: Array, regularization: float = 1.0) -> Self:
        """Solve (xᵀx / N + regularization · I) w = xᵀy / N.

        Args:
            x: `[N, Dx]` features.
            y: `[N, Dy]` features of the same rows.
            regularization: Relative to the diagonal of the correlation matrix, which is 1.

        Raises:
            DataError: Not pairs.
            ConfigError: `regularization` is not positive.
        """
        _check_pairs(x, y, regularization)
        x_standardizer, y_standardizer = Standardizer.fit(x), Standardizer.fit(y)
        x, y = x_standardizer(x), y_standardizer(y)
        factor = _regularized_factor(x, regularization)
        return cls(x_standardizer, y_standardizer, linalg.cho_solve((factor, True), x.T @ y / len(x)))

    def project_x(self, x: Array) -> Array:
        """`[N, Dx]` → `[N, Dy]` float64: the predicted y, standardised."""
        return self.x_standardizer(x) @ self.weights

    def project_y(self, y: Array) -> Array:
        """`[N, Dy]` → `[N, Dy]` float64: y, standardised."""
        return self.y_standardizer(y)
