"""Alignment without gradient descent: regularised canonical correlation analysis, solved in closed form.

It takes seconds on a few thousand pairs and is hard to beat on few data. Used twice: as the baseline that a
trained model has to beat, and as the point where training may start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from edge_glass.core.errors import ConfigError, DataError

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LinearMap:
    """`x @ weights - offset`.

    Attributes:
        weights: `[D, components]`.
        offset: `[components]`.
    """

    weights: Array
    offset: Array

    @classmethod
    def centred(cls, mean: Array, weights: Array) -> Self:
        """Make the map `(x - mean) @ weights`, with mean `[D]`."""
        return cls(weights, mean @ weights)

    def project(self, x: Array) -> Array:
        """Map `[N, D]` → `[N, components]`."""
        return x @ self.weights - self.offset


@dataclass(frozen=True)
class CanonicalCorrelation:
    """Two linear maps under which matching rows correlate most.

    Direction i is weighted by its correlation, so that in the cosine of two projections trustworthy
    directions count most, and the first d columns are the best d: Matryoshka for free.

    Attributes:
        x_mean: `[Dx]`.
        y_mean: `[Dy]`.
        x_weights: `[Dx, components]`.
        y_weights: `[Dy, components]`.
        correlations: `[components]` (regularised) canonical correlations, descending.
    """

    x_mean: Array
    y_mean: Array
    x_weights: Array
    y_weights: Array
    correlations: Array

    @classmethod
    def fit(
        cls,
        x: Array,
        y: Array,
        regularization: tuple[float, float] = (0.1, 0.1),
        components: int | None = None,
    ) -> Self:
        """Solve.

        Args:
            x: `[N, Dx]` features.
            y: `[N, Dy]` features of the same rows.
            regularization: For x and for y: added to the eigenvalues of their covariances, as a multiple of
                the mean eigenvalue.
            components: Directions kept; None for as many as there are.

        Raises:
            DataError: Not pairs.
            ConfigError: A regularisation is not positive.

        Source: Vinod, Canonical ridge and econometrics of joint production, 1976; weights after Gong et al.,
        A multi-view embedding space for modeling internet images, tags, and their semantics, 2014.
        """
        if len(x) != len(y) or len(x) < 2:
            raise DataError(f"closed form: expected two or more pairs, got {len(x)} rows and {len(y)}")
        if min(regularization) <= 0:
            raise ConfigError(f"closed form: expected regularization above 0, got {regularization}")
        x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
        x_white, x_map = _whiten(np.asarray(x - x_mean, np.float64), regularization[0])
        y_white, y_map = _whiten(np.asarray(y - y_mean, np.float64), regularization[1])
        left, correlations, right = linalg.svd(x_white.T @ y_white, full_matrices=False)
        keep = slice(components)
        return cls(
            x_mean,
            y_mean,
            x_map @ left[:, keep] * correlations[keep],
            y_map @ right[keep].T * correlations[keep],
            correlations[keep],
        )

    @property
    def x_map(self) -> LinearMap:
        """The map of x."""
        return LinearMap.centred(self.x_mean, self.x_weights)

    @property
    def y_map(self) -> LinearMap:
        """The map of y."""
        return LinearMap.centred(self.y_mean, self.y_weights)

    def project_x(self, x: Array) -> Array:
        """Map `[N, Dx]` → `[N, components]`, ready for cosine."""
        return self.x_map.project(x)

    def project_y(self, y: Array) -> Array:
        """Map `[N, Dy]` → `[N, components]`, ready for cosine."""
        return self.y_map.project(y)


def _whiten(x: Array, regularization: float) -> tuple[Array, Array]:
    """Whiten centred rows `[N, D]` (over √N); return them and the map `[D, r]` that does it."""
    left, singular, right = linalg.svd(x, full_matrices=False)
    keep = singular > 1e-7 * singular[0]
    left, singular, right = left[:, keep], singular[keep], right[keep]
    variance = singular**2 / len(x)
    shrink = 1.0 / np.sqrt(variance + regularization * variance.mean())
    return left * (singular * shrink / np.sqrt(len(x))), right.T * shrink


def ridge_regression(x: Array, y: Array, regularization: float) -> LinearMap:
    """Fit the linear map that predicts `y` `[N, k]` best from `x` `[N, D]`, up to y's mean.

    Args:
        x: Features.
        y: What they are to become.
        regularization: Added to the eigenvalues of x's covariance, as a multiple of the mean eigenvalue.
    """
    mean = x.mean(axis=0)
    centred = np.asarray(x - mean, np.float64)
    covariance = centred.T @ centred / len(x)
    shrink = regularization * np.trace(covariance) / len(covariance)
    weights = linalg.solve(
        covariance + shrink * np.eye(len(covariance)),
        centred.T @ (y - y.mean(axis=0)) / len(x),
        assume_a="pos",
    )
    return LinearMap.centred(mean, weights)


Paired = Callable[[str, str], tuple[Array, Array]]
"""Two modalities → features `[N, D]` of both, row by row, of the training rows that have both."""


SOUND_WEIGHT = 2.0  # of the words' own axes for sounds: words say more about a sound than a picture does


def fit_shared_space(
    paired: Paired, modalities: Sequence[str], regularization: Mapping[str, float], components: int
) -> dict[str, LinearMap]:
    """Fit a map into one space for each modality.

    For pictures and words it is canonical correlation. With sounds the space has two kinds of axes, in turn,
    so that every Matryoshka prefix has both: those on which pictures and words correlate most, and those on
    which sounds and words do. Words have values on both kinds. Sounds have them too: on the pictures' axes,
    those that ridge regression predicts their words to have, which is how a sound finds a picture although
    the two never met. Pictures have none on the sounds' axes, so they meet words as well as without sounds.

    Args:
        paired: Gives the features.
        modalities: Two or three of vision, audio and text.
        regularization: By modality.
        components: Width of the space at most.
    """
    strengths = regularization["vision"], regularization["text"]
    if "audio" not in modalities:
        seen = CanonicalCorrelation.fit(*paired("vision", "text"), strengths, components)
        return {"vision": seen.x_map, "text": seen.y_map}
    pictures, captions = paired("vision", "text")
    sounds, words = paired("audio", "text")
    seen = CanonicalCorrelation.fit(pictures, captions, strengths, components // 2)
    strength = regularization["audio"]
    heard = CanonicalCorrelation.fit(sounds, words, (strength, strength), components // 2)
    spoken = ridge_regression(sounds, seen.project_y(words), strength)
    scales = 1.0 / _length(seen.project_y(captions)), SOUND_WEIGHT / _length(heard.project_y(captions))
    nothing = LinearMap(np.zeros_like(seen.x_weights), np.zeros(seen.x_weights.shape[1]))
    return {
        "vision": _interleaved(seen.x_map, nothing, scales),
        "text": _interleaved(seen.y_map, heard.y_map, scales),
        "audio": _interleaved(spoken, heard.x_map, scales),
    }


def _length(x: Array) -> float:
    """Return the root mean square norm of rows."""
    return float(np.sqrt(np.square(x).sum(axis=1).mean()))


def _interleaved(first: LinearMap, second: LinearMap, scales: tuple[float, float]) -> LinearMap:
    """Join both maps of one modality, with their axes in turn; the shorter one is filled up with zeros."""
    axes = max(first.weights.shape[1], second.weights.shape[1])
    weights = np.zeros((len(first.weights), 2 * axes))
    offset = np.zeros(2 * axes)
    for start, part, scale in ((0, first, scales[0]), (1, second, scales[1])):
        columns = slice(start, start + 2 * part.weights.shape[1], 2)
        weights[:, columns] = part.weights * scale
        offset[columns] = part.offset * scale
    return LinearMap(weights, offset)
