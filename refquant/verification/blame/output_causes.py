"""Mistakes after the decode: what is done to finished predictions (N, rows, E).

E is x, y, w, h of a box's middle and size in pixels of the network's input, objectness, a score
for each class; rows are levels, anchors, rows and columns of the grid (ops/head.py). Each cause is
a Change of right predictions, or one after the other where ports do both.
"""

from collections.abc import Callable, Iterator

import numpy as np

from refquant.verification.blame.decode_causes import (
    Levels,
    Predicted,
    Predictions,
    joined,
    magnitudes,
    trials_of,
)
from refquant.verification.blame.trial import Array, Cause

Size = tuple[int, int]  # height and width of the network's input, in pixels
Change = Callable[[Array, Size], Array]


def boxes(change: Callable[[Array, Size], Array]) -> Change:
    """A change of the boxes alone, (N, rows, 4)."""
    return lambda p, size: np.concatenate([change(p[..., :4], size), p[..., 4:]], axis=2)


def divided(box: Array, size: Size) -> Array:
    return box / np.array([size[1], size[0]] * 2)


def divided_by_longer(box: Array, size: Size) -> Array:
    return box / max(size)


def corners(box: Array, size: Size) -> Array:
    """x1, y1, x2, y2."""
    middle, half = box[..., :2], box[..., 2:] / 2
    return np.concatenate([middle - half, middle + half], axis=2)


def top_left(box: Array, size: Size) -> Array:
    """x1, y1, w, h."""
    return np.concatenate([box[..., :2] - box[..., 2:] / 2, box[..., 2:]], axis=2)


def y_first(box: Array, size: Size) -> Array:
    return box[..., [1, 0, 3, 2]]


def y_first_of_middles(box: Array, size: Size) -> Array:
    return box[..., [1, 0, 2, 3]]


def sides_exchanged(box: Array, size: Size) -> Array:
    return box[..., [0, 1, 3, 2]]


def clipped(box: Array, size: Size) -> Array:
    """The corners clipped to the image."""
    limits = np.array([size[1], size[0]] * 2)
    low, high = np.split(np.clip(corners(box, size), 0, limits), 2, axis=2)
    return np.concatenate([(low + high) / 2, high - low], axis=2)


def whole(box: Array, size: Size) -> Array:
    return np.rint(box)


def multiplied(p: Array, size: Size) -> Array:
    """Class scores times objectness, which stays."""
    return np.concatenate([p[..., :5], p[..., 5:] * p[..., 4:5]], axis=2)


def multiplied_to_one(p: Array, size: Size) -> Array:
    """The same, and objectness set to 1."""
    y = multiplied(p, size)
    y[..., 4] = 1
    return y


def entries_first(p: Array, size: Size) -> Array:
    """(N, E, rows) in memory, taken as (N, rows, E)."""
    return np.ascontiguousarray(p.swapaxes(1, 2)).reshape(p.shape)


def objectness_last(p: Array, size: Size) -> Array:
    return np.concatenate([p[..., :4], p[..., 5:], p[..., 4:5]], axis=2)


def scores_first(p: Array, size: Size) -> Array:
    return np.concatenate([p[..., 4:], p[..., :4]], axis=2)


def then(*changes: Change) -> Change:
    """One after the other."""

    def all_of(p: Array, size: Size) -> Array:
        for change in changes:
            p = change(p, size)
        return p

    return all_of


CORNERS, SCORES = boxes(corners), (multiplied, multiplied_to_one)
DIVIDED = (boxes(divided), boxes(divided_by_longer))
Y_FIRST = boxes(y_first)
OUTPUTS: tuple[tuple[str, tuple[Change, ...]], ...] = (
    ("boxes divided by the input size", DIVIDED),
    ("boxes as corners", (CORNERS,)),
    ("boxes by their top left corner", (boxes(top_left),)),
    ("boxes as corners, divided by the input size", tuple(then(CORNERS, d) for d in DIVIDED)),
    ("x and y exchanged", (Y_FIRST, boxes(y_first_of_middles), then(CORNERS, Y_FIRST))),
    (
        "x and y exchanged, boxes as corners, divided by the input size",
        tuple(then(CORNERS, d, Y_FIRST) for d in DIVIDED),
    ),
    ("width and height exchanged", (boxes(sides_exchanged),)),
    ("boxes clipped to the image", (boxes(clipped),)),
    ("boxes in whole pixels", (boxes(whole),)),
    ("scores multiplied by objectness", SCORES),
    (
        "scores multiplied by objectness, boxes as corners",
        tuple(then(s, CORNERS) for s in SCORES),
    ),
    (
        "scores multiplied by objectness, boxes divided by the input size",
        tuple(then(s, d) for s in SCORES for d in DIVIDED),
    ),
    (
        "scores multiplied by objectness, boxes as corners, divided by the input size",
        tuple(then(s, CORNERS, d) for s in SCORES for d in DIVIDED),
    ),
    ("entries before rows (NER) taken as NRE", (entries_first,)),
    ("objectness behind the classes", (objectness_last,)),
    ("scores before boxes", (scores_first,)),
)


def changed(*changes: Change) -> Predictions:
    """Right predictions of the levels, changed. Their roundings are relative to what those of the
    right ones were, moved where the change moves them, or to the new numbers, if larger."""

    def predictions(levels: Levels) -> Iterator[Predicted]:
        right, magnitude = joined(levels.rows())
        rows, columns = levels.raw[0].shape[2:]
        size = (rows * levels.strides[0], columns * levels.strides[0])
        for change in changes:
            value = change(right, size)
            yield Predicted(value, np.maximum(change(magnitude, size), magnitudes(value)))

    return predictions


AFTER_DECODE = tuple((name, changed(*changes)) for name, changes in OUTPUTS)
OUTPUT_CAUSES = tuple(Cause(name, ("decode",), trials_of(made)) for name, made in AFTER_DECODE)
