"""Average precision: a model's detections on a data set, judged by pycocotools.

    predict(pixels) -> Detections      for every image, in any order, by any executor     (1)
    results_of(image, detections, ids) -> COCO results of that image                      (2)
    score(dataset, results) -> CocoStats                                                  (3)
    evaluate = (1), (2), (3)

A result is {"image_id", "category_id", "bbox": [x, y, width, height], "score"}: pixels rounded to
3 decimals, scores to 5, as the public code writes them; width and height are taken in float64.

AP is the mean, over IoU thresholds 0.50, 0.55, ..., 0.95, over categories and over 101 recalls, of
the interpolated precision, with at most 100 detections per image; AP50, AP75 take one threshold.
s, m, l count true boxes of an area up to 32**2, up to 96**2, and above. AR1, AR10, AR100 are mean
recalls with so many detections per image. What has no true box is None, not -1.

Results are put in order of image id before they are judged, so the order of the images, threads
and executors change nothing: among equal scores the lower image id comes first.
Source  pycocotools' COCOeval, iouType "bbox"; Lin et al. 2014, arXiv 1405.0312.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from refquant.arrays.errors import BadInput
from refquant.detect.coco_json import Picture
from refquant.detect.dataset import DataSet, match_classes
from refquant.detect.image import read_image
from refquant.detect.predict import PROTOCOLS, Detections, predict
from refquant.graph.graph import Model

NUMBERS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
CHUNK = 16  # images that an executor of processes sends together with one copy of the model
Result = dict[str, Any]
Predict = Callable[[Any], Detections]


@dataclass(frozen=True)
class CocoStats:
    """pycocotools' twelve numbers, each in [0, 1], or None where there is nothing to find.

    images     number of images          per_class  category name -> AP
    results    the detections in COCO's JSON form, by ascending image id
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    APs: float | None
    APm: float | None
    APl: float | None
    AR1: float | None
    AR10: float | None
    AR100: float | None
    ARs: float | None
    ARm: float | None
    ARl: float | None
    images: int
    per_class: Mapping[str, float | None]
    results: tuple[Result, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything but the results, as JSON can hold it."""
        numbers: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS}
        return numbers | {"images": self.images, "per_class": dict(self.per_class)}


def evaluate(
    model: Model,
    dataset: DataSet,
    *,
    protocol: str = "square",
    size: int = 640,
    conf: float = 0.001,
    iou: float = 0.65,
    nms: str = "exact",
    max_detections: int = 300,
    threads: int = 1,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CocoStats:
    """AP of a model on a data set; options as in Protocol.

    threads    of one forward pass, in this process
    executor   maps images; without one they run one after the other
    progress   is called with (images done, images in all) after every image
    """
    rules = replace(
        PROTOCOLS[protocol], size=size, conf=conf, iou=iou, nms=nms, most=max_detections
    )
    ids = match_classes(model.class_names, dataset)
    task = partial(
        predict_file, partial(predict, model, protocol=rules, threads=threads), dataset.folder
    )
    mapping = map if executor is None else partial(executor.map, chunksize=CHUNK)
    results: list[Result] = []
    for done, (image, found) in enumerate(
        zip(dataset.images, mapping(task, dataset.images), strict=True), 1
    ):
        results += results_of(image, found, ids)
        if progress:
            progress(done, len(dataset.images))
    return score(dataset, results)


def predict_file(predict: Predict, folder: Path, image: Picture) -> Detections:
    """Detections in one image of a data set; its size must be what the annotations say."""
    path = folder / image.file_name
    pixels = read_image(path)
    height, width = pixels.shape[:2]
    if (image.width or width, image.height or height) != (width, height):
        raise BadInput(
            path,
            f"is {width}x{height}, the annotations say {image.width}x{image.height}",
            "its boxes would not fit",
        )
    return predict(pixels)


def results_of(image: Picture, found: Detections, ids: Sequence[int | None]) -> list[Result]:
    """The detections as COCO results; `ids` has the category of every class, None to leave out."""
    results = []
    for corners, points, label in zip(found.boxes, found.scores, found.classes, strict=True):
        x1, y1, x2, y2 = corners.tolist()
        if ids[label] is None:
            continue
        results.append(
            {
                "image_id": image.id,
                "category_id": ids[label],
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(float(points), 5),
            }
        )
    return results


def score(dataset: DataSet, results: Iterable[Result]) -> CocoStats:
    """The judgement of pycocotools on COCO results, over all images of the data set."""
    from pycocotools.cocoeval import COCOeval

    results = sorted(results, key=lambda result: result["image_id"])  # stable
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        judge = COCOeval(true_boxes(dataset), found_boxes(dataset, results), "bbox")
        judge.params.imgIds = [image.id for image in dataset.images]
        judge.params.catIds = [category.id for category in dataset.categories]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    numbers = dict(zip(NUMBERS, map(known, judge.stats.tolist()), strict=True))
    precision = judge.eval["precision"]  # (thresholds, recalls, categories, areas, detections)
    per_class = {}
    for k, category in enumerate(dataset.categories):
        values = precision[:, :, k, 0, -1]  # all areas, 100 detections
        per_class[category.name] = known(float(values.mean())) if (values > -1).all() else None
    return CocoStats(
        **numbers, images=len(dataset.images), per_class=per_class, results=tuple(results)
    )


def known(value: float) -> float | None:
    """pycocotools' -1, "nothing to find", as None."""
    return None if value == -1 else value


def true_boxes(dataset: DataSet) -> Any:
    """The data set as pycocotools' COCO. Boxes are numbered from 1: it takes 0 for "no box"."""
    records = [
        truth._asdict() | {"id": number, "bbox": list(truth.bbox)}
        for number, truth in enumerate(dataset.truths, 1)
    ]
    return indexed(dataset, records)


def found_boxes(dataset: DataSet, results: Sequence[Result]) -> Any:
    """Results as pycocotools' COCO, what its own loadRes makes of them (which fails on none)."""
    records = [
        result | {"id": number, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for number, result in enumerate(results, 1)
    ]
    return indexed(dataset, records)


def indexed(dataset: DataSet, records: list[Result]) -> Any:
    """A COCO of these records over the data set's images and categories."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": image.id} for image in dataset.images],
        "categories": [category._asdict() for category in dataset.categories],
        "annotations": records,
    }
    coco.createIndex()
    return coco
