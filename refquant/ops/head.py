"""The head's decode: raw maps to boxes in pixels of the network input, and scores.

raw          one (N, A*E, H, W) map per level: A anchors, E = 5 + classes, channel anchor*E + entry
anchors      (L, A, 2) float32, width and height in pixels of the network input
strides      one per level, powers of two: pixels per cell
predictions  (N, rows, E) float32: centre x, centre y, width, height (pixels), objectness, classes

    p = sigmoid(raw)                                                             (1)
    cx = (2 * p0 - 0.5 + column) * stride,  cy = (2 * p1 - 0.5 + row) * stride   (2)
    w = (2 * p2)**2 * anchor_w,             h = (2 * p3)**2 * anchor_h           (3)
    the other entries of p stay as they are                                      (4)

Rows run over levels (fine to coarse), then anchors, then rows and columns of the grid.
Arithmetic  All is float32, from left to right as written; 2*p and the product with a stride are
exact.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from refquant.ops.activation import ACTIVATIONS


def decode(
    raw: tuple[NDArray, ...],
    anchors: NDArray,
    strides: tuple[int, ...],
    dtype: type,
    sigmoid: Callable[[NDArray], NDArray],
) -> NDArray:
    """The equations in `dtype`, with a sigmoid of that dtype."""
    levels = []
    half, two = dtype(0.5), dtype(2.0)
    for level, level_anchors, stride in zip(raw, anchors.astype(dtype), strides, strict=True):
        n, channels, height, width = level.shape
        count = len(level_anchors)
        p = sigmoid(level).reshape(n, count, channels // count, height, width)  # (1)
        column: NDArray = np.arange(width, dtype=dtype)
        row: NDArray = np.arange(height, dtype=dtype)[:, None]
        box: NDArray = np.empty((n, count, 4, height, width), dtype)
        box[:, :, 0] = (two * p[:, :, 0] - half + column) * dtype(stride)  # (2)
        box[:, :, 1] = (two * p[:, :, 1] - half + row) * dtype(stride)
        size = (two * p[:, :, 2:4]) * (two * p[:, :, 2:4])
        box[:, :, 2:4] = size * level_anchors[:, :, None, None]  # (3)
        entries = np.concatenate((box, p[:, :, 4:]), axis=2)  # (4)
        rows = entries.transpose(0, 1, 3, 4, 2).reshape(n, -1, channels // count)
        levels.append(rows)
    return np.concatenate(levels, axis=1)


def decode_math(*raw: NDArray, anchors: NDArray, strides: tuple[int, ...]) -> NDArray:
    """The equations in float64."""
    exact = tuple(np.asarray(level, np.float64) for level in raw)
    return decode(exact, anchors, strides, np.float64, ACTIVATIONS["sigmoid"].math)


def decode_ref(*raw: NDArray, anchors: NDArray, strides: tuple[int, ...]) -> NDArray:
    """The equations in float32, which is the arithmetic."""
    return decode(raw, anchors, strides, np.float32, ACTIVATIONS["sigmoid"].ref)
