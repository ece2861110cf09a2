"""How a convolution becomes a step of a program (steps.py): its constants, and its items of work.

The constants of a step are the bias, filled up to whole groups of filters with zeros, and the
table of offsets (blocked.py, equation 2). Its items are runs of output rows times groups of
filters. How rows are cut into runs changes the time, and no bit:

    a run's input should stay in L2 while the panels of its K-blocks pass,
    a run should be long enough that a panel, once in L1, is used often,
    and on several threads runs shrink towards the end, so that all threads end together.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.ops.blocked import LANES, Map, aligned, run_offsets
from refquant.ops.conv import channels_per_block
from refquant.ops.panels import PackedPanels, Panels
from refquant.ops.steps import CONV, FUSED, LINE, step
from refquant.ops.tiles import LONGEST, TILES

Array = NDArray[np.float32]

CACHE = 900_000  # bytes of L2 that an item's input rows and its panel may take together, but
MANY_TILES = 64  # of an item are more important; the input then comes from the next cache
LEAST_TILES = 24  # of an item on several threads: fetching a panel costs as much as a tile
PACKED = 2  # items of packed weights are so much longer: decoding a panel costs two or three tiles


def filters_computed(panels: Panels | PackedPanels) -> int:
    """Filters that are computed, those beyond F included."""
    wide = panels.vectors * LANES
    return -(-panels.shape[0] // wide) * wide


class Constants(NamedTuple):
    """The arrays of a convolution's step besides its weight.

    bias      (filters / 16, LONGEST, 16) float32, once per pixel of a tile; zeros beyond F
    offsets   (runs,) int64       of the runs of products, from a window (blocked.py)
    whole     whether kernel rows in the padding must not be left out (conv_kernel.py says why)
    """

    bias: NDArray[np.float32]
    offsets: NDArray[np.int64]
    whole: bool


def conv_constants(
    x: Map, panels: Panels | PackedPanels, bias: Array | None, padding: int
) -> Constants:
    """The constants of a convolution that reads map x."""
    start = np.zeros(filters_computed(panels), np.float32)
    if bias is not None:
        start[: len(bias)] = bias
    each = aligned((len(start) // LANES, LONGEST, LANES))
    each[:] = start.reshape(-1, 1, LANES)
    negative_zero = bool(((start == 0) & np.signbit(start)).any())
    _, _, R, S = panels.shape
    return Constants(each, run_offsets(x, R, S, padding), negative_zero or not panels.finite)


def conv_step(
    x: Map,
    y: Map,
    panels: Panels | PackedPanels,
    constants: Constants,
    bounds: NDArray[np.int64],
    stride: int,
    padding: int,
    activation: str,
    first_row: int = 0,
) -> NDArray[np.void]:
    """The step that convolves map x into map y; see conv_constants and item_bounds.

    Of a band of rows: first_row is y's first one in the whole output, x begins with the row
    first_row * stride of the whole input and goes on to its end.
    """
    _, _, R, S = panels.shape
    longs, middles, shorts, singles = TILES[panels.vectors].split(y.columns)
    groups = len(constants.bias) // panels.vectors
    return step(
        CONV,
        groups * (len(bounds) - 1),
        **panels.fields(),
        **input_fields(x),
        **output_fields(y),
        stride=stride,
        bias=constants.bias.ctypes.data,
        offsets=constants.offsets.ctypes.data,
        products=int(np.prod(panels.shape[1:])),
        chain=products_per_block(panels.shape),
        groups=groups,
        bounds=bounds.ctypes.data,
        kernel_rows=R,
        kernel_columns=S,
        above=0 if constants.whole else padding - first_row * stride,
        below=y.rows * stride if constants.whole else x.rows + padding - R,
        longs=longs,
        middles=middles,
        shorts=shorts,
        singles=singles,
        activation=FUSED.index(activation),
    )


def input_fields(x: Map) -> dict[str, Any]:
    """The fields of a step that say where its input lies."""
    return {
        "x": x.address,
        "x_plane": x.plane,
        "x_row": x.row,
        "x_pixel": x.pixel,
        "input_rows": x.rows,
        "input_columns": x.columns,
    }


def output_fields(y: Map) -> dict[str, Any]:
    """The fields of a step that say where its output lies, and its size."""
    return {
        "y": y.address,
        "y_plane": y.plane,
        "y_row": y.row,
        "rows": y.rows,
        "columns": y.columns,
        "blocks": y.blocks,
    }


def products_per_block(shape: tuple[int, ...]) -> int:
    """Products of a K-block."""
    return channels_per_block(shape) * shape[2] * shape[3]


def item_bounds(
    y: Map, panels: Panels | PackedPanels, stride: int, threads: int
) -> NDArray[np.int64]:
    """How the output rows are cut into items: items + 1 int64, from 0 to P."""
    longer, most = longer_of(panels), most_rows(y, panels, stride)
    least = -(-longer * LEAST_TILES // tiles_per_row(y, panels))
    groups = filters_computed(panels) // (panels.vectors * LANES)
    shares = max(2 // longer, -(-2 * threads // groups))  # of what is left, a share per item
    bounds = [0]
    while bounds[-1] < y.rows:
        left = y.rows - bounds[-1]
        size = -(-left // -(-left // most))  # even parts
        if threads > 1:
            size = min(size, max(left // shares, least))
        bounds.append(min(bounds[-1] + size, y.rows))
    return np.array(bounds, np.int64)


def most_rows(y: Map, panels: Panels | PackedPanels, stride: int) -> int:
    """The most rows of an item, by what is kept in L2 and by the length of a run."""
    _, C, R, S = panels.shape
    panel = min(C * R * S, products_per_block(panels.shape)) * panels.vectors * LINE
    kept = (CACHE - panel) // (4 * C * y.columns * stride * stride)
    return max(kept, longer_of(panels) * MANY_TILES // tiles_per_row(y, panels), 1)


def tiles_per_row(y: Map, panels: Panels | PackedPanels) -> int:
    """Tiles in a row of the output."""
    return sum(TILES[panels.vectors].split(y.columns))


def longer_of(panels: Panels | PackedPanels) -> int:
    """How much longer items are for what their panels cost."""
    return PACKED if isinstance(panels, PackedPanels) else 1


def scratch_for(panels: Panels | PackedPanels) -> int:
    """Bytes that a thread needs for a dequantized panel."""
    if isinstance(panels, Panels):
        return 0
    return products_per_block(panels.shape) * panels.vectors * LINE
