"""From an image to detections, on a detector computed by hand, and on real photographs."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from white_cells import scene, white_cells

import refquant.detection.predict
from refquant.arrays.errors import BadInput
from refquant.detection.image import read_image
from refquant.detection.predict import (
    DETECT,
    PROTOCOLS,
    SQUARE,
    YOLOV7,
    Protocol,
    detect,
    forward,
    predict,
)

MODEL = white_cells()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_one_white_cell_is_found_where_it_is():
    found = detect(MODEL, scene(64, 96, (1, 2)), size=96)
    assert found.boxes.tolist() == [[64, 32, 96, 64]]
    assert found.classes.tolist() == [0]
    # objectness logit 40 - 30 = 10, class logit 4; 2e-6 is above the error of float32
    assert found.scores[0] == pytest.approx(sigmoid(10) * sigmoid(4), abs=2e-6)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)


def test_a_black_image_holds_nothing():
    found = detect(MODEL, scene(64, 64), size=64)
    assert len(found) == 0
    assert (found.boxes.shape, found.classes.shape) == ((0, 4), (0,))


def test_boxes_are_in_pixels_of_the_image_whatever_its_size():
    # 128x192 pixels shrink by half, 32x48 are doubled: the cell moves with the image.
    image = np.kron(scene(64, 96, (1, 2)), np.ones((2, 2, 1), np.uint8))
    assert detect(MODEL, image, size=96).boxes.tolist() == [[128, 64, 192, 128]]


def test_the_square_has_bars_that_do_not_move_the_boxes():
    # Bars of 16 rows: a white cell in the middle of 64 rows lies on the grid of 96.
    image = scene(96, 96, (1, 1))[16:80]
    found = detect(MODEL, image, size=96, rectangle=False)
    assert found.boxes.tolist() == [[32, 16, 64, 48]]


def test_multi_label_gives_a_box_for_each_class():
    one = detect(MODEL, scene(32, 32, (0, 0)), size=32)
    two = detect(MODEL, scene(32, 32, (0, 0)), size=32, multi_label=True)
    assert one.classes.tolist() == [0]
    assert two.classes.tolist() == [0, 1]
    assert two.scores[1] == pytest.approx(sigmoid(10) * sigmoid(0), abs=2e-6)


def test_conf_is_a_strict_bound():
    score = float(detect(MODEL, scene(32, 32, (0, 0)), size=32).scores[0])
    assert len(detect(MODEL, scene(32, 32, (0, 0)), size=32, conf=score)) == 0
    below = float(np.nextafter(np.float32(score), np.float32(0)))
    assert len(detect(MODEL, scene(32, 32, (0, 0)), size=32, conf=below)) == 1


def test_most_limits_the_detections():
    image = scene(64, 64, (0, 0), (0, 1), (1, 0), (1, 1))
    assert len(predict(MODEL, image, replace(DETECT, size=64))) == 4
    assert len(predict(MODEL, image, replace(DETECT, size=64, most=3))) == 3


@pytest.mark.parametrize("mode", ["exact", "compat"])
def test_the_mode_of_nms_is_passed_on(monkeypatch, mode):
    modes = []
    plain = refquant.detection.predict.nms

    def spy(*arguments, **options):
        modes.append(options["mode"])
        return plain(*arguments, **options)

    monkeypatch.setattr(refquant.detection.predict, "nms", spy)
    detect(MODEL, scene(32, 32), size=32, nms=mode)
    assert modes == [mode]


def test_the_way_back_is_passed_on():
    image = scene(96, 96, (1, 1))[15:80]  # 65 rows: bars of 15 and 16
    protocol = Protocol("odd", size=96, rectangle=False)
    exact = predict(MODEL, image, replace(protocol, back="exact"))
    compat = predict(MODEL, image, replace(protocol, back="compat"))
    assert exact.boxes.tolist() == [[32, 17, 64, 49]]
    assert compat.boxes.tolist() == [[32, 16.5, 64, 48.5]]


def test_a_path_serves_as_well_as_pixels(tmp_path):
    image = scene(64, 96, (0, 1))
    Image.fromarray(image).save(tmp_path / "a.png")
    assert detect(MODEL, tmp_path / "a.png", size=96).boxes.tolist() == [[32, 0, 64, 32]]
    assert detect(MODEL, str(tmp_path / "a.png"), size=96).boxes.tolist() == [[32, 0, 64, 32]]


def test_size_is_rounded_up_to_the_stride():
    image = scene(64, 96, (0, 1))
    assert detect(MODEL, image, size=65).boxes.tolist() == [[32, 0, 64, 32]]


def test_every_arithmetic_finds_the_same_cell():
    for arithmetic in ("fast", "ref", "math"):
        found = predict(
            MODEL, scene(32, 64, (0, 1)), replace(DETECT, size=64), arithmetic=arithmetic
        )
        assert found.boxes.tolist() == [[32, 0, 64, 32]]


def test_forward_gives_the_predictions():
    x = np.zeros((2, 3, 32, 64), np.float32)
    y = forward(MODEL, x)
    assert (y.shape, y.dtype) == ((2, 2, 7), np.float32)
    assert y[1, 1, :4].tolist() == [48, 16, 32, 32]


def test_the_named_protocols_are_the_documented_ones():
    assert list(PROTOCOLS) == ["detect", "square", "yolov7"]
    assert (YOLOV7.conf, YOLOV7.iou, YOLOV7.multi_label, YOLOV7.most) == (0.001, 0.65, True, 300)
    assert (YOLOV7.nms, YOLOV7.back, YOLOV7.batch) == ("compat", "stored", 32)
    assert (SQUARE.conf, SQUARE.iou, SQUARE.multi_label, SQUARE.most) == (0.001, 0.65, True, 300)
    assert (DETECT.conf, DETECT.iou, DETECT.multi_label, DETECT.rectangle) == (
        0.25,
        0.45,
        False,
        True,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conf": 2}, "conf=2"),
        ({"iou": -1}, "iou=-1"),
        ({"size": 0}, "size=0"),
        ({"size": 10**6}, "size=1000000"),
        ({"size": 64.5}, "size=64.5"),
        ({"size": 640.0}, "size=640.0: choose a whole number"),
        ({"threads": 0}, "threads=0"),
        ({"nms": "soft"}, r"choose exact \| compat"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(BadInput, match=words):
        detect(MODEL, scene(32, 32), **options)


@pytest.mark.parametrize("name", ["size", "most", "batch"])
def test_whole_numbers_of_a_protocol_may_be_numpys_and_may_not_be_floats(name):
    assert Protocol("x", **{name: np.int64(64)}) == Protocol("x", **{name: 64})
    with pytest.raises(BadInput, match=rf"^{name}=64\.0: choose a whole number$"):
        Protocol("x", **{name: 64.0})


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), scene(0, 5)])
def test_pixels_of_another_kind_are_refused(image):
    with pytest.raises(BadInput, match="is not uint8"):
        detect(MODEL, image)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photo", "expected"),
    [("bus.jpg", {"bus": 1, "person": 3}), ("zidane.jpg", {"person": 2})],
)
def test_real_photographs_show_what_is_in_them(real, photo, expected):
    checkpoint = pytest.importorskip("refquant.formats.torch.checkpoint")
    model = checkpoint.read(real / "weights" / "yolov5n_v6.0.pt")
    found = detect(model, read_image(real / "photos" / photo), conf=0.4, threads=2)
    names = [model.class_names[label] for label in found.classes]
    assert all(names.count(name) >= count for name, count in expected.items())
