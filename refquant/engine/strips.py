"""Strips: which output pixels a convolution computes together, with which of its products.

A strip is some output pixels at equal distances in memory whose windows have the same taps
(r, s) inside the map. Taps in the padding are left out, where that changes no bit: equation (3)
of conv.py adds x * weight = +-0.0 for them, if the weight is finite. Such a sum keeps its value;
only the sign of a zero may change, and (4) then forgets that sign, unless total is -0.0. A sum is
-0.0 only if both parts are; so no total is, if no bias is (`Constants.whole` of conv_step.py).

An item's rows (conv_step.py's `item_bounds`) become strips in one of two ways, the cheaper:

    by rows       a strip per row, and kernel rows above and below the map are left out
    with edges    the same without the first and the last columns, if kernel columns lie outside
                  there; these are strips from top to bottom, and kernel columns are left out

At a strip's end there may be pixels that fill no tile (tiles.py). Each is a strip of its own, in
which the tile does the same pixel as often as it is long.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.engine.blocked import Map
from refquant.engine.steps import STRIP
from refquant.engine.tiles import Tiles


class Taps(NamedTuple):
    """The taps (r, s) of a window that are used: top <= r < bottom, left <= s < right."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def many(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)


class Strip(NamedTuple):
    """Some pixels, and how many tiles of each length compute them; the rest as in steps.py."""

    x: int
    x_step: int
    y: int
    y_step: int
    taps: Taps
    tiles: tuple[int, int, int]


class Windows(NamedTuple):
    """The windows of a convolution: where its input and its output lie, and what is between.

    Of a band of rows: y begins with row first_row of the whole output, x with row
    first_row * stride of the whole input, and goes on to its end.
    """

    x: Map
    y: Map
    kernel: tuple[int, int]
    stride: int
    padding: int
    first_row: int
    whole: bool  # whether taps in the padding must not be left out

    def rows_inside(self, p: int) -> tuple[int, int]:
        """`top` and `bottom` of an output row."""
        first = self.first_row
        return self.taps_inside(first + p, self.kernel[0], first * self.stride + self.x.rows)

    def columns_inside(self, q: int) -> tuple[int, int]:
        """`left` and `right` of an output column."""
        return self.taps_inside(q, self.kernel[1], self.x.columns)

    def taps_inside(self, position: int, taps: int, size: int) -> tuple[int, int]:
        """Along one axis: the first tap inside the map, and the one after the last."""
        if self.whole:
            return 0, taps
        begin = position * self.stride - self.padding
        first = min(max(-begin, 0), taps)
        return first, max(first, min(size - begin, taps))


split = cache(Tiles.split)


def strips_of(windows: Windows, tiles: Tiles, bounds: Sequence[int]) -> list[list[Strip]]:
    """The strips of output rows bounds[i] ... bounds[i + 1] - 1, of each in the cheaper way."""
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
    many: int,
    taps: Taps,
    *,
    down: bool,
) -> list[Strip]:
    """`many` pixels from (p, q) on, downwards or to the right; those that fill no tile alone."""
    (p, q), stride, x, y = start, windows.stride, windows.x, windows.y
    place = x.address + stride * (p * x.row + q * x.pixel)
    to = y.address + p * y.row + q * y.pixel
    step, to_step = stride * (x.row if down else x.pixel), y.row if down else y.pixel
    longs, middles, shorts, alone = split(tiles, many)
    found = []
    if alone < many:
        found.append(Strip(place, step, to, to_step, taps, (longs, middles, shorts)))
    for i in range(many - alone, many):
        found.append(Strip(place + i * step, 0, to + i * to_step, 0, taps, (0, 0, 1)))
    return found


def cost(strip: Strip, tiles: Tiles) -> int:
    """Products per input channel, of all pixels that a strip's tiles compute."""
    pixels = sum(many * length for many, length in zip(strip.tiles, tiles.pixels, strict=True))
    return pixels * strip.taps.many


def records(strips: Iterable[Strip], tables: Mapping[Taps, NDArray[np.int64]]) -> NDArray[np.void]:
    """Strips as jitted code reads them, (n,) STRIP; `tables` has the runs of all their taps."""
    places = {taps: (table.ctypes.data, taps.many) for taps, table in tables.items()}
    rows = [(*strip[:4], *places[strip.taps], *strip.tiles) for strip in strips]
    return np.array(rows, STRIP)
