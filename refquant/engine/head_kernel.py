"""The decode of the head (head.py), straight from maps in blocks; an item is a row of the grid.

For each pixel, (1) writes the sigmoid of all its channels into scratch memory, 16 at a time. Then
(2) to (4) write a row of predictions for each anchor. The arithmetic is that of head.py,
operation for operation, and so are the numbers of the equations.
"""

from typing import Any

import numpy as np

from refquant.engine.activation_loops import sigmoid
from refquant.engine.jit import inner
from refquant.engine.simd import LANES, load, load_one, store, store_one
from refquant.engine.steps import LINE

HALF, TWO = np.float32(0.5), np.float32(2.0)


@inner
def decode_item(step: Any, row: int, scratch: int) -> None:
    """The predictions of grid row `row`; they are ordered by anchor, row and column."""
    for column in range(step.columns):
        pixel = step.x + row * step.x_row + column * LINE
        for block in range(step.blocks):
            p = sigmoid(load(pixel + block * step.x_plane))  # (1)
            store(scratch + block * LINE, p)
        for anchor in range(step.anchor_count):
            index = (anchor * step.rows + row) * step.columns + column
            p_row = scratch + anchor * step.entries * 4
            out = step.predictions + index * step.entries * 4
            copy(p_row, out, step.entries)  # (4)
            decode_box(step, p_row, step.anchors + 8 * anchor, column, row, out)


@inner
def copy(x: int, y: int, count: int) -> None:
    """Copy `count` float32."""
    whole = count // LANES * LANES
    for i in range(0, whole, LANES):
        store(y + 4 * i, load(x + 4 * i))
    for i in range(whole, count):
        store_one(y + 4 * i, load_one(x + 4 * i))


@inner
def decode_box(step: Any, p: int, anchor: int, column: int, row: int, out: int) -> None:
    """Equations (2) and (3)."""
    stride = np.float32(step.stride)
    store_one(out, (TWO * load_one(p) - HALF + np.float32(column)) * stride)
    store_one(out + 4, (TWO * load_one(p + 4) - HALF + np.float32(row)) * stride)
    for i in range(2):
        size = TWO * load_one(p + 8 + 4 * i)
        store_one(out + 8 + 4 * i, size * size * load_one(anchor + 4 * i))
