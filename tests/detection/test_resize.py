"""The bilinear resize: a worked example, `_fast` against `_ref`, and both against OpenCV."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.detection.resize import resize_fast, resize_ref, taps


def random_image(rng, height, width, channels=3):
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def sizes(seed, count, largest):
    """Pairs of sizes: up, down, one pixel, halves, the same size."""
    rng = np.random.default_rng(seed)
    special = [(1, 1, 5, 7), (1, 9, 4, 1), (8, 6, 4, 3), (7, 5, 7, 5), (2, 2, 64, 1), (9, 1, 1, 1)]
    return special + [tuple(rng.integers(1, largest, 4)) for _ in range(count)]


def test_a_row_of_two_pixels_stretched_to_four():
    # t = -0.25, 0.25, 0.75, 1.25: the ends are copies, between them a quarter of the way each.
    image = np.array([0, 100], np.uint8).reshape(1, 2, 1)
    assert resize_ref(image, 1, 4).ravel().tolist() == [0, 25, 75, 100]
    assert resize_fast(image, 1, 4).ravel().tolist() == [0, 25, 75, 100]


def test_fixed_point_rounds_where_a_float_would_not():
    # t = 0.25 between rows 0 and 1: a float gives 0.75*0 + 0.25*2 = 0.5, rounded to even 0.
    # (7): b1 = 512, S = 2048*2, 512 * 256 >> 16 = 2, (2 + 2) >> 2 = 1.
    image = np.array([0, 2], np.uint8).reshape(2, 1, 1)
    assert resize_ref(image, 4, 1).ravel().tolist() == [0, 1, 2, 2]


def test_halving_is_the_rounded_mean_of_four():
    rng = np.random.default_rng(1)
    image = random_image(rng, 20, 14)
    a, b = image[0::2].astype(int), image[1::2].astype(int)
    mean = (a[:, 0::2] + a[:, 1::2] + b[:, 0::2] + b[:, 1::2] + 2) >> 2
    assert np.array_equal(resize_fast(image, 10, 7), mean)


def test_the_same_size_changes_nothing_and_gives_a_copy():
    image = random_image(np.random.default_rng(2), 5, 6)
    resized = resize_fast(image, 5, 6)
    assert np.array_equal(resized, image)
    assert np.array_equal(resize_ref(image, 5, 6), image)
    assert not np.shares_memory(resized, image)


def test_a_constant_image_stays_constant():
    for value in (0, 1, 114, 254, 255):
        image = np.full((13, 7, 3), value, np.uint8)
        assert (resize_fast(image, 29, 31) == value).all()


@pytest.mark.parametrize("size", sizes(seed=3, count=30, largest=24))
def test_fast_equals_ref(size):
    height, width, new_height, new_width = size
    image = random_image(np.random.default_rng(4), height, width)
    fast = resize_fast(image, new_height, new_width)
    assert np.array_equal(fast, resize_ref(image, new_height, new_width))


def test_equal_to_opencv_on_hundreds_of_sizes():
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    rng = np.random.default_rng(5)
    for height, width, new_height, new_width in sizes(seed=6, count=400, largest=300):
        image = random_image(rng, height, width)
        theirs = cv2.resize(image, (int(new_width), int(new_height)))
        ours = resize_fast(image, new_height, new_width)
        assert np.array_equal(ours, theirs), (height, width, new_height, new_width)


def test_equal_to_opencv_on_sizes_of_photographs_and_hard_edges():
    cv2 = pytest.importorskip("cv2", reason="opencv-python-headless is not installed")
    rng = np.random.default_rng(7)
    for height, width in ((427, 640), (500, 333), (1080, 810), (720, 1280), (999, 1501)):
        image = rng.choice(np.array([0, 255], np.uint8), (height, width, 3))
        gain = 640 / max(height, width)
        size = (round(width * gain), round(height * gain))
        assert np.array_equal(resize_fast(image, size[1], size[0]), cv2.resize(image, size))


def test_a_float_resize_would_be_caught():
    image = random_image(np.random.default_rng(8), 40, 1, 1)
    i, f = taps(40, 61)
    low, high = np.clip(i, 0, 39), np.clip(i + 1, 0, 39)
    plain = np.rint(image[low, 0, 0] * (1 - f) + image[high, 0, 0] * f)
    difference = np.abs(plain - resize_ref(image, 61, 1)[:, 0, 0])
    assert 0 < difference.max() <= 1


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
@pytest.mark.parametrize("resize", [resize_ref, resize_fast])
def test_sizes_without_pixels_are_refused(resize, size):
    with pytest.raises(BadInput, match="choose 1 or more"):
        resize(np.zeros((4, 4, 3), np.uint8), *size)
