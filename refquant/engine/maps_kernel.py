"""What is not a convolution, on maps in blocks of 16 channels: pool, upsample, add, copy, border.

Each function does one item of a step (steps.py), which is 16 channels, or a single one of a copy.
It gives the bits of the function of ops/ that it names. `pool_beside` does a part of a
convolution's item instead.
"""

from typing import Any

import numpy as np

from refquant.engine.jit import inner
from refquant.engine.simd import choose, load, load_one, store, store_one
from refquant.engine.steps import LINE

NAN, ZERO = np.float32(np.nan), np.float32(0)


@inner
def larger(value: Any, best: Any) -> Any:
    """The larger of two Lanes; NaN where either is NaN, and `best` where they are equal."""
    return choose((value > best) | (value != value), value, best)


@inner
def max_pool_item(step: Any, block: int, scratch: int) -> None:
    """The max_pool_fast of pool.py on 16 channels: first along the rows, then down the columns.

    `kernel` rows of maxima are kept in scratch memory, those of row h at place h mod kernel.
    """
    line = step.columns * LINE
    after = scratch + step.kernel * line
    done = 0
    for p in range(step.rows):
        top = p * step.stride - step.padding
        end = min(top + step.kernel, step.input_rows)
        for h in range(done, end):
            pool_row(step, block, h, scratch + h % step.kernel * line)
        done = max(done, end)
        first = max(top, 0)
        oldest = scratch + first % step.kernel * line
        place = step.y + block * step.y_plane + p * step.y_row
        for q in range(0, line, LINE):
            row = oldest
            best = load(row + q)
            for _ in range(first + 1, end):
                row = row + line if row + line < after else scratch
                best = larger(load(row + q), best)
            store(place + q, choose(best != best, NAN, best))


@inner
def pool_row(step: Any, block: int, h: int, maxima: int) -> None:
    """The maxima under every window's width in input row h."""
    row = step.x + block * step.x_plane + h * step.x_row
    for q in range(step.columns):
        left = q * step.stride - step.padding
        first, last = max(left, 0), min(left + step.kernel, step.input_columns)
        best = load(row + first * LINE)
        for w in range(first + 1, last):
            best = larger(load(row + w * LINE), best)
        store(maxima + q * LINE, best)


@inner
def pool_beside(step: Any, block: int, begin: int, end: int) -> None:
    """Output rows begin ... end - 1 of 16 channels, where windows lie side by side.

    The bits are those of max_pool_item: of equal numbers the first one counts, row by row.
    """
    for p in range(begin, end):
        window = step.x + block * step.x_plane + p * step.stride * step.x_row
        place = step.y + block * step.y_plane + p * step.y_row
        for _ in range(step.columns):
            best = load(window)
            for row in range(window, window + step.stride * step.x_row, step.x_row):
                for pixel in range(row, row + step.stride * LINE, LINE):
                    best = larger(load(pixel), best)
            store(place, choose(best != best, NAN, best))
            window, place = window + step.stride * LINE, place + LINE


@inner
def upsample_item(step: Any, block: int) -> None:
    """The upsample of routing.py on 16 channels."""
    for p in range(step.rows):
        row = step.x + block * step.x_plane + p // step.scale * step.x_row
        place = step.y + block * step.y_plane + p * step.y_row
        for pixel in range(row, row + step.columns // step.scale * LINE, LINE):
            for _ in range(step.scale):
                store(place, load(pixel))
                place += LINE


@inner
def add_item(step: Any, block: int) -> None:
    """The add of routing.py of two maps on 16 channels; y may be x."""
    for p in range(step.rows):
        x = step.x + block * step.x_plane + p * step.x_row
        z = step.z + block * step.z_plane + p * step.z_row
        y = step.y + block * step.y_plane + p * step.y_row
        for q in range(step.columns):
            store(y + q * LINE, load(x + q * LINE) + load(z + q * LINE))


@inner
def copy_item(step: Any, channel: int) -> None:
    """Copy one channel of x to channel `first_channel` + channel of y, whatever their blocks."""
    lanes = step.x_pixel // 4
    x = step.x + channel // lanes * step.x_plane + channel % lanes * 4
    to = step.first_channel + channel
    y = step.y + to // 16 * step.y_plane + to % 16 * 4
    for p in range(step.rows):
        for q in range(step.columns):
            value = load_one(x + p * step.x_row + q * step.x_pixel)
            store_one(y + p * step.y_row + q * LINE, value)


@inner
def border_item(step: Any, block: int) -> None:
    """Write zeros into the halo, `halo` pixels wide, of 16 channels.

    The right halo of a row and the left one of the next row are neighbours in memory.
    """
    first = step.y + block * step.y_plane
    halo = step.halo * LINE
    clear(first - step.halo * step.y_row - halo, step.halo * step.y_row)
    for p in range(step.rows + 1):
        clear(first + p * step.y_row - 2 * halo, 2 * halo)
    clear(first + step.rows * step.y_row - halo, step.halo * step.y_row)


@inner
def clear(place: int, size: int) -> None:
    """Write zeros into `size` bytes, a multiple of 64."""
    for line in range(place, place + size, LINE):
        store(line, ZERO)
