"""COCO results: the public rounding, the one order, files of strangers."""

import json
from pathlib import Path

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.detection.coco_json import Category, Picture
from refquant.detection.dataset import DataSet
from refquant.detection.predict import Detections
from refquant.detection.results_json import in_order, read_results, results_of, write_results

IMAGES = (Picture(1, "a", None, None), Picture(2, "b", None, None))
DATA = DataSet("data", Path("."), IMAGES, (), (Category(3, "cat"), Category(8, "dog")))


def result(image, category, bbox, points):
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": points}


def test_corners_become_start_and_sides_in_float32():
    # 100.1 and 100.2 as float32: the width is 0.09999847 and not 0.1; x = 100.15 - 0.05
    found = Detections(
        np.array([[100.1, 0, 100.2, 0.0005]], np.float32), np.float32([0.123455]), np.array([0])
    )
    (only,) = results_of(IMAGES[0], found, (3,))
    assert only == result(1, 3, [100.1, 0.0, 0.1, 0.001], 0.12346)


def test_the_start_is_the_middle_minus_half_the_side():
    rng = np.random.default_rng(1)
    corners = np.sort(rng.uniform(0, 640, (500, 2, 2)), axis=1).reshape(500, 4)
    found = Detections(corners.astype(np.float32), np.float32([0.5] * 500), np.zeros(500, int))
    x1, x2 = found.boxes[:, 0], found.boxes[:, 2]
    x = (x1 + x2) / np.float32(2) - (x2 - x1) / np.float32(2)
    written = [r["bbox"][0] for r in results_of(IMAGES[0], found, (3,))]
    assert written == [round(float(value), 3) for value in x]
    # which is not always x1 itself, rounded
    assert written != [round(float(value), 3) for value in x1]


def test_no_detections_give_no_results():
    nothing = Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, int))
    assert results_of(IMAGES[0], nothing, (3,)) == []


def test_the_order_is_image_then_score_then_category_then_box():
    ordered = [
        result(1, 8, [5, 5, 5, 5], 0.9),
        result(1, 3, [1, 2, 5, 5], 0.5),
        result(1, 3, [1, 3, 5, 5], 0.5),
        result(1, 8, [0, 0, 5, 5], 0.5),
        result(2, 3, [0, 0, 5, 5], 0.7),
    ]
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(5)
        assert in_order(ordered[i] for i in order) == ordered


def test_what_is_written_is_read_again(tmp_path):
    results = [result(1, 8, [0.125, 5.0, 0.0, 1e-3], 0.9), result(2, 3, [1.0, 2.0, 3.0, 4.0], 0.5)]
    write_results(tmp_path / "r.json", results)
    assert json.loads((tmp_path / "r.json").read_text()) == results
    assert read_results(tmp_path / "r.json", DATA) == results


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("{}", "is not a JSON list"),
        ("[1]", r"\[0\]: 1 is not a JSON object"),
        (json.dumps([result(7, 3, [0, 0, 1, 1], 0.5)]), "the data set has no image 7"),
        (json.dumps([result(1, 4, [0, 0, 1, 1], 0.5)]), "the data set has no category 4"),
        (json.dumps([result(1, 3, [0, 0, -1, 1], 0.5)]), "bbox=-1"),
        (json.dumps([result(1, 3, [0, 0, 1], 0.5)]), "bbox="),
        ('[{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1], "score": NaN}]', "score=nan"),
        (json.dumps([result(1, 3, [0, 0, 1, 1], "high")]), "score='high'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, content, words):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(BadInput, match=words):
        read_results(tmp_path / "r.json", DATA)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_results(tmp_path / "no.json", DATA)
