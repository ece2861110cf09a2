"""Drawn detections: where boxes and labels are, and that the labels can be read."""

import numpy as np
import pytest

from refquant.detection.draw import (
    PALETTE,
    Area,
    choose_font,
    contrast,
    draw,
    label,
    place,
    text_colour,
    text_size,
)
from refquant.detection.predict import Detections

NAMES = ("person", "bus")
GREEN = np.full((300, 400, 3), (20, 90, 40), np.uint8)
SOME = [([100, 80, 200, 180], 0.75, 0), ([0, 0, 60, 60], 0.5, 1), ([350, 260, 400, 300], 0.25, 9)]


def detections(*rows):
    boxes, scores, classes = zip(*rows, strict=True) if rows else ((), (), ())
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )


def test_a_box_and_its_label_are_where_they_belong():
    picture = np.array(draw(GREEN, detections(SOME[0]), NAMES))
    colour = list(PALETTE[0])
    assert picture[180 - 2, 150].tolist() == colour  # the lower line, between two dark ones
    assert picture[180 - 1, 150].tolist() == [0, 0, 0]
    assert picture[180, 150].tolist() == [20, 90, 40]  # x2 and y2 are outside
    assert picture[80 - 3, 101].tolist() == colour  # the label stands on the box
    assert picture[130, 150].tolist() == [20, 90, 40]  # the inside is untouched


def test_the_image_itself_is_not_drawn_on():
    image = GREEN.copy()
    picture = draw(image, detections(*SOME), NAMES)
    assert np.array_equal(image, GREEN)
    assert not np.array_equal(np.array(picture), GREEN)


def test_no_detections_leave_the_image_as_it_is():
    assert np.array_equal(np.array(draw(GREEN, detections(), NAMES)), GREEN)


def test_a_label_says_name_and_score():
    assert label(NAMES, 1, 0.875) == "bus 0.88"
    assert label(NAMES, 7, 0.5) == "class 7 0.50"
    assert label(("two\nlines",), 0, 1.0) == "two lines 1.00"


@pytest.mark.parametrize("colour", PALETTE)
def test_every_label_has_the_contrast_that_wcag_asks_for(colour):
    assert contrast(text_colour(colour), colour) >= 4.5


def test_contrast_of_black_and_white_is_21():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((9, 9, 9), (9, 9, 9)) == 1


def test_neighbouring_classes_have_different_colours():
    assert len(set(PALETTE)) == 8


def test_labels_lie_inside_the_image_wherever_the_box_is():
    rng = np.random.default_rng(1)
    for _ in range(300):
        x1, x2 = np.sort(rng.integers(0, 401, 2))
        y1, y2 = np.sort(rng.integers(0, 301, 2))
        area = place((90, 20), Area(x1, y1, x2, y2), (400, 300), [])
        assert 0 <= area.left < area.right <= 400
        assert 0 <= area.top < area.bottom <= 300


def test_a_label_moves_away_from_another():
    box = Area(100, 100, 200, 200)
    first = place((90, 20), box, (400, 300), [])
    second = place((90, 20), box, (400, 300), [first])
    assert first.top == 80
    assert second.top == 100
    assert not first.meets(second)


def test_text_grows_with_the_image():
    small, large = (
        text_size(choose_font(["bus 0.50"], side, side, 1), "bus 0.50", 1) for side in (200, 4000)
    )
    assert large[1] > 5 * small[1]


def test_a_long_label_shrinks_until_it_fits():
    text = "a very long name of a class indeed 0.50"
    assert text_size(choose_font([text], 150, 150, 1), text, 1)[0] <= 150


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (3000, 2000)])
def test_images_of_any_size_are_drawn_on(size):
    image = np.zeros((*size, 3), np.uint8)
    box = [0, 0, size[1], size[0]]
    picture = draw(image, detections((box, 0.5, 0), ([0, 0, 0, 0], 0.4, 1)), NAMES)
    assert picture.size == size[::-1]


def test_the_best_detection_is_drawn_on_top():
    first, second = ([50, 100, 150, 200], 0.9, 0), ([50, 100, 150, 200], 0.8, 1)
    picture = np.array(draw(GREEN, detections(first, second), NAMES))
    assert picture[198, 100].tolist() == list(PALETTE[0])
