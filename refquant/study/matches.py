"""What pycocotools decided about each detection, as arrays that can be counted again and again.

Matching detections to true boxes concerns one image at a time; only counting them up concerns the
whole data set. So a data set of other images, or of some images twice, needs no new matching: it
needs the counts with other weights (bootstrap.py).

Detections stand by category, then by falling score, then by image id and in the order of the
results, which is the order in which pycocotools counts them; at most 100 per image and category.

    image     (D,) int32        index of the detection's image
    verdict   (T, D) int8       at each IoU threshold 0.50, 0.55, ..., 0.95: RIGHT, FALSE, or
                                IGNORED (matched to a crowd region)
    start     (K + 1,) int64    detections of category k are start[k] ... start[k + 1] - 1
    truths    (K, I) float64    number of true boxes, crowd regions apart
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.detection.dataset import DataSet
from refquant.detection.results_json import Result, in_order
from refquant.detection.score import matched

RIGHT, FALSE, IGNORED = 1, 0, -1


class Matches(NamedTuple):
    """The arrays of the file's docstring."""

    image: NDArray[np.int32]
    verdict: NDArray[np.int8]
    start: NDArray[np.int64]
    truths: NDArray[np.float64]

    @property
    def images(self) -> int:
        return self.truths.shape[1]


def matches_of(dataset: DataSet, results: Iterable[Result]) -> Matches:
    """pycocotools' decisions about COCO results, boxes of all sizes."""
    judge = matched(dataset, in_order(results), by_size=False)
    images, most = len(judge.params.imgIds), judge.params.maxDets[-1]
    # evalImgs is a list by category, then by image.
    by_category = [
        judge.evalImgs[k * images : (k + 1) * images] for k in range(len(judge.params.catIds))
    ]
    parts = [category_matches(found, len(judge.params.iouThrs), most) for found in by_category]
    return Matches(
        np.concatenate([image for image, _ in parts]).astype(np.int32),
        np.ascontiguousarray(np.concatenate([verdict for _, verdict in parts], axis=1)),
        np.concatenate(([0], np.cumsum([len(image) for image, _ in parts]))).astype(np.int64),
        np.array([[true_count(found) for found in row] for row in by_category], np.float64),
    )


def category_matches(
    found: list[dict[str, Any] | None], thresholds: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Image indices (D,) and verdicts (T, D) of one category, best scores first."""
    images, scores = [np.empty(0, np.int64)], [np.empty(0)]
    verdicts = [np.empty((thresholds, 0), np.int8)]
    for i, entry in enumerate(found):
        if entry is None:  # neither detections nor true boxes
            continue
        scores.append(np.array(entry["dtScores"][:most], np.float64))
        images.append(np.full(len(scores[-1]), i))
        right = np.where(entry["dtMatches"][:, :most] != 0, RIGHT, FALSE)
        verdict = np.where(entry["dtIgnore"][:, :most] != 0, IGNORED, right)
        verdicts.append(verdict.astype(np.int8).reshape(thresholds, -1))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return np.concatenate(images)[order], np.concatenate(verdicts, axis=1)[:, order]


def true_count(entry: dict[str, Any] | None) -> int:
    """True boxes that count, in one image and category."""
    return 0 if entry is None else int((np.asarray(entry["gtIgnore"]) == 0).sum())
