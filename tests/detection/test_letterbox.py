"""The letterbox: the published tables of sizes and bars, the canvas, and the way back."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.detection.letterbox import fit, letterbox, to_image, to_input
from refquant.detection.resize import resize_fast

# image, resized, bars (top, bottom, left, right), network input; (w, h), size 640, stride 32
RECTANGLES = [
    ((810, 1080), (480, 640), (0, 0, 0, 0), (480, 640)),
    ((1280, 720), (640, 360), (12, 12, 0, 0), (640, 384)),
    ((640, 427), (640, 427), (10, 11, 0, 0), (640, 448)),
    ((427, 640), (427, 640), (0, 0, 10, 11), (448, 640)),
    ((500, 375), (640, 480), (0, 0, 0, 0), (640, 480)),
    ((333, 500), (426, 640), (0, 0, 11, 11), (448, 640)),
    ((1279, 719), (640, 360), (12, 12, 0, 0), (640, 384)),
]
TARGET = (640, 640)


def bars(place):
    return place.top, place.bottom, place.left, place.right


@pytest.mark.parametrize(("image", "resized", "expected", "net"), RECTANGLES)
def test_the_minimal_rectangle_of_worked_examples(image, resized, expected, net):
    place = fit(image[::-1], TARGET, rectangle=True)
    assert (place.resized[::-1], bars(place), place.net[::-1]) == (resized, expected, net)


def test_the_square_keeps_all_of_its_bars():
    place = fit((427, 640), TARGET)
    assert (place.resized, place.net, bars(place)) == ((427, 640), TARGET, (106, 107, 0, 0))


def test_the_bars_are_those_of_the_public_formula():
    for height in range(1, 641):
        place = fit((height, 640), TARGET)
        half = (640 - height) / 2
        assert (place.top, place.bottom) == (round(half - 0.1), round(half + 0.1))


def test_sides_of_the_rectangle_are_the_smallest_multiples_of_the_stride():
    rng = np.random.default_rng(1)
    for height, width in rng.integers(1, 3000, (200, 2)):
        for stride in (32, 64):
            place = fit((int(height), int(width)), TARGET, rectangle=True, stride=stride)
            spares = [n - r for n, r in zip(place.net, place.resized, strict=True)]
            assert all(n % stride == 0 for n in place.net)
            assert all(0 <= spare < stride for spare in spares)


def test_a_line_of_pixels_keeps_at_least_one_row():
    place = fit((1, 5000), TARGET, rectangle=True)
    assert (place.resized, place.net) == ((1, 640), (32, 640))


def test_the_canvas_is_the_resized_image_in_grey():
    image = np.random.default_rng(2).integers(0, 256, (27, 40, 3), dtype=np.uint8)
    place = fit((27, 40), (64, 64))
    canvas = letterbox(image, place)
    assert canvas.shape == (64, 64, 3)
    assert (place.resized, bars(place)) == ((43, 64), (10, 11, 0, 0))
    assert np.array_equal(canvas[10:53], resize_fast(image, 43, 64))
    assert (canvas[:10] == 114).all()
    assert (canvas[53:] == 114).all()


def test_an_image_of_the_right_size_is_not_touched():
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(letterbox(image, fit((64, 64), (64, 64))), image)


def test_the_input_is_rgb_over_255_in_float32():
    canvas = np.zeros((32, 64, 3), np.uint8)
    canvas[1, 2] = (1, 51, 255)
    x = to_input(canvas)
    assert (x.shape, x.dtype) == ((1, 3, 32, 64), np.float32)
    assert x[0, :, 1, 2].tolist() == [
        float(np.float32(1) / np.float32(255)),
        float(np.float32(0.2)),
        1,
    ]


BOX = np.array([[100, 50, 400, 300]], np.float32)


def test_compat_gives_the_published_coordinates():
    first = fit((640, 427)[::-1], TARGET, rectangle=True)
    assert to_image(BOX, first, "compat").tolist() == [[100, 39.5, 400, 289.5]]
    second = fit((500, 333), TARGET, rectangle=True)
    assert to_image(BOX, second, "compat").tolist() == [[69.625, 39.0625, 304, 234.375]]


def test_exact_takes_off_the_bars_that_were_put_on():
    first = fit((427, 640), TARGET, rectangle=True)  # 10 rows above, gain 1
    assert to_image(BOX, first).tolist() == [[100, 40, 400, 290]]
    second = fit((500, 333), TARGET, rectangle=True)  # 11 columns left, 333 -> 426, 500 -> 640
    expected = [89 * 333 / 426, 39.0625, 389 * 333 / 426, 234.375]
    assert to_image(BOX, second).tolist() == [[float(np.float32(v)) for v in expected]]


def test_exact_is_the_inverse_of_the_placement():
    rng = np.random.default_rng(4)
    for height, width in rng.integers(20, 2000, (100, 2)):
        place = fit((int(height), int(width)), TARGET, rectangle=bool(height % 2))
        whole = [
            place.left,
            place.top,
            place.left + place.resized[1],
            place.top + place.resized[0],
        ]
        corners = to_image(np.array([whole], np.float32), place)
        assert corners.tolist() == [[0, 0, width, height]]


def test_compat_is_not_exact():
    place = fit((500, 333), TARGET, rectangle=True)
    difference = np.abs(to_image(BOX, place) - to_image(BOX, place, "compat")).max()
    assert 0 < difference < 1


@pytest.mark.parametrize("back", ["exact", "compat"])
def test_boxes_are_clipped_to_the_image(back):
    place = fit((427, 640), TARGET, rectangle=True)
    boxes = np.array([[-50, -50, 900, 900]], np.float32)
    assert to_image(boxes, place, back).tolist() == [[0, 0, 640, 427]]


def test_no_boxes_stay_no_boxes():
    place = fit((427, 640), TARGET)
    assert to_image(np.empty((0, 4), np.float32), place).shape == (0, 4)


def test_a_target_off_the_stride_is_refused():
    with pytest.raises(BadInput, match="multiple of 32"):
        fit((10, 10), (640, 630))
    with pytest.raises(BadInput, match=r"image=\(0, 5\): has no pixels"):
        fit((0, 5), (640, 640))


def test_an_unknown_way_back_lists_the_choices():
    with pytest.raises(BadInput, match=r"exact \| compat"):
        to_image(BOX, fit((10, 10), TARGET), "public")


def test_an_image_of_another_size_is_refused():
    with pytest.raises(BadInput, match="letterbox is for"):
        letterbox(np.zeros((9, 10, 3), np.uint8), fit((10, 10), TARGET))
