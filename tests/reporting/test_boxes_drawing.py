"""Boxes drawn on pictures: where lines run, what stays in sight, and what is written where."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageColor

from edge_glass.core.errors import DataError
from edge_glass.reporting.boxes import PREDICTED, TRUTH, save_drawn, visualize_bbox_on_image

ORANGE, BLUE = (np.array(ImageColor.getrgb(color)) for color in (PREDICTED, TRUTH))
GREY = 120


def blank(width: int, height: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), GREY if mode == "L" else (GREY,) * 3)


def places(picture: Image.Image, color: np.ndarray) -> np.ndarray:
    """Rows and columns of the pixels of a colour, `[n, 2]`."""
    return np.argwhere((np.asarray(picture) == color).all(axis=-1))


def within(points: np.ndarray, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    return (points[:, 1] >= x1) & (points[:, 1] < x2) & (points[:, 0] >= y1) & (points[:, 0] < y2)


def test_lines_run_around_the_box_and_leave_all_of_it_in_sight():
    drawn = visualize_bbox_on_image(blank(200, 100), [[50, 30, 90, 60]])
    orange = places(drawn, ORANGE)
    assert drawn.size == (200, 100) and drawn.mode == "RGB"
    assert (np.asarray(drawn)[30:60, 50:90] == GREY).all(), "nothing of the box is covered"
    assert not within(orange, 50, 30, 90, 60).any()
    top, left = orange.min(axis=0)
    bottom, right = orange.max(axis=0)
    assert (left, top, right, bottom) == (49, 29, 90, 60), "the line hugs the box"


def test_the_picture_itself_is_not_changed():
    picture = blank(64, 64)
    visualize_bbox_on_image(picture, [[10, 10, 30, 30]], ["a"])
    assert (np.asarray(picture) == GREY).all()


def test_a_dot_of_two_pixels_stays_in_sight():
    picture = blank(640, 480)
    picture.putpixel((300, 200), (255, 255, 0))
    picture.putpixel((301, 201), (255, 255, 0))
    boxes = [[300, 200, 302, 202]]
    drawn = visualize_bbox_on_image(picture, boxes, ["a rather long name"], [0.9], boxes, ["another name"])
    assert drawn.getpixel((300, 200)) == drawn.getpixel((301, 201)) == (255, 255, 0)


@pytest.mark.parametrize(("size", "width"), [((120, 90), 1), ((800, 600), 3), ((4000, 3000), 15)])
def test_lines_are_as_wide_as_suits_the_picture(size: tuple[int, int], width: int):
    middle = (size[0] // 2, size[1] // 2)
    drawn = visualize_bbox_on_image(blank(*size), [[middle[0], size[1] // 4, size[0] - 30, size[1] - 30]])
    row = np.asarray(drawn)[middle[1], : middle[0] + 1]
    assert (row == ORANGE).all(axis=-1).sum() == width


def test_truth_and_prediction_have_two_colours_and_are_both_seen_where_they_agree():
    box = [[40, 40, 160, 120]]
    drawn = visualize_bbox_on_image(blank(240, 200), box, truth=box)
    orange, blue = places(drawn, ORANGE), places(drawn, BLUE)
    for side in ((40, 39, 160, 40), (40, 120, 160, 121), (39, 40, 40, 120), (160, 40, 161, 120)):
        assert within(orange, *side).any() and within(blue, *side).any(), side
    assert len(places(visualize_bbox_on_image(blank(240, 200), None, truth=box), ORANGE)) == 0


class Rectangle(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def ground(plain: Image.Image, labelled: Image.Image) -> Rectangle:
    """Where labels changed a picture."""
    changed = np.argwhere((np.asarray(plain) != np.asarray(labelled)).any(axis=-1))
    return Rectangle(*changed.min(axis=0)[::-1], *(changed.max(axis=0)[::-1] + 1))


def test_a_label_stands_outside_of_its_box_and_of_others():
    boxes = [[60, 60, 120, 110], [60, 20, 130, 58]]  # no room above the first
    plain = visualize_bbox_on_image(blank(300, 200), boxes, ["cat", ""])
    without = visualize_bbox_on_image(blank(300, 200), boxes)
    place = ground(without, plain)
    for x1, y1, x2, y2 in boxes:
        across = min(place.right, x2) - max(place.left, x1)
        down = min(place.bottom, y2) - max(place.top, y1)
        assert across <= 0 or down <= 0
    assert place.bottom - place.top >= 10, "letters that can be read"


def test_a_label_at_the_rim_stays_on_the_picture():
    for box in ([0, 0, 30, 30], [170, 90, 200, 100], [0, 80, 200, 100]):
        place = ground(
            visualize_bbox_on_image(blank(200, 100), [box]),
            visualize_bbox_on_image(blank(200, 100), [box], ["cat"], [0.5]),
        )
        assert 0 <= place.left < place.right <= 200 and 0 <= place.top < place.bottom <= 100


def test_a_label_of_a_whole_picture_stands_within_it():
    box = [[0, 0, 400, 300]]
    place = ground(
        visualize_bbox_on_image(blank(400, 300), box), visualize_bbox_on_image(blank(400, 300), box, ["all"])
    )
    assert (place.right - place.left) * (place.bottom - place.top) < 0.05 * 400 * 300


def test_a_label_that_could_only_cover_something_small_is_left_out():
    boxes = [[x, y, x + 9, y + 9] for x in range(0, 60, 10) for y in range(0, 60, 10)]
    with_labels = visualize_bbox_on_image(blank(60, 60), boxes, ["nutrition-table"] * len(boxes))
    assert with_labels.tobytes() == visualize_bbox_on_image(blank(60, 60), boxes).tobytes()


def test_small_pictures_can_be_enlarged():
    drawn = visualize_bbox_on_image(blank(56, 28), [[14, 7, 28, 14]], smallest_side=280)
    assert drawn.size == (560, 280)
    top, left = places(drawn, ORANGE).min(axis=0)
    assert (left, top) == (139, 69)
    assert visualize_bbox_on_image(blank(560, 280), [], smallest_side=280).size == (560, 280)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16"])
def test_pictures_of_any_mode(mode: str):
    drawn = visualize_bbox_on_image(Image.new(mode, (60, 40)), [[5, 5, 20, 20]], ["犬 <b>"])
    assert drawn.mode == "RGB" and len(places(drawn, ORANGE))


def test_strange_boxes_do_not_stop_it():
    odd = [
        *([float("nan"), 0, 1, 1], [50, 50, 10, 10], [-30, -30, -5, -5]),
        *([90, 90, 300, 300], [20, 20, 20, 20], [1e9, 0, 2e9, 5]),
    ]
    drawn = visualize_bbox_on_image(blank(100, 100), odd, ["a"] * len(odd))
    orange = places(drawn, ORANGE)
    assert within(orange, 9, 9, 51, 51).any(), "inverted corners are put in order"
    assert within(orange, 89, 89, 100, 100).any(), "what is outside is cut off"
    assert visualize_bbox_on_image(blank(9, 9), np.zeros((0, 4)), []).tobytes() == blank(9, 9).tobytes()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"boxes": [1, 2, 3, 4]}, r"boxes: expected the shape \[n, 4\], got \[4\]"),
        ({"boxes": [[1, 2, 3, 4]], "labels": []}, "boxes: expected as many labels as boxes, got 0 for 1"),
        (
            {"boxes": [[1, 2, 3, 4]], "scores": [0.1, 0.2]},
            "boxes: expected as many scores as boxes, got 2 for 1",
        ),
        ({"boxes": [], "truth": [[1, 2, 3]]}, r"truth: expected the shape .* got \[1, 3\]"),
    ],
)
def test_what_cannot_be_drawn(given: dict, says: str):
    with pytest.raises(DataError, match=says):
        visualize_bbox_on_image(blank(10, 10), **given)


class Found(NamedTuple):
    boxes: list[list[float]]
    labels: list[str]
    scores: list[float]


FOUND = Found([[4.0, 4.0, 20.0, 20.0]], ["cat"], [0.5])


def pictures(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        blank(40, 30).save(folder / name)
    return [folder / name for name in names]


def test_drawn_pictures_are_saved(tmp_path: Path):
    files = pictures(tmp_path, "a.png", "b/a.png", "b/c.jpg")
    assert save_drawn(files[:1], [FOUND], tmp_path / "out.jpg") == [tmp_path / "out.jpg"]
    paths = save_drawn(files, [FOUND] * 3, tmp_path / "drawn")
    assert [path.name for path in paths] == ["a.png", "a-2.png", "c.png"]
    assert all(len(places(Image.open(path), ORANGE)) for path in paths)


def test_what_cannot_be_saved(tmp_path: Path):
    files = pictures(tmp_path, "a.png", "b.png")
    with pytest.raises(DataError, match="expected a folder for 2 pictures"):
        save_drawn(files, [FOUND] * 2, tmp_path / "out.png")
    with pytest.raises(DataError, match=r"out\.xyz: cannot be written"):
        save_drawn(files[:1], [FOUND], tmp_path / "out.xyz")
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match=r"a\.png: "):
        save_drawn(files[:1], [FOUND], tmp_path / "out.png")
