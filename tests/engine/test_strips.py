"""Strips: every output pixel once, and nothing left out that lies inside the map."""

import numpy as np
import pytest

from refquant.engine.blocked import placed_at, runs_of
from refquant.engine.conv_step import table
from refquant.engine.panels import panels_of
from refquant.engine.strips import Taps, Windows, cost, strips_of
from refquant.engine.tiles import HALF, NARROW, WIDE
from refquant.ops.conv import output_size


def windows_of(rows, columns, kernel, stride, padding, *, all_taps=False, first_row=0):
    x = placed_at(0, 16, rows, columns, padding)
    P, Q = (output_size(n, kernel, stride, padding) for n in (rows, columns))
    y = placed_at(0, 16, P - first_row, Q, 0)
    x = x.from_row(first_row * stride, rows - first_row * stride)
    return Windows(x, y, (kernel, kernel), stride, padding, first_row, all_taps)


def pixels_of(windows, strip, tiles):
    """(p, q) of the pixels that a strip writes, checked to be those whose windows it reads."""
    many = 1 if strip.y_step == 0 else np.dot(strip.tiles, tiles.pixels)
    for i in range(many):
        p, rest = divmod(strip.y + i * strip.y_step - windows.y.address, windows.y.row)
        q, rest = divmod(rest, windows.y.pixel)
        assert rest == 0
        x = windows.x.address + windows.stride * (p * windows.x.row + q * windows.x.pixel)
        assert strip.x + i * strip.x_step == x
        yield p, q


def taps_in_the_map(windows, p, q):
    """Which taps of a window are inside, (R, S) bool; in rows and columns of the whole input."""
    R, S = windows.kernel
    h = (windows.first_row + p) * windows.stride - windows.padding + np.arange(R)
    w = q * windows.stride - windows.padding + np.arange(S)
    H = windows.first_row * windows.stride + windows.x.rows
    return np.outer((h >= 0) & (h < H), (w >= 0) & (w < windows.x.columns))


def kept(windows, taps):
    """Those taps, (R, S) bool."""
    mask = np.zeros(windows.kernel, bool)
    mask[taps.top : taps.bottom, taps.left : taps.right] = True
    return mask


@pytest.mark.parametrize("tiles", [WIDE, HALF, NARROW])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (2, 0), (3, 1), (3, 3), (6, 2), (5, 0)])
def test_every_pixel_is_in_one_strip_that_keeps_all_taps_inside(tiles, kernel, padding, stride):
    for rows, columns in ((8, 8), (20, 20), (13, 22), (6, 40), (7, 9), (5, 5)):
        windows = windows_of(rows, columns, kernel, stride, padding)
        found = [
            (pixel, strip)
            for item in strips_of(windows, tiles, (0, windows.y.rows // 2, windows.y.rows))
            for strip in item
            for pixel in pixels_of(windows, strip, tiles)
        ]
        assert sorted(pixel for pixel, _ in found) == list(np.ndindex(*windows.y[2:4]))
        for pixel, strip in found:
            left_out = ~kept(windows, strip.taps)
            assert not (left_out & taps_in_the_map(windows, *pixel)).any()


def test_a_band_leaves_out_what_the_whole_map_does():
    whole, band = (windows_of(40, 40, 3, 2, 1, first_row=first) for first in (0, 8))
    for p in range(band.y.rows):
        assert band.rows_inside(p) == whole.rows_inside(p + 8)
    assert whole.rows_inside(0) == (1, 3)
    assert band.rows_inside(0) == (0, 3)


def products(windows):
    (item,) = strips_of(windows, WIDE, (0, windows.y.rows))
    return sum(cost(strip, WIDE) for strip in item)


def test_taps_in_the_padding_cost_nothing_but_at_the_corners():
    assert products(windows_of(20, 20, 3, 1, 1, all_taps=True)) == 400 * 9
    # 18 columns by rows, of which two miss a row of taps; 2 columns of 20 miss a column of taps.
    assert products(windows_of(20, 20, 3, 1, 1)) == 18 * (18 * 9 + 2 * 6) + 2 * 20 * 6
    # 5 columns would be 3 and 2 edges, and tiles do not fill a row of 3.
    assert products(windows_of(5, 5, 3, 1, 1)) == 5 * (3 * 9 + 2 * 6)


def test_a_table_has_the_runs_inside_and_where_their_weights_lie():
    place = placed_at(0, 40, 9, 9, 1)
    panels = panels_of(np.ones((64, 40, 3, 3), np.float32), 4)
    every = runs_of(place, (3, 3), 1)
    runs = table(every, Taps(0, 3, 1, 3), panels)
    assert runs.shape == (3 * 6, 2)  # K-blocks of 16, 16 and 8 channels
    product = 4 * 64
    assert runs[:2].tolist() == [[-place.row, 16 * product], [64 - place.row, 32 * product]]
    assert runs[6].tolist() == [place.plane - place.row, 16 * product]  # from its K-block's panel
    assert runs[12].tolist() == [2 * place.plane - place.row, 8 * product]
    assert table(every, Taps(0, 3, 0, 3), panels)[:, 0].tolist() == every.offset.tolist()
