"""Strips: which output pixels a convolution computes together, and with which of its products.

A strip is some output pixels at equal distances in memory whose windows have the same taps
(r, s) inside the map. Taps in the padding are left out where that changes no bit. For such a tap
equation (3) of conv.py adds x * weight, which is +-0.0 if the weight is finite, so the sum keeps
its value and only the sign of a zero may change; (4) then forgets that sign unless the total is
-0.0. A sum is -0.0 only if both its parts are, so no total is -0.0 if no bias is
(`Constants.all_taps` of conv_step.py).

An item's rows (conv_step.py's `item_bounds`) become strips in one of two ways, the cheaper:

    by rows       every row is a strip, which leaves out kernel rows above and below the map
    with edges    the first and the last columns, whose windows hang over the map's sides, are
                  strips from top to bottom, which leave out kernel columns; the columns between
                  them are strips by rows

At a strip's end there may be pixels that fill no tile (tiles.py). Each of them is a strip of its
own, in which the tile does the same pixel as often as it is long.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.engine.blocked import PlacedMap
from refquant.engine.steps import STRIP
from refquant.engine.tiles import Tiles


class Taps(NamedTuple):
    """The taps (r, s) of a window that are used: top <= r < bottom, left <= s < right."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


class Strip(NamedTuple):
    """Some pixels, their taps, and how many tiles of each length compute them (steps.py)."""

    x: int
    x_step: int
    y: int
    y_step: int
    taps: Taps
    tiles: tuple[int, int, int]


class Windows(NamedTuple):
    """The windows of a convolution of a band of rows: where its input and its output lie.

    y begins with row first_row of the whole output. x begins with row first_row * stride of the
    whole input, and goes on to its end.

    all_taps    whether taps in the padding must not be left out
    """

    x: PlacedMap
    y: PlacedMap
    kernel: tuple[int, int]
    stride: int
    padding: int
    first_row: int
    all_taps: bool

    def rows_inside(self, p: int) -> tuple[int, int]:
        """The `top` and the `bottom` of the taps of an output row."""
        first = self.first_row
        return self.taps_inside(first + p, self.kernel[0], first * self.stride + self.x.rows)

    def columns_inside(self, q: int) -> tuple[int, int]:
        """The `left` and the `right` of the taps of an output column."""
        return self.taps_inside(q, self.kernel[1], self.x.columns)

    def taps_inside(self, position: int, taps: int, size: int) -> tuple[int, int]:
        """Along one axis, the first tap inside the map and the one after the last."""
        if self.all_taps:
            return 0, taps
        begin = position * self.stride - self.padding
        first = min(max(-begin, 0), taps)
        return first, max(first, min(size - begin, taps))


split = cache(Tiles.split)


def strips_of(windows: Windows, tiles: Tiles, bounds: Sequence[int]) -> list[list[Strip]]:
    """For every i, the strips of output rows bounds[i] ... bounds[i + 1] - 1, the cheaper way."""
    R, S = windows.kernel
    columns = [windows.columns_inside(q) for q in range(windows.y.columns)]
    full = [q for q, taps in enumerate(columns) if taps == (0, S)]

    def by_rows(begin: int, end: int, first: int, last: int) -> list[Strip]:
        found = []
        for p in range(begin, end):
            taps = Taps(*windows.rows_inside(p), 0, S)
            found += strips(windows, tiles, (p, first), last - first, taps, down=False)
        return found

    def with_edges(begin: int, end: int) -> list[Strip]:
        found = by_rows(begin, end, full[0], full[-1] + 1)
        for q in (*range(full[0]), *range(full[-1] + 1, len(columns))):
            taps = Taps(0, R, *columns[q])
            found += strips(windows, tiles, (begin, q), end - begin, taps, down=True)
        return found

    found = []
    for begin, end in pairwise(bounds):
        ways = [by_rows(begin, end, 0, len(columns))]
        if full and len(full) < len(columns):
            ways.append(with_edges(begin, end))
        found.append(min(ways, key=lambda way: sum(cost(strip, tiles) for strip in way)))
    return found


def strips(
    windows: Windows,
    tiles: Tiles,
    start: tuple[int, int],
    count: int,
    taps: Taps,
    *,
    down: bool,
) -> list[Strip]:
    """The strips of `count` pixels from `start` = (p, q) on, which go down or to the right."""
    (p, q), stride, x, y = start, windows.stride, windows.x, windows.y
    place = x.address + stride * (p * x.row + q * x.pixel)
    to = y.address + p * y.row + q * y.pixel
    step, to_step = stride * (x.row if down else x.pixel), y.row if down else y.pixel
    longs, middles, shorts, alone = split(tiles, count)
    found = []
    if alone < count:
        found.append(Strip(place, step, to, to_step, taps, (longs, middles, shorts)))
    for i in range(count - alone, count):
        found.append(Strip(place + i * step, 0, to + i * to_step, 0, taps, (0, 0, 1)))
    return found


def cost(strip: Strip, tiles: Tiles) -> int:
    """The products per input channel of all pixels that a strip's tiles compute."""
    pixels = sum(count * length for count, length in zip(strip.tiles, tiles.pixels, strict=True))
    return pixels * strip.taps.size


def records(strips: Iterable[Strip], tables: Mapping[Taps, NDArray[np.int64]]) -> NDArray[np.void]:
    """The strips as jitted code reads them, (n,) STRIP; `tables` has the runs of their taps."""
    places = {taps: (table.ctypes.data, taps.size) for taps, table in tables.items()}
    rows = [(*strip[:4], *places[strip.taps], *strip.tiles) for strip in strips]
    return np.array(rows, STRIP)
