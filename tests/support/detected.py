"""Small data sets and results by hand, and random ones with everything that AP has to sort out."""

from pathlib import Path

import numpy as np

from refquant.detection.coco_json import Category, Picture, Truth
from refquant.detection.dataset import DataSet

CATEGORIES = (Category(3, "cat"), Category(8, "dog"))


def result(image, category, bbox, points=0.5):
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": points}


def data(*truths, images=(1, 2)):
    pictures = tuple(Picture(key, f"{key}.png", None, None) for key in images)
    return DataSet("data", Path("."), pictures, truths, CATEGORIES)


def truth(image, category, bbox, iscrowd=0):
    return Truth(image, category, tuple(bbox), bbox[2] * bbox[3], iscrowd)


def random_case(seed):
    """A data set of 12 images and results that are its boxes, moved, lost, doubled, misnamed."""
    rng = np.random.default_rng(seed)
    truths, results = [], []
    for image in range(1, 13):
        for _ in range(rng.integers(0, 6)):
            bbox = np.round(rng.uniform((0, 0, 5, 5), (300, 300, 200, 200)), 2)
            category = int(rng.choice([3, 8]))
            truths.append(truth(image, category, bbox.tolist(), int(rng.random() < 0.1)))
            for _ in range(rng.integers(0, 3)):
                moved = np.round(bbox + rng.normal(0, 8, 4), 3)
                moved[2:] = np.maximum(moved[2:], 1)
                points = round(float(rng.random()), 1)  # many equal scores
                results.append(
                    result(image, int(rng.choice([category] * 4 + [3, 8])), moved.tolist())
                )
                results[-1]["score"] = points
    return data(*truths, images=tuple((rng.permutation(12) + 1).tolist())), results
