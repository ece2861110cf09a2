"""The demo's data: shapes by rule, tight boxes, splits that never meet, files as promised."""

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from refquant.detection.dataset import find_dataset
from weights import scene_files, scenes, shapes
from weights.shapes import CLASSES, CLUTTER, Pose

FOLDER = Path(scene_files.__file__).parent / "demo"
STRAIGHT = Pose(x=20, y=10, radius=5, angle=0, stretch=1, tilt=(0, 0))


@pytest.fixture(scope="module")
def annotations():
    return json.loads((FOLDER / "annotations" / "instances_val.json").read_text())


def test_a_worked_example_a_square_of_radius_five_covers_eight_and_a_half_pixels():
    # |x - 20| <= 0.85 * 5 = 4.25: pixels 16 ... 23 wholly, of 15 the point at 15.83 (15.75 on)
    share = shapes.coverage(shapes.square, STRAIGHT)
    left, top, _, _ = shapes.window(STRAIGHT)
    row = share[10 - top]
    covered = {left + int(i): round(float(row[i]) * 3) for i in np.flatnonzero(row)}
    assert covered == {15: 1, **dict.fromkeys(range(16, 24), 3), 24: 1}


def test_a_quarter_turn_takes_x_to_y():
    turned = STRAIGHT._replace(angle=np.pi / 2)
    x, y = shapes.place(turned, np.array([20.0]), np.array([15.0]))
    assert (round(float(x[0]), 12), round(float(y[0]), 12)) == (1.0, 0.0)


@pytest.mark.parametrize("shape", [*CLASSES.values(), *CLUTTER], ids=lambda shape: shape.__name__)
def test_no_shape_reaches_beyond_its_window(shape):
    grid = np.linspace(-shapes.REACH, shapes.REACH, 400)
    x, y = np.meshgrid(grid, grid)
    hit = shape(x, y)
    assert hit.any()
    # 1.32 is REACH less stretch exp(0.15) and perspective 1 / (1 - 0.15 * sqrt(2) * 0.9)
    assert np.hypot(x, y)[hit].max() < 1.32


def test_the_same_number_gives_the_same_scene_and_another_another():
    first, again, other = (scenes.scene("train", i) for i in (7, 7, 8))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, other.image)


def test_the_splits_do_not_meet():
    assert not np.array_equal(scenes.scene("train", 0).image, scenes.scene("val", 0).image)
    assert len(set(scenes.SPLITS.values())) == len(scenes.SPLITS)


def test_an_object_that_would_hide_half_of_another_is_not_painted():
    rng = np.random.default_rng(0)
    canvas = scenes.Canvas(scenes.ground(rng))
    below = Pose(x=80, y=80, radius=20, angle=0, stretch=1, tilt=(0, 0))
    assert scenes.paint(rng, canvas, shapes.square, below, True) == (63, 63, 97, 97)
    before = canvas.pixels.copy()
    beside = below._replace(x=97)
    assert scenes.paint(rng, canvas, shapes.square, beside, True) is None
    assert np.array_equal(canvas.pixels, before)
    apart = below._replace(x=125)
    assert scenes.paint(rng, canvas, shapes.square, apart, True) is not None


def test_the_shipped_images_are_those_of_the_hash(annotations):
    facts = json.loads((FOLDER.parent / "demo.json").read_text())
    assert scene_files.sha256_of(FOLDER) == facts["data_sha256"]


def test_the_hash_sees_one_byte_of_one_image(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_bytes(b"{}")
    hashes = set()
    for content in (b"one", b"two"):
        (tmp_path / "val" / "00000.png").write_bytes(content)
        hashes.add(scene_files.sha256_of(tmp_path))
    assert len(hashes) == 2
    assert hashlib.sha256(b"{}00000.pngone").hexdigest() in hashes


def test_the_validation_set_is_as_the_issue_wants_it(annotations):
    boxes = np.array([found["bbox"] for found in annotations["annotations"]])
    files = list(FOLDER.rglob("*.*"))
    assert len(annotations["images"]) >= 300
    assert len(annotations["categories"]) >= 8
    assert boxes[:, 2:].min() >= scenes.SHORTEST
    assert sum(path.stat().st_size for path in files) <= 3_000_000


def test_boxes_of_all_sizes_and_classes_are_there(annotations):
    boxes = np.array([found["bbox"] for found in annotations["annotations"]])
    side = np.sqrt(boxes[:, 2] * boxes[:, 3])
    counts = [(side < 24).sum(), ((side >= 24) & (side < 48)).sum(), (side >= 48).sum()]
    labels = np.bincount([found["category_id"] for found in annotations["annotations"]])[1:]
    assert min(counts) >= 200
    assert min(labels) >= 150


def test_the_data_set_demo_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = find_dataset("demo")
    assert len(dataset.images) == scene_files.VALIDATION_IMAGES
    assert [category.name for category in dataset.categories] == list(CLASSES)


@pytest.mark.parametrize("number", [0, 100, 359])
def test_the_generator_still_makes_the_shipped_files(annotations, number):
    facts = json.loads((FOLDER.parent / "demo.json").read_text())
    if (np.__version__, PIL.__version__) != (facts["numpy"], facts["pillow"]):
        pytest.skip(f"made with NumPy {facts['numpy']} and Pillow {facts['pillow']}")
    one = scenes.scene("val", number)
    x1, y1, x2, y2 = one.boxes.T
    mine = [a["bbox"] for a in annotations["annotations"] if a["image_id"] == number + 1]
    assert mine == np.stack((x1, y1, x2 - x1, y2 - y1), 1).tolist()
    photo = Image.open(FOLDER / "val" / f"{number:05d}.png").convert("RGB")
    assert np.array_equal(np.asarray(photo), one.image)
