"""Shrinking by areas: a worked example with ties, `_fast` against `_ref`, and OpenCV."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.detection.area import overlaps, resize_fast, resize_ref

BOTH = pytest.mark.parametrize("resize", [resize_ref, resize_fast])


def row(*values):
    return np.array(values, np.uint8).reshape(1, -1, 1)


def random_image(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@BOTH
def test_three_pixels_shrunk_to_two(resize):
    # 1.5 pixels each: (1 * 10 + 0.5 * 40) / 1.5 = 20 and (0.5 * 40 + 1 * 100) / 1.5 = 80
    assert resize(row(10, 40, 100), 1, 2).ravel().tolist() == [20, 80]


@BOTH
def test_a_tie_goes_to_the_even_number(resize):
    assert resize(row(0, 1, 1, 2), 1, 2).ravel().tolist() == [0, 2]  # 0.5 and 1.5


@BOTH
def test_a_tie_goes_up_where_both_sides_are_halved(resize):
    image = np.array([[0, 1, 1, 2], [0, 1, 1, 2]], np.uint8)[:, :, None]
    assert resize(image, 1, 2).ravel().tolist() == [1, 2]  # 0.5 and 1.5


def test_overlaps_of_an_output_add_up_to_the_length():
    assert overlaps(3, 2).tolist() == [[2, 1, 0], [0, 1, 2]]
    for length, count in ((7, 3), (640, 640), (641, 640), (999, 1)):
        o = overlaps(length, count)
        assert (o.sum(axis=1) == length).all()
        assert (o.sum(axis=0) == count).all()


@BOTH
def test_the_same_size_changes_nothing(resize):
    image = random_image(np.random.default_rng(1), 5, 6)
    assert np.array_equal(resize(image, 5, 6), image)


@BOTH
def test_a_constant_image_stays_constant(resize):
    for value in (0, 1, 114, 254, 255):
        assert (resize(np.full((13, 17, 3), value, np.uint8), 5, 11) == value).all()


def test_fast_equals_ref():
    rng = np.random.default_rng(2)
    special = [(1, 1, 1, 1), (2, 2, 1, 1), (9, 1, 4, 1), (8, 6, 4, 3), (8, 6, 2, 3), (6, 7, 6, 3)]
    for _ in range(60):
        height, width = rng.integers(1, 20, 2)
        special.append((height, width, rng.integers(1, height + 1), rng.integers(1, width + 1)))
    for height, width, new_height, new_width in special:
        image = rng.choice(np.array([0, 1, 2, 127, 254, 255], np.uint8), (height, width, 3))
        expected = resize_ref(image, new_height, new_width)
        assert np.array_equal(resize_fast(image, new_height, new_width), expected)


def disagreement(ours, theirs):
    """The share of samples that differ; none may differ by more than one."""
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1
    return (difference > 0).mean()


@pytest.mark.parametrize(
    ("width", "height"),
    [(1280, 720), (1920, 1280), (810, 1080), (1279, 719), (2560, 1920), (999, 1501), (641, 480)],
)
def test_opencv_differs_by_one_grey_level_on_less_than_two_in_a_thousand(width, height):
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    image = random_image(np.random.default_rng(3), height, width)
    gain = 640 / max(height, width)
    size = (int(width * gain), int(height * gain))
    ours, theirs = resize_fast(image, *size[::-1]), cv2.resize(image, size, interpolation=3)
    assert disagreement(ours, theirs) < 0.002
    plain = image[:: height // size[1], :: width // size[0]][: size[1], : size[0]]
    assert np.abs(plain.astype(int) - theirs[: len(plain), : plain.shape[1]]).max() > 1


def test_whole_ratios_are_opencvs_pixel_for_pixel():
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    for ratio in (2, 3, 4, 5, 8):
        image = random_image(np.random.default_rng(ratio), 30 * ratio, 20 * ratio)
        assert np.array_equal(
            resize_fast(image, 30, 20), cv2.resize(image, (20, 30), interpolation=3)
        )


@pytest.mark.parametrize("size", [(6, 4), (5, 5), (0, 3)])
def test_enlarging_is_refused(size):
    with pytest.raises(BadInput, match="areas only shrink"):
        resize_fast(random_image(np.random.default_rng(4), 5, 4), *size)
