"""The public test geometry: its published table, its truncation, its batches, its pixels."""

from dataclasses import replace

import numpy as np
import pytest
from white_cells import white_cells

from refquant.detection import area, resize
from refquant.detection.batch_shapes import batch_nets, loaded, net_of, place_in
from refquant.detection.letterbox import letterbox, to_image
from refquant.detection.predict import YOLOV7, place_of, predict

# image, size, stride, loaded, net, bars (top, bottom, left, right); (w, h), a batch of one
TABLE = [
    ((640, 480), 640, 32, (640, 480), (672, 512), (16, 16, 16, 16)),
    ((640, 427), 640, 32, (640, 427), (672, 448), (10, 11, 16, 16)),
    ((640, 426), 640, 32, (640, 426), (672, 448), (11, 11, 16, 16)),
    ((427, 640), 640, 32, (427, 640), (448, 672), (16, 16, 10, 11)),
    ((500, 375), 640, 32, (640, 480), (672, 512), (16, 16, 16, 16)),
    ((333, 500), 640, 32, (426, 640), (448, 672), (16, 16, 11, 11)),
    ((1280, 720), 640, 32, (640, 360), (672, 384), (12, 12, 16, 16)),
    ((640, 640), 640, 32, (640, 640), (672, 672), (16, 16, 16, 16)),
    ((640, 480), 1280, 64, (1280, 960), (1344, 1024), (32, 32, 32, 32)),
    ((640, 427), 1280, 64, (1280, 854), (1344, 896), (21, 21, 32, 32)),
]
# The long sides up to 2000 that truncation leaves at 639 (or 1279)
SHORT = (77, 154, 303, 308, 319, 581, 606, 616, 623, 638, 1077, 1162)


@pytest.mark.parametrize(("image", "size", "stride", "resized", "net", "bars"), TABLE)
def test_the_published_table(image, size, stride, resized, net, bars):
    place = place_in(image[::-1], size, stride)
    assert (place.resized[::-1], place.net[::-1]) == (resized, net)
    assert (place.top, place.bottom, place.left, place.right) == bars


def test_boxes_go_back_as_published():
    # net 448 wide, 672 high; pad (11, 16), gain 1.28 on both axes though the columns have 1.27928
    place = place_in((500, 333), 640, 32)
    boxes = np.array([[100, 50, 400, 300]], np.float32)
    assert to_image(boxes, place, "stored").tolist() == [[69.53125, 26.5625, 303.90625, 221.875]]
    assert to_image(boxes, place, "exact").tolist() != [[69.53125, 26.5625, 303.90625, 221.875]]


def test_an_odd_bar_is_stored_as_its_half():
    place = place_in((427, 640), 640, 32)  # 10 rows above, 11 below: 10.5
    boxes = np.array([[100, 50, 400, 300]], np.float32)
    assert to_image(boxes, place, "stored").tolist() == [[84, 39.5, 384, 289.5]]


@pytest.mark.parametrize("size", [640, 1280])
def test_truncation_makes_some_long_sides_one_pixel_short(size):
    assert all(loaded((side, side), size)[0] == size - 1 for side in SHORT)
    assert loaded((639, 480), 640) == (640, 480)
    short = [side for side in range(20, 6001) if loaded((side, 10), size)[0] != size]
    assert len(short) == 113
    assert set(SHORT) <= set(short)


def test_images_of_a_batch_share_the_shape_of_the_extreme_one():
    # By ratio: 0.5, 0.6 | 0.75, 1.5 | 2. The second batch has both kinds, so it is square.
    images = [(75, 100), (50, 100), (200, 100), (60, 100), (150, 100)]
    nets = batch_nets(images, 640, 32, batch=2)
    wide, square, tall = (416, 672), (672, 672), (672, 352)
    assert nets == [square, wide, tall, wide, square]
    assert net_of(0.5, 0.6, 640, 32) == wide


def test_batches_do_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(1)
    images = [tuple(size) for size in rng.integers(100, 700, (100, 2)).tolist()]
    nets = batch_nets(images, 640, 32)
    order = rng.permutation(100)
    shuffled = batch_nets([images[i] for i in order], 640, 32)
    assert shuffled == [nets[i] for i in order]


def test_a_batch_of_all_images_is_one_shape():
    assert set(batch_nets([(50, 100), (100, 50), (100, 100)], 640, 32, batch=3)) == {(672, 672)}


def test_every_image_is_smaller_than_its_net():
    rng = np.random.default_rng(2)
    images = [tuple(size) for size in rng.integers(1, 3000, (300, 2)).tolist()]
    for image, net in zip(images, batch_nets(images, 640, 32, batch=7), strict=True):
        place = place_in(image, 640, 32, net)
        assert min(place.top, place.bottom, place.left, place.right) > 0
        assert not any(side % 32 for side in net)


def test_size_is_rounded_up_to_the_grid():
    assert place_in((480, 640), 610, 32) == place_in((480, 640), 640, 32)
    assert net_of(1, 1, 610, 8) == (672, 672)  # a stride below 32 counts as 32


def test_half_a_stride_is_added_before_rounding_up():
    # 432 / 32 + 0.5 = 14 exactly; one row more makes 15
    assert net_of(432 / 640, 432 / 640, 640, 32) == (448, 672)
    assert net_of(433 / 640, 433 / 640, 640, 32) == (480, 672)


def test_large_images_shrink_by_areas_and_small_ones_grow_bilinearly():
    rng = np.random.default_rng(3)
    large = rng.integers(0, 256, (90, 160, 3), dtype=np.uint8)
    place = place_in((90, 160), 64, 32)
    inside = letterbox(large, place)[place.top :, place.left :][:36, :64]
    assert np.array_equal(inside, area.resize_fast(large, 36, 64))
    assert not np.array_equal(inside, resize.resize_fast(large, 36, 64))
    small = large[:20, :32]
    place = place_in((20, 32), 64, 32)
    inside = letterbox(small, place)[place.top :, place.left :][:40, :64]
    assert np.array_equal(inside, resize.resize_fast(small, 40, 64))


def test_a_line_of_pixels_keeps_at_least_one_row():
    assert place_in((1, 5000), 640, 32).resized == (1, 640)


def test_a_cell_is_found_by_this_protocol():
    # 64 x 96 lies in an input of 96 x 128, 16 rows down and 16 columns in: row 16, column 16 of
    # the image is on the grid of 32.
    image = np.zeros((64, 96, 3), np.uint8)
    image[16:48, 16:48] = 255
    protocol = replace(YOLOV7, size=96, conf=0.5)
    place = place_of((64, 96), protocol, 32)
    assert (place.net, place.top, place.left) == ((96, 128), 16, 16)
    assert predict(white_cells(), image, protocol).boxes.tolist() == [[16, 16, 48, 48]]


def test_the_batch_decides_where_an_image_lies():
    image = np.zeros((64, 96, 3), np.uint8)
    image[0:32, 16:48] = 255
    protocol = replace(YOLOV7, size=96, conf=0.5)
    assert len(predict(white_cells(), image, protocol)) == 0  # across two cells
    found = predict(white_cells(), image, protocol, net=(128, 128))
    assert found.boxes.tolist() == [[16, 0, 48, 32]]
