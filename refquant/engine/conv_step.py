"""How a convolution becomes a step of a program (steps.py): its constants, and its items of work.

The constants of a step are the bias, filled up with zeros to whole groups of filters, and the
runs of its products (blocked.py, equation 2). An item is a run of output rows, as strips of
pixels (strips.py), for one group of filters. How rows are cut into items changes the time and no
bit:

    an item's input should stay in L2 while the panels of its K-blocks pass;
    an item should be long enough that a panel, once in L1, is used often;
    on several threads items shrink towards the end, so that all threads end together.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.engine.blocked import LANES, PlacedMap, Runs, aligned, runs_of
from refquant.engine.panels import PackedPanels, Panels
from refquant.engine.steps import CONV, FUSED, LINE, MAX_POOL, RECORDS, step
from refquant.engine.strips import Taps, Windows, records, strips_of
from refquant.engine.tiles import TILES
from refquant.ops.conv import channels_per_block

Array = NDArray[np.float32]

# An item's input rows and its panel may together take this many bytes of L2.
CACHE = 900_000
# But an item may always have this many tiles, even if its input then comes from the next cache.
MANY_TILES = 64
# An item on several threads has at least this many tiles: to fetch a panel costs as much as one.
LEAST_TILES = 24
# Items of packed weights are longer by this factor: to decode a panel costs two or three tiles.
PACKED = 2


def filters_computed(panels: Panels | PackedPanels) -> int:
    """How many filters are computed, those beyond F included."""
    wide = panels.vectors * LANES
    return -(-panels.shape[0] // wide) * wide


class Constants(NamedTuple):
    """What a convolution's step needs besides its weight.

    bias        (filters / 16, 16) float32, zeros beyond F
    runs        the runs of its products
    all_taps    whether taps in the padding must not be left out (strips.py says why)
    """

    bias: NDArray[np.float32]
    runs: Runs
    all_taps: bool


def conv_constants(
    x: PlacedMap, panels: Panels | PackedPanels, bias: Array | None, padding: int
) -> Constants:
    """The constants of a convolution that reads map x."""
    start = aligned((filters_computed(panels) // LANES, LANES))
    if bias is not None:
        start.reshape(-1)[: len(bias)] = bias
    negative_zero = bool(((start == 0) & np.signbit(start)).any())
    runs = runs_of(x, panels.shape[2:], padding)
    return Constants(start, runs, negative_zero or not panels.finite)


def table(runs: Runs, taps: Taps, panels: Panels | PackedPanels) -> NDArray[np.int64]:
    """The runs of some taps, (n, 2) int64: the bytes from a window to a run's first input, and
    those from the K-block's panel to its first weight.
    """
    rows = (taps.top <= runs.r) & (runs.r < taps.bottom)
    some = rows & (taps.left <= runs.s) & (runs.s < taps.right)
    weight = runs.k % products_per_block(panels.shape) * panels.vectors * LINE
    return np.stack((runs.offset[some], weight[some]), axis=1)


class Items(NamedTuple):
    """Which pixels a step's items compute; every group of filters has an item per run of rows.

    strips    (n,) STRIP
    bounds    (runs of rows + 1, 2) int64: the first strip of a run of rows, and its first row
    tables    the tables to which strips point
    """

    strips: NDArray[np.void]
    bounds: NDArray[np.int64]
    tables: dict[Taps, NDArray[np.int64]]


def items_of(
    windows: Windows, panels: Panels | PackedPanels, runs: Runs, rows: NDArray[np.int64]
) -> Items:
    """The items of a convolution whose runs of rows have the bounds `rows` (item_bounds)."""
    parts = strips_of(windows, TILES[panels.vectors], rows.tolist())
    strips = [strip for part in parts for strip in part]
    tables = {taps: table(runs, taps, panels) for taps in {s.taps for s in strips}}
    bounds = np.stack((np.cumsum([0, *map(len, parts)]), rows), axis=1)
    return Items(records(strips, tables), bounds, tables)


def conv_step(
    windows: Windows,
    panels: Panels | PackedPanels,
    constants: Constants,
    threads: int,
    activation: str,
    pool: NDArray[np.void] | None = None,
) -> tuple[NDArray[np.void], Items]:
    """The step that convolves, and the items to which it points.

    `pool` is the step of a pooling, if the items are to pool what they have computed.
    """
    multiple = 1 if pool is None else int(pool.view(RECORDS[MAX_POOL])["stride"][0])
    rows = item_bounds(windows.y, panels, windows.stride, threads, multiple)
    items = items_of(windows, panels, constants.runs, rows)
    groups = len(constants.bias) // panels.vectors
    _, C, R, S = panels.shape
    conv = step(
        CONV,
        groups * (len(items.bounds) - 1),
        **panels.fields(),
        x_pixel=windows.x.pixel,
        y_plane=windows.y.plane,
        bias=constants.bias.ctypes.data,
        products=C * R * S,
        taps=R * S,
        block_products=products_per_block(panels.shape),
        groups=groups,
        strips=items.strips.ctypes.data,
        bounds=items.bounds.ctypes.data,
        activation=FUSED.index(activation),
        pool_step=0 if pool is None else pool.ctypes.data,
    )
    return conv, items


def products_per_block(shape: tuple[int, ...]) -> int:
    """How many products a K-block has."""
    return channels_per_block(shape) * shape[2] * shape[3]


def item_bounds(
    y: PlacedMap, panels: Panels | PackedPanels, stride: int, threads: int, multiple: int = 1
) -> NDArray[np.int64]:
    """Where rows are cut into runs, 0 to P, at multiples of `multiple`: (runs + 1,) int64."""
    longer, most = longer_of(panels), most_rows(y, panels, stride)
    least = -(-longer * LEAST_TILES // tiles_per_row(y, panels))
    groups = filters_computed(panels) // (panels.vectors * LANES)
    shares = max(2 // longer, -(-2 * threads // groups))  # an item is one share of the rest
    bounds = [0]
    while bounds[-1] < y.rows:
        left = y.rows - bounds[-1]
        size = -(-left // -(-left // most))  # in parts that are even
        if threads > 1:
            size = min(size, max(left // shares, least))
        bounds.append(min(bounds[-1] + -(-size // multiple) * multiple, y.rows))
    return np.array(bounds, np.int64)


def most_rows(y: PlacedMap, panels: Panels | PackedPanels, stride: int) -> int:
    """The most rows that an item may have, by CACHE and by MANY_TILES."""
    _, C, R, S = panels.shape
    panel = min(C * R * S, products_per_block(panels.shape)) * panels.vectors * LINE
    kept = (CACHE - panel) // (4 * C * y.columns * stride * stride)
    return max(kept, longer_of(panels) * MANY_TILES // tiles_per_row(y, panels), 1)


def tiles_per_row(y: PlacedMap, panels: Panels | PackedPanels) -> int:
    """How many tiles a row of the output has."""
    return sum(TILES[panels.vectors].split(y.columns))


def longer_of(panels: Panels | PackedPanels) -> int:
    """By what factor items are longer because of what their panels cost."""
    return PACKED if isinstance(panels, PackedPanels) else 1


def scratch_for(panels: Panels | PackedPanels) -> int:
    """The bytes of scratch memory that a thread needs for a decoded panel."""
    if isinstance(panels, Panels):
        return 0
    return products_per_block(panels.shape) * panels.vectors * LINE
