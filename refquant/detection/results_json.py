"""Detections as COCO results: how they are made, ordered, read from files of strangers, written.

A result is {"image_id", "category_id", "bbox": [x, y, width, height], "score"}, in pixels. It is
made of the corners of a detection in float32, as in the public code, and rounded to decimals:

    width = x2 - x1,  height = y2 - y1                                           (1)
    x = (x1 + x2) / 2 - width / 2,  y = (y1 + y2) / 2 - height / 2               (2)
    bbox to 3 decimals, score to 5                                               (3)

(3) makes equal scores, and pycocotools lets the order of the list decide among them. Therefore
results always stand in one order: by image id, then by falling score, then by category id, then by
bbox. Two results that are equal in all of these are the same result twice.

Source  (1) to (3) are those of the public YOLOv7 test code.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.detection.coco_json import JsonObject, Picture, json_in, shown
from refquant.detection.dataset import DataSet
from refquant.detection.predict import Detections

Result = dict[str, Any]
TWO = np.float32(2.0)


def results_of(image: Picture, found: Detections, ids: Sequence[int | None]) -> list[Result]:
    """The detections as COCO results; `ids` gives the category of each class, None to drop it."""
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    sides = high - low  # (1)
    start = (low + high) / TWO - sides / TWO  # (2)
    boxes = np.concatenate((start, sides), axis=1).tolist()
    rows = zip(boxes, found.scores.tolist(), found.classes.tolist(), strict=True)
    return [
        {
            "image_id": image.id,
            "category_id": ids[label],
            "bbox": [round(value, 3) for value in box],
            "score": round(points, 5),  # (3)
        }
        for box, points, label in rows
        if ids[label] is not None
    ]


def in_order(results: Iterable[Result]) -> list[Result]:
    """The results in the order that the top of this file defines."""
    return sorted(results, key=place)


def place(result: Result) -> tuple[int, float, int, list[float]]:
    """The key by which results are ordered."""
    return result["image_id"], -result["score"], result["category_id"], result["bbox"]


def write_results(path: str | os.PathLike[str], results: Sequence[Result]) -> None:
    """Write a list of COCO results as JSON; the file appears whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")


def read_results(path: str | os.PathLike[str], dataset: DataSet) -> list[Result]:
    """COCO results that belong to a data set, in order; every value is checked."""
    path = Path(path)
    content = json_in(path)
    if not isinstance(content, list):
        raise BadInput(path, "is not a JSON list", "give COCO results")
    images = {image.id for image in dataset.images}
    categories = {category.id for category in dataset.categories}
    results = []
    for index, values in enumerate(content):
        where = f"{path}: [{index}]"
        if not isinstance(values, dict):
            raise BadInput(where, f"{shown(values)} is not a JSON object")
        results.append(checked(JsonObject(where, values), images, categories))
    return in_order(results)


def checked(item: JsonObject, images: set[int], categories: set[int]) -> Result:
    """A JSON object as a result, or BadInput with its place and value."""
    image, category = item.whole("image_id"), item.whole("category_id")
    if image not in images or category not in categories:
        what = f"image {image}" if image not in images else f"category {category}"
        raise BadInput(item.where, f"the data set has no {what}", "give results on this data")
    box = item.values.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise BadInput(item.where, f"bbox={shown(box)} is not [x, y, width, height]")
    start = [item.number("bbox", value) for value in box[:2]]
    sides = [item.number("bbox", value, 0) for value in box[2:]]
    score = item.number("score", item.values.get("score"))
    return {"image_id": image, "category_id": category, "bbox": start + sides, "score": score}
