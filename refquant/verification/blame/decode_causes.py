"""Mistakes in the decode: sigmoid, grid, anchors, strides, order of rows (ops/head.py).

Each is the decode with one thing changed, at all levels or at one, computed in float64. Its bound
is ROUNDINGS times the largest number of the row's box, or 1 for scores: wider than that of a right
decode, and far below what a mistake does. Finished predictions: output_causes.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from refquant.graph.graph import Node, array_of
from refquant.ops.activation import sigmoid_math
from refquant.verification.blame.trial import Array, Cause, Inputs, Trial
from refquant.verification.enclosed import Enclosed

ROUNDINGS = 2.0**-19  # of a decode with float32 and H5's sigmoid, relative to each row's largest


class Style(NamedTuple):
    """How a decode is done; the defaults are right."""

    sigmoid: str = "all"  # what else there is: SIGMOIDS
    half: float = 0.5
    exchange_grid: bool = False
    exchange_sides: bool = False
    size: str = "square"  # "exp", "plain", "twice": (2p)**2, exp(raw), p, 2p
    rows: str = "AHW"
    strided: float = 1.0  # the stride is this times the right one; 0: there is none


RIGHT = Style()


def softmax(raw: Array) -> Array:
    """Over the classes, (N, A, classes, H, W)."""
    powers = np.exp(raw - raw.max(axis=2, keepdims=True))
    return powers / powers.sum(axis=2, keepdims=True)


def with_softmax(raw: Array, p: Array) -> Array:
    return np.concatenate([p[:, :, :5], softmax(raw[:, :, 5:])], axis=2)


def raw_at(first: int, last: int | None) -> Callable[[Array, Array], Array]:
    """p with the entries from first to last as they came, without a sigmoid."""

    def mixed(raw: Array, p: Array) -> Array:
        y = p.copy()
        y[:, :, first:last] = raw[:, :, first:last]
        return y

    return mixed


# From the raw entries (N, A, E, H, W) and their sigmoids.
SIGMOIDS: dict[str, Callable[[Array, Array], Array]] = {
    "all": lambda raw, p: p,
    "none": lambda raw, p: raw,
    "scores": raw_at(0, 4),
    "boxes": raw_at(4, None),
    "boxes and classes": raw_at(4, 5),
    "boxes and objectness": raw_at(5, None),
    "softmax": with_softmax,
    "twice": lambda raw, p: sigmoid_math(p),
    "scores twice": lambda raw, p: np.concatenate([p[:, :, :4], sigmoid_math(p[:, :, 4:])], 2),
}


def level_of(raw: Array, anchors: Array, stride: float, style: Style = RIGHT) -> Array:
    """The rows (N, A*H*W, E) of a level: raw (N, A*E, H, W), anchors (A, 2)."""
    N, channels, H, W = raw.shape
    A = len(anchors)
    raw = raw.reshape(N, A, channels // A, H, W)
    y = SIGMOIDS[style.sigmoid](raw, sigmoid_math(raw)).copy()
    column, row = np.meshgrid(np.arange(W), np.arange(H))
    if style.exchange_grid:
        column, row = row, column
    box, scale = y[:, :, :4].copy(), stride * style.strided if style.strided else 1.0
    y[:, :, 0] = (2 * box[:, :, 0] - style.half + column) * scale
    y[:, :, 1] = (2 * box[:, :, 1] - style.half + row) * scale
    side = {
        "square": (2 * box[:, :, 2:4]) ** 2,
        "exp": np.exp(np.clip(raw[:, :, 2:4], -50, 50)),
        "plain": box[:, :, 2:4],
        "twice": 2 * box[:, :, 2:4],
    }[style.size]
    pairs = anchors[:, ::-1] if style.exchange_sides else anchors
    y[:, :, 2:4] = side * pairs[:, :, None, None]
    order = {"AHW": (0, 1, 3, 4, 2), "HWA": (0, 3, 4, 1, 2), "AWH": (0, 1, 4, 3, 2)}[style.rows]
    return y.transpose(order).reshape(N, -1, channels // A)


class Levels(NamedTuple):
    """What a decode takes: raw maps, anchors (L, A, 2), strides."""

    raw: Sequence[Array]
    anchors: Array
    strides: tuple[int, ...]

    def rows(self, style: Style = RIGHT) -> list[Array]:
        """The rows of each level, decoded in a style."""
        return [
            level_of(raw, a, stride, style)
            for raw, a, stride in zip(self.raw, self.anchors, self.strides, strict=True)
        ]


def levels_of(node: Node, inputs: Inputs) -> Levels:
    """The levels of a decode, from its inputs."""
    anchors = np.asarray(array_of(node.arrays["anchors"]), np.float64)
    return Levels([x.value for x in inputs], anchors, node.attributes["strides"])


class Predicted(NamedTuple):
    """Predictions, and what the roundings of each number are relative to."""

    value: Array
    magnitude: Array


def joined(rows: Sequence[Array]) -> Predicted:
    """The rows of all levels."""
    value = np.concatenate(rows, axis=1)
    return Predicted(value, magnitudes(value))


def magnitudes(value: Array) -> Array:
    """What roundings are relative to: of a box its largest number, of a score 1 or itself."""
    largest = np.maximum(1, abs(value))
    largest[..., :4] = largest[..., :4].max(axis=2, keepdims=True)
    return largest


Predictions = Callable[[Levels], Iterator[Predicted]]


def styled(*styles: Style) -> Predictions:
    """All levels in a style."""

    def predictions(levels: Levels) -> Iterator[Predicted]:
        for style in styles:
            yield joined(levels.rows(style))

    return predictions


def with_anchors(change: Callable[[Levels], Iterator[Array]]) -> Predictions:
    """All levels, with other anchors (L, A, 2)."""

    def predictions(levels: Levels) -> Iterator[Predicted]:
        for anchors in change(levels):
            yield joined(levels._replace(anchors=anchors).rows())

    return predictions


def orders(count: int) -> Iterator[list[int]]:
    """Every order but the right one."""
    yield from (list(o) for o in permutations(range(count)) if list(o) != sorted(o))


def anchor_orders(levels: Levels) -> Iterator[Array]:
    yield from (levels.anchors[:, order] for order in orders(levels.anchors.shape[1]))


def anchors_of_levels(levels: Levels) -> Iterator[Array]:
    yield from (levels.anchors[order] for order in orders(len(levels.anchors)))


def anchors_in_cells(levels: Levels) -> Iterator[Array]:
    strides = np.array(levels.strides, float)[:, None, None]
    yield from (levels.anchors / strides, levels.anchors * strides)


def anchors_of_one(levels: Levels) -> Iterator[Array]:
    """One level with another's anchors, its own in another order, or their sides exchanged."""
    for i, own in enumerate(levels.anchors):
        others = [levels.anchors[j] for j in range(len(levels.anchors)) if j != i]
        others += [own[order] for order in orders(len(own))] + [own[:, ::-1]]
        others += [own / levels.strides[i], own * levels.strides[i], own / 2, own * 2]
        for other in others:
            yield np.concatenate([levels.anchors[:i], other[None], levels.anchors[i + 1 :]])


def one_level(*styles: Style) -> Predictions:
    """One level in a style, the others right."""

    def predictions(levels: Levels) -> Iterator[Predicted]:
        right = levels.rows()
        for i, (raw, anchors, stride) in enumerate(
            zip(levels.raw, levels.anchors, levels.strides, strict=True)
        ):
            for style in styles:
                other = level_of(raw, anchors, stride, style)
                yield joined([*right[:i], other, *right[i + 1 :]])

    return predictions


def level_order(levels: Levels) -> Iterator[Predicted]:
    """Rows of the levels in another order."""
    rows = levels.rows()
    yield from (joined([rows[i] for i in o]) for o in orders(len(rows)))


def trials_of(predictions: Predictions) -> Callable[[Node, Inputs], Iterator[Trial]]:
    """The trials of a decode whose results are those predictions."""

    def trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
        carried = max(float(x.bound.max()) for x in inputs)
        for value, magnitude in predictions(levels_of(node, inputs)):
            y = Enclosed(value, (ROUNDINGS + carried) * magnitude)
            yield Trial(replace(node, op="concat", attributes={}), [y])

    return trials


ONE_GRID = (Style(exchange_grid=True), Style(half=0.0), Style(half=1.0), Style(half=-0.5))
DECODES: tuple[tuple[str, Predictions], ...] = (
    ("sigmoid missing in the decode", styled(Style("none"), Style("scores"))),
    (
        "confidences as logits",
        styled(Style("boxes"), Style("boxes and classes"), Style("boxes and objectness")),
    ),
    ("softmax over the classes", styled(Style("softmax"))),
    ("sigmoid applied twice", styled(Style("twice"), Style("scores twice"))),
    ("grid without its half cell", styled(*ONE_GRID[1:])),
    ("grid order: x and y exchanged", styled(Style(exchange_grid=True))),
    ("grid of one level", one_level(*ONE_GRID)),
    ("anchor width and height exchanged", styled(Style(exchange_sides=True))),
    ("anchor order within a level", with_anchors(anchor_orders)),
    ("anchors of another level", with_anchors(anchors_of_levels)),
    ("anchors in cells for pixels", with_anchors(anchors_in_cells)),
    ("anchors of one level", with_anchors(anchors_of_one)),
    (
        "width and height of another formula",
        styled(*(Style(size=k) for k in ("exp", "plain", "twice"))),
    ),
    ("boxes not multiplied by the stride", styled(Style(strided=0.0))),
    ("stride of one level", one_level(*(Style(strided=k) for k in (0.0, 0.5, 2.0)))),
    ("rows of the grid in another order", styled(Style(rows="HWA"), Style(rows="AWH"))),
    ("levels in another order", level_order),
)
DECODE_CAUSES = tuple(Cause(name, ("decode",), trials_of(made)) for name, made in DECODES)
