"""How a convolution becomes a step of a program (steps.py): its constants, and its items of work.

The constants of a step are the bias, filled up to whole groups of filters with zeros, and the
table of offsets (blocked.py, equation 2). Its items are runs of output pixels times groups of
filters. How pixels are cut into runs changes the time, and no bit:

    a run's input should stay in L2 while the panels of its K-blocks pass,
    a run should be long enough that a panel, once in L1, is used often,
    and on several threads runs shrink towards the end, so that all threads end together.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.ops.blocked import LANES, Map, aligned, product_offsets, product_order
from refquant.ops.conv import channels_per_block
from refquant.ops.panels import PackedPanels, Panels
from refquant.ops.steps import CONV, FUSED, LINE, MOST_PIXELS, OUTPUTS, WINDOWS, step
from refquant.ops.tiles import TILES

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

    bias      (filters,) float32, zeros beyond F
    offsets   (K,) int64          of the products, from a window (blocked.py)
    soon      (K, 2) int64        what to prefetch during each product, see `wanted_soon`
    """

    bias: NDArray[np.float32]
    offsets: NDArray[np.int64]
    soon: NDArray[np.int64]


def conv_constants(
    x: Map, y: Map, panels: Panels | PackedPanels, bias: Array | None, padding: int
) -> Constants:
    """The constants of a convolution that reads map x and writes map y."""
    start = aligned((filters_computed(panels),))
    if bias is not None:
        start[: len(bias)] = bias
    _, _, R, S = panels.shape
    offsets = product_offsets(x, R, S, padding)
    return Constants(start, offsets, wanted_soon(x, y, panels, offsets))


def wanted_soon(
    x: Map, y: Map, panels: Panels | PackedPanels, offsets: NDArray[np.int64]
) -> NDArray[np.int64]:
    """What to prefetch during each product: (K, 2) int64.

    The first is where an address stands, in bytes from the tile's place among the windows of
    steps.py; the second, bytes from that address.

    While the 16 channels of a tap are multiplied, every second product asks for a line that the
    next tile needs of that tap; the core that wrote it may have been another one. The others ask
    for the tile's totals, which its K-block will be added to, spread over the K-block.
    """
    _, C, R, S = panels.shape
    tile, chain = TILES[panels.vectors], products_per_block(panels.shape)
    k = np.arange(C * R * S)
    first = k // chain * chain  # of its K-block, which has `count` products
    count = np.minimum(chain, C * R * S - first)
    total = (k - first) * tile.pixels * tile.vectors // count
    lane = product_order(C, R, S)[:, 0] % LANES
    of_input = (lane % 2 == 0) & (lane // 2 < tile.pixels)
    window = 8 * (tile.pixels + lane // 2)
    output = OUTPUTS - WINDOWS + 8 * (total // tile.vectors)
    place = np.where(of_input, window, output)
    distance = np.where(of_input, offsets - 4 * lane, total % tile.vectors * y.plane)
    return np.stack((place, distance), axis=1)


def conv_step(
    x: Map,
    y: Map,
    panels: Panels | PackedPanels,
    constants: Constants,
    bounds: NDArray[np.int64],
    stride: int,
    activation: str,
) -> NDArray[np.void]:
    """The step that convolves map x into map y; see conv_constants and item_bounds."""
    groups = len(constants.bias) // (LANES * panels.vectors)
    return step(
        CONV,
        groups * (len(bounds) - 1),
        **panels.fields(),
        **input_fields(x),
        **output_fields(y),
        stride=stride,
        bias=constants.bias.ctypes.data,
        offsets=constants.offsets.ctypes.data,
        soon=constants.soon.ctypes.data,
        products=len(constants.offsets),
        chain=products_per_block(panels.shape),
        groups=groups,
        bounds=bounds.ctypes.data,
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
    """How the P*Q output pixels are cut into items: items + 1 int64, from 0 to P*Q."""
    tile, longer, room = TILES[panels.vectors].pixels, longer_of(panels), room_of(panels, stride)
    groups = filters_computed(panels) // (panels.vectors * LANES)
    shares = max(2 // longer, -(-2 * threads // groups))  # of what is left, a share per item
    bounds, pixels = [0], y.rows * y.columns
    while bounds[-1] < pixels:
        left = pixels - bounds[-1]
        size = -(-left // -(-left // room))  # even parts
        if threads > 1:
            size = min(size, max(left // shares, longer * LEAST_TILES * tile))
        bounds.append(min(bounds[-1] + -(-size // tile) * tile, pixels))
    return np.array(bounds, np.int64)


def room_of(panels: Panels | PackedPanels, stride: int) -> int:
    """The most pixels of an item, by what is kept in L2 and by the length of a run."""
    _, C, R, S = panels.shape
    tile = TILES[panels.vectors].pixels
    panel = min(C * R * S, products_per_block(panels.shape)) * panels.vectors * LINE
    kept = (CACHE - panel) // (4 * C * stride * stride)
    return min(max(kept, longer_of(panels) * MANY_TILES * tile), MOST_PIXELS - tile)


def longer_of(panels: Panels | PackedPanels) -> int:
    """How much longer items are for what their panels cost."""
    return PACKED if isinstance(panels, PackedPanels) else 1


def scratch_for(panels: Panels | PackedPanels) -> int:
    """Bytes that a thread needs for a dequantized panel."""
    if isinstance(panels, Panels):
        return 0
    return products_per_block(panels.shape) * panels.vectors * LINE
