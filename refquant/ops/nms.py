"""From predictions to detections: candidates, and greedy non-maximum suppression (NMS).

predictions (rows, 5 + K) float32: centre x, centre y, width, height (pixels), objectness, classes
boxes (D, 4) float32, x1 y1 x2 y2 in pixels;  scores (D,) float32;  classes (D,) int64

Candidates, in float32, every comparison strict:
    keep rows with objectness > conf                                             (1)
    score_k = objectness * class_k;  a single class: score = objectness          (2)
    x1 = cx - w / 2,  y1 = cy - h / 2,  x2 = cx + w / 2,  y2 = cy + h / 2        (3)
    multi-label: one candidate per row and class with score_k > conf; otherwise
    the first best class of every row, if its score > conf                       (4)
    candidates with a corner that is not finite are dropped                      (5)
    of more than 30000 candidates the 30000 best stay                            (6)
A candidate's index is its place in this order: by row, then by class.

NMS, over the candidates by score, best first, and by index where scores are equal:
    keep a candidate unless IoU(candidate, kept) > iou for a box kept before it
    that is in its group; stop at 300                                            (7)
    A = (x2 - x1) * (y2 - y1)
    inter = max(0, min(x2, x2') - max(x1, x1')) * max(0, min(y2, y2') - max(y1, y1'))
    IoU = inter / ((A + A') - inter)      all in float32, compared in float64    (8)
0/0 is NaN and suppresses nothing: two equal boxes without area are both kept.

Modes   exact    a group is a class: boxes of different classes never meet. The default.
        compat   one group, 4096 * class added to every corner in float32, as the public code does:
                 corners lose up to 1/64 pixel in class 79, and a box 4096 pixels off in both
                 axes meets the boxes of another class
Ties, and hence the result, do not depend on the order of memory: the sort is stable.
Ranks   these equations > nms_ref > nms_fast.  Source: the public YOLOv7 code, without its clock.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput

MOST_CANDIDATES = 30_000
MOST_DETECTIONS = 300
CLASS_OFFSET = np.float32(4096)
MODES = ("exact", "compat")
ZERO, TWO = np.float32(0.0), np.float32(2.0)
Float32 = NDArray[np.float32]


class Candidates(NamedTuple):
    """Boxes with a score and a class each; shapes and dtypes as in the file's docstring."""

    boxes: Float32
    scores: Float32
    classes: NDArray[np.int64]

    def take(self, indices: NDArray) -> "Candidates":
        """The candidates at the indices, in their order."""
        return Candidates(*(array[indices] for array in self))


def candidates(
    predictions: Float32, *, conf: float, multi_label: bool, most: int = MOST_CANDIDATES
) -> Candidates:
    """The candidates by (1) to (6), for a `conf` in [0, 1].

    NaN passes no comparison, and a row with a NaN among its scores has no best class.
    """
    predictions = np.asarray(predictions, np.float32)
    if predictions.ndim != 2 or predictions.shape[1] < 6:
        raise BadInput("predictions", f"shape {predictions.shape} is not (rows, 5 + classes)")
    threshold = np.float32(within_unit("conf", conf))
    rows = predictions[predictions[:, 4] > threshold]  # (1)
    half = rows[:, 2:4] / TWO
    with np.errstate(all="ignore"):  # what is not finite goes at (4) and (5)
        scores = rows[:, 4:5] * rows[:, 5:] if rows.shape[1] > 6 else rows[:, 4:5]  # (2)
        boxes = np.concatenate((rows[:, :2] - half, rows[:, :2] + half), axis=1)  # (3)
    if multi_label:
        row, label = np.nonzero(scores > threshold)  # (4)
    else:
        best = np.argmax(scores, axis=1)
        row = np.flatnonzero(scores[np.arange(len(rows)), best] > threshold)
        label = best[row]
    finite = np.isfinite(boxes[row]).all(axis=1)  # (5)
    row, label = row[finite], label[finite]
    found = Candidates(boxes[row], scores[row, label], label)
    return found.take(np.sort(by_score(found.scores)[:most]))  # (6)


def within_unit(name: str, value: float) -> float:
    """Give the value back if it lies in [0, 1], and refuse it otherwise."""
    if not 0 <= value <= 1:
        raise BadInput(f"{name}={value}", "choose a number from 0 to 1")
    return value


def by_score(scores: Float32) -> NDArray[np.int64]:
    """Indices by score, the best first; of equal scores the lower index comes first."""
    return np.argsort(-scores, kind="stable")


def nms(
    found: Candidates, *, iou: float, mode: str = "exact", most: int = MOST_DETECTIONS
) -> Candidates:
    """The detections among the candidates, best first, boxes as they came. `iou` in [0, 1]."""
    within_unit("iou", iou)
    boxes, groups = grouped(found, mode)
    return found.take(nms_fast(boxes, found.scores, groups, iou, most))


def grouped(found: Candidates, mode: str) -> tuple[Float32, NDArray[np.int64]]:
    """The boxes that NMS compares, and the group of each."""
    if mode == "exact":
        return found.boxes, found.classes
    if mode == "compat":
        offset = found.classes.astype(np.float32) * CLASS_OFFSET
        return found.boxes + offset[:, None], np.zeros_like(found.classes)
    raise BadInput(f"nms={mode!r}", f"choose {' | '.join(MODES)}")


def nms_ref(
    boxes: Float32, scores: Float32, groups: NDArray[np.int64], iou: float, most: int
) -> NDArray[np.int64]:
    """The indices that are kept, best first: (7) word by word."""
    kept: list[int] = []
    for i in by_score(scores):
        rivals = [j for j in kept if groups[j] == groups[i]]
        if len(kept) < most and not any(overlap(boxes[j], boxes[i : i + 1]) > iou for j in rivals):
            kept.append(int(i))
    return np.array(kept, np.int64)


def nms_fast(
    boxes: Float32, scores: Float32, groups: NDArray[np.int64], iou: float, most: int
) -> NDArray[np.int64]:
    """The same from the other side: every kept box strikes out, at once, those it suppresses."""
    order = by_score(scores)
    boxes, groups = boxes[order], groups[order]
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    i = 0
    while len(kept) < most and i < len(order):
        kept.append(i)
        later = i + 1 + np.flatnonzero(alive[i + 1 :] & (groups[i + 1 :] == groups[i]))
        alive[later[overlap(boxes[i], boxes[later]) > iou]] = False
        following = alive[i + 1 :]
        i += 1 + (int(np.argmax(following)) if following.any() else len(following))
    return order[kept]


def overlap(box: Float32, others: Float32) -> NDArray[np.float64]:
    """(8), the IoU of a box (4,) with others (D, 4): float32 numbers, as float64 to compare."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    with np.errstate(all="ignore"):  # boxes of any size, with or without area
        inter = np.maximum(ZERO, high - low).prod(axis=1, dtype=np.float32)
        area = (box[2] - box[0]) * (box[3] - box[1])
        areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
        return (inter / ((area + areas) - inter)).astype(np.float64)
