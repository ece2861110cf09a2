"""Mistakes in the decode: sigmoid, grid, anchors, strides, order of rows (ops/head.py).

Each is the decode with one thing changed, computed in float64. Its bound is ROUNDINGS times the
largest number of the row: wider than that of a right decode, and far below what a mistake does.
"""

from collections.abc import Callable, Iterator
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

    sigmoid: str = "all"  # "none", "boxes", "scores"
    half: float = 0.5
    exchange_grid: bool = False
    exchange_sides: bool = False
    size: str = "square"  # "exp", "plain", "twice": (2p)**2, exp(raw), p, 2p
    rows: str = "AHW"
    anchors: str = ""
    strided: bool = True


def decoded(levels: Inputs, anchors: Array, strides: tuple[int, ...], style: Style) -> Array:
    """Predictions (N, rows, E) in that style."""
    parts = [
        level_of(x.value, a, stride, style)
        for x, a, stride in zip(levels, anchors, strides, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def level_of(raw: Array, anchors: Array, stride: int, style: Style) -> Array:
    N, channels, H, W = raw.shape
    A = len(anchors)
    raw = raw.reshape(N, A, channels // A, H, W)
    p = sigmoid_math(raw)
    y = (raw if style.sigmoid == "none" else p).copy()
    if style.sigmoid == "boxes":
        y[:, :, 4:] = raw[:, :, 4:]
    elif style.sigmoid == "scores":
        y[:, :, :4] = raw[:, :, :4]
    column, row = np.meshgrid(np.arange(W), np.arange(H))
    if style.exchange_grid:
        column, row = row, column
    box, scale = y[:, :, :4].copy(), stride if style.strided else 1
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


def styled(*styles: Style) -> Callable[[Node, Inputs], Iterator[Trial]]:
    def trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
        for style in styles:
            for anchors in anchor_sets(node, style):
                value = decoded(inputs, anchors, node.attributes["strides"], style)
                yield trial(node, inputs, value)

    return trials


def trial(node: Node, inputs: Inputs, value: Array) -> Trial:
    """The trial whose result is `value`, up to the roundings of a decode."""
    carried = max(float(x.bound.max()) for x in inputs)
    largest = abs(value).max(axis=2, keepdims=True)
    bound = np.broadcast_to((ROUNDINGS + carried) * largest + ROUNDINGS, value.shape)
    return Trial(replace(node, op="concat", attributes={}), [Enclosed(value, bound)])


def anchor_sets(node: Node, style: Style) -> Iterator[Array]:
    """The anchors (L, A, 2), or what a mistake with them gives."""
    anchors = np.asarray(array_of(node.arrays["anchors"]), np.float64)
    strides = np.array(node.attributes["strides"], float)[:, None, None]
    if style.anchors == "levels":
        yield from (
            anchors[list(o)] for o in permutations(range(len(anchors))) if list(o) != sorted(o)
        )
    elif style.anchors == "order":
        A = anchors.shape[1]
        yield from (anchors[:, list(o)] for o in permutations(range(A)) if list(o) != sorted(o))
    elif style.anchors == "cells":
        yield from (anchors / strides, anchors * strides)
    else:
        yield anchors


def level_order(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Rows of the levels in another order."""
    anchors = next(anchor_sets(node, Style()))
    levels = [
        level_of(x.value, a, stride, Style())
        for x, a, stride in zip(inputs, anchors, node.attributes["strides"], strict=True)
    ]
    for order in permutations(range(len(levels))):
        if list(order) != sorted(order):
            yield trial(node, inputs, np.concatenate([levels[i] for i in order], axis=1))


def cause(name: str, *styles: Style) -> Cause:
    return Cause(name, ("decode",), styled(*styles))


DECODE_CAUSES = (
    cause(
        "sigmoid missing in the decode", *(Style(sigmoid=k) for k in ("none", "boxes", "scores"))
    ),
    cause("grid without its half cell", Style(half=0.0), Style(half=1.0), Style(half=-0.5)),
    cause("grid order: x and y exchanged", Style(exchange_grid=True)),
    cause("anchor width and height exchanged", Style(exchange_sides=True)),
    cause("anchor order within a level", Style(anchors="order")),
    cause("anchors of another level", Style(anchors="levels")),
    cause("anchors in cells for pixels", Style(anchors="cells")),
    cause(
        "width and height of another formula", *(Style(size=k) for k in ("exp", "plain", "twice"))
    ),
    cause("boxes not multiplied by the stride", Style(strided=False)),
    cause("rows of the grid in another order", Style(rows="HWA"), Style(rows="AWH")),
    Cause("levels in another order", ("decode",), level_order),
)
