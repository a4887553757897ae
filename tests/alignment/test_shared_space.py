"""A closed form of three modalities: pictures and sounds that never met find each other through words."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from edge_glass.alignment.measure.retrieval import ranks
from edge_glass.alignment.model.cca import (
    CanonicalCorrelation,
    LinearMap,
    fit_shared_space,
    ridge_regression,
)
from edge_glass.core.errors import DataError

STRENGTHS = {"vision": 0.1, "text": 0.3, "audio": 0.05}
WIDTHS = {"vision": 12, "text": 10, "audio": 9}
HIDDEN = 5


class World:
    """Hidden meanings that every modality shows linearly, with noise; paired rows are drawn apart."""

    def __init__(self, noise: float = 0.2, audio_width: int = WIDTHS["audio"]) -> None:
        self.noise = noise
        self.widths = WIDTHS | {"audio": audio_width}
        generator = np.random.default_rng(0)
        self.maps = {name: generator.standard_normal((HIDDEN, width)) for name, width in self.widths.items()}
        self.asked: list[tuple[str, str]] = []

    def rows(self, names: tuple[str, ...], count: int, seed: int) -> tuple[np.ndarray, ...]:
        generator = np.random.default_rng(seed)
        hidden = generator.standard_normal((count, HIDDEN))
        return tuple(
            hidden @ self.maps[name] + 7 + self.noise * generator.standard_normal((count, self.widths[name]))
            for name in names
        )

    def paired(self, first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((first, second))
        seed = {"vision": 1, "audio": 2}[first]
        one, other = self.rows((first, second), 300, seed)
        return one, other


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_a_linear_map_by_hand() -> None:
    mean, weights = np.array([1.0, 2.0]), np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    solved = LinearMap.centred(mean, weights)
    x = np.array([[1.0, 2.0], [2.0, 4.0]])
    assert solved.project(x).tolist() == [[0.0, 0.0, 0.0], [1.0, 6.0, 4.0]]
    assert (LinearMap(weights, np.array([1.0, 1.0, 1.0])).project(x)[0] == [0.0, 5.0, 3.0]).all()


@pytest.mark.parametrize("regularization", [1e-6, 0.3, 10.0])
@pytest.mark.parametrize("rows", [200, 6])
def test_ridge_regression_is_that_of_scikit_learn(regularization: float, rows: int) -> None:
    x, y = World().rows(("audio", "text"), rows, seed=3)
    variance = np.trace(np.cov(x.T, bias=True)) / x.shape[1]
    theirs = Ridge(alpha=regularization * variance * rows).fit(x, y)
    ours = ridge_regression(x, y, regularization)
    new = World().rows(("audio",), 20, seed=4)[0]
    np.testing.assert_allclose(ours.project(new) + y.mean(axis=0), theirs.predict(new), rtol=1e-4, atol=1e-4)


def test_two_modalities_are_plain_canonical_correlation() -> None:
    world = World()
    maps = fit_shared_space(world.paired, ("vision", "text"), STRENGTHS, 4)
    assert set(maps) == {"vision", "text"} and world.asked == [("vision", "text")]
    pictures, words = world.paired("vision", "text")
    plain = CanonicalCorrelation.fit(pictures, words, (0.1, 0.3), 4)
    assert np.array_equal(maps["vision"].project(pictures), plain.project_x(pictures))
    assert np.array_equal(maps["text"].project(words), plain.project_y(words))


def test_axes_take_turns() -> None:
    world = World()
    maps = fit_shared_space(world.paired, ("vision", "audio", "text"), STRENGTHS, 8)
    pictures, captions = world.paired("vision", "text")
    sounds, words = world.paired("audio", "text")
    seen = CanonicalCorrelation.fit(pictures, captions, (0.1, 0.3), 4)
    heard = CanonicalCorrelation.fit(sounds, words, (0.05, 0.05), 4)
    found = {
        name: maps[name].project(x)
        for name, x in {"vision": pictures, "text": captions, "audio": sounds}.items()
    }
    assert all(part.shape == (300, 8) for part in found.values())
    assert not found["vision"][:, 1::2].any() and found["vision"][:, ::2].any(axis=0).all()

    # Words have both kinds of axes, the sounds' twice as long on average.
    length = [np.sqrt(np.square(found["text"][:, start::2]).sum(axis=1).mean()) for start in (0, 1)]
    np.testing.assert_allclose(length, [1.0, 2.0], rtol=1e-9)
    scales = (
        1 / np.sqrt(np.square(seen.project_y(captions)).sum(1).mean()),
        2 / np.sqrt(np.square(heard.project_y(captions)).sum(1).mean()),
    )
    np.testing.assert_allclose(found["vision"][:, ::2], scales[0] * seen.project_x(pictures), atol=1e-9)
    np.testing.assert_allclose(found["text"][:, ::2], scales[0] * seen.project_y(captions), atol=1e-9)
    np.testing.assert_allclose(found["text"][:, 1::2], scales[1] * heard.project_y(captions), atol=1e-9)
    np.testing.assert_allclose(found["audio"][:, 1::2], scales[1] * heard.project_x(sounds), atol=1e-9)
    predicted = ridge_regression(sounds, seen.project_y(words), 0.05).project(sounds)
    np.testing.assert_allclose(found["audio"][:, ::2], scales[0] * predicted, atol=1e-9)


def test_words_find_pictures_exactly_as_without_sounds() -> None:
    """A picture's norm is the same up to one factor, and a query's own norm changes no rank."""
    world = World(noise=1.0)
    with_sounds = fit_shared_space(world.paired, ("vision", "audio", "text"), STRENGTHS, 8)
    without = fit_shared_space(world.paired, ("vision", "text"), STRENGTHS, 4)
    pictures, words = world.rows(("vision", "text"), 100, seed=9)
    groups = np.arange(100)
    found = [
        ranks(unit(maps["text"].project(words)), unit(maps["vision"].project(pictures)), groups, groups)
        for maps in (with_sounds, without)
    ]
    assert np.array_equal(*found) and 1 < found[0].mean() < 25
    products = [
        maps["vision"].project(pictures) @ maps["text"].project(words).T for maps in (with_sounds, without)
    ]
    ratio = products[0] / products[1]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


def test_sounds_find_pictures_they_never_met() -> None:
    world = World()
    maps = fit_shared_space(world.paired, ("vision", "audio", "text"), STRENGTHS, 2 * HIDDEN)
    assert ("vision", "audio") not in world.asked and ("audio", "vision") not in world.asked
    groups = np.arange(100)
    names = ("vision", "audio", "text")
    rows = dict(zip(names, world.rows(names, 100, seed=9), strict=True))
    found = {name: unit(maps[name].project(x)) for name, x in rows.items()}
    for asks, answers in (("audio", "vision"), ("vision", "audio"), ("audio", "text"), ("vision", "text")):
        recall = (ranks(found[asks], found[answers], groups, groups) <= 1).mean()
        assert recall > 0.5, (asks, answers, recall)  # chance is 0.01
    shuffled = np.roll(groups, 1)
    assert (ranks(found["audio"], found["vision"], groups, shuffled) <= 1).mean() < 0.05


def test_a_modality_with_fewer_axes_is_filled_up() -> None:
    """Sounds of three numbers have three axes; the rest of theirs are zeros."""
    world = World(audio_width=3)
    maps = fit_shared_space(world.paired, ("vision", "audio", "text"), STRENGTHS, 10)
    sounds, words = world.paired("audio", "text")
    assert maps["text"].project(words).shape == maps["audio"].project(sounds).shape == (300, 10)
    assert maps["audio"].project(sounds)[:, 1:6:2].any(axis=0).all()
    assert not maps["audio"].project(sounds)[:, 7::2].any() and not maps["text"].project(words)[:, 7::2].any()


def test_one_row_is_no_pair() -> None:
    with pytest.raises(DataError, match="two or more pairs, got 1"):
        fit_shared_space(
            lambda first, second: (np.ones((1, 3)), np.ones((1, 3))),
            ("vision", "audio", "text"),
            STRENGTHS,
            4,
        )
