"""The judgement of pycocotools on COCO results: the twelve numbers, and AP per class.

AP is the mean of the interpolated precision over the IoU thresholds 0.50, 0.55, ..., 0.95, over
the categories and over 101 recalls, with at most 100 detections per image and category; AP50 and
AP75 take a single threshold. s, m and l count the true boxes of an area up to 32**2 pixels, up to
96**2, and above. AR1, AR10 and AR100 are mean recalls with so many detections. A number for which
there is no true box is None, not -1.

Results are put into the order of results_json.py before they are judged, so the order of images
and detections changes nothing. An image that could not be read counts with all its true boxes, as
one in which nothing was found.

Source  pycocotools' COCOeval, iouType "bbox"; Lin et al. 2014, arXiv 1405.0312.
"""

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refquant.detection.dataset import DataSet
from refquant.detection.results_json import Result, in_order

NUMBERS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)


@dataclass(frozen=True)
class CocoStats:
    """COCO's twelve numbers for a model on a data set, and the detections that gave them.

    Every number is in [0, 1], or None where there is no true box to find.

    Parameters
    ----------
    AP : float or None
        The mean of the average precisions at the IoU thresholds 0.50, 0.55, ..., 0.95.
    AP50, AP75 : float or None
        The average precision at the IoU threshold 0.50, and at 0.75.
    APs, APm, APl : float or None
        AP over the objects of an area up to 32**2 pixels, up to 96**2, and above.
    AR1, AR10, AR100 : float or None
        The mean recall with at most 1, 10 and 100 detections per image and category.
    ARs, ARm, ARl : float or None
        AR100 over objects of the three ranges of areas.
    images : int
        The number of images.
    per_class : mapping of str to float or None
        AP by the name of the category.
    results : tuple of dict
        The detections as COCO results: "image_id", "category_id", "bbox" (x, y, width and height
        in pixels), "score"; in the order that results_json.py defines.
    failed : tuple of mapping, default: ()
        The name "image" and the line "error" of every image that could not be read, by ascending
        image id. Such an image counts as one in which nothing was found.
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
    failed: tuple[Mapping[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return everything but the results, as JSON can hold it."""
        numbers: dict[str, Any] = {name: getattr(self, name) for name in NUMBERS}
        failed = [dict(failure) for failure in self.failed]
        return numbers | {
            "images": self.images,
            "per_class": dict(self.per_class),
            "failed": failed,
        }


def score(
    dataset: DataSet, results: Iterable[Result], failed: Iterable[Mapping[str, str]] = ()
) -> CocoStats:
    """The judgement of COCO results over all images of the data set."""
    results = in_order(results)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        judge = matched(dataset, results)
        judge.accumulate()
        judge.summarize()
    numbers = dict(zip(NUMBERS, map(known, judge.stats.tolist()), strict=True))
    precision = judge.eval["precision"]  # (thresholds, recalls, categories, areas, detections)
    per_class = {}
    for k, category in enumerate(dataset.categories):
        values = precision[:, :, k, 0, -1]  # all areas, 100 detections
        per_class[category.name] = known(float(values.mean())) if (values > -1).all() else None
    return CocoStats(
        **numbers,
        images=len(dataset.images),
        per_class=per_class,
        results=tuple(results),
        failed=tuple(failed),
    )


def matched(dataset: DataSet, results: Sequence[Result], *, by_size: bool = True) -> Any:
    """pycocotools' COCOeval after `evaluate`: every result matched to a true box or to none.

    by_size=False leaves out the three ranges of areas, which takes a third of the time.
    """
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(true_boxes(dataset), found_boxes(dataset, results), "bbox")
        judge.params.imgIds = [image.id for image in dataset.images]
        judge.params.catIds = [category.id for category in dataset.categories]
        if not by_size:
            judge.params.areaRng = judge.params.areaRng[:1]
            judge.params.areaRngLbl = judge.params.areaRngLbl[:1]
        judge.evaluate()
    return judge


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
