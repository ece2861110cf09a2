"""The fast convolution: equations (1) to (4) of conv.py, in tiles.

A tile is `pixels` x `vectors` * 16 outputs whose K-block sums (3) stay in registers;
`tile` of simd.py makes that loop. An item of work is a run of output pixels (row by row, as
one sequence) times one group of filters:

    for each K-block:                         its panel, 32 or 36 KB for 64 filters, stays in L1
        for each tile of the item's pixels:
            acc = sums of products            in registers, (2) and (3)
            total = total + acc               (4); totals wait in the output map, at first (1)
            after the last K-block: the activation

A tile at the end of an item hangs over: its missing pixels repeat the last one, are computed,
and are not stored. Thus one loop serves every width, and tiles run on across the ends of rows.

Where memory comes from decides the rest: the input rows of an item should fit L2 together with a
panel (conv_step.py's `item_bounds`); while a tile is computed, its totals and the next tile's
input are fetched into L1 (conv_step.py's `wanted_soon`), and a part of the next panel into L2.
"""

from typing import Any

from refquant.ops.activation_loops import EASY_SQUARED, any_silu, easy_silu, leaky, sigmoid
from refquant.ops.jit import inlined, inner
from refquant.ops.panels_kernel import dequantize_panel
from refquant.ops.simd import (
    every,
    fma,
    load,
    load_int,
    prefetch_l2,
    store,
    store_int,
    tile_6x1,
    tile_6x4,
    tile_8x2,
)
from refquant.ops.steps import (
    BIASES,
    LEAKY,
    LINE,
    LINEAR,
    OUTPUTS,
    PANEL,
    SIGMOID,
    SILU,
    WINDOWS,
)


@inner
def conv_item(step: Any, item: int, scratch: int) -> None:
    """One item of a convolution: a run of output pixels, of one group of filters."""
    group = item % step.groups
    bounds = step.bounds + item // step.groups * 8
    first, last = load_int(bounds), load_int(bounds + 8)
    locate_pixels(step, group, first, last, scratch)
    for k in range(0, step.products, step.chain):
        count = min(step.chain, step.products - k)
        if step.code_bits == 0:
            weight = step.weight + (group * step.products + k) * LINE * step.vectors
        else:
            weight = scratch + PANEL
            dequantize_panel(step, group, k, count, weight)
        if step.vectors == 4:
            conv_block_6x4(step, group, last - first, k, count, weight, scratch)
        elif step.vectors == 2:
            conv_block_8x2(step, group, last - first, k, count, weight, scratch)
        else:
            conv_block_6x1(step, group, last - first, k, count, weight, scratch)


@inner
def locate_pixels(step: Any, group: int, first: int, last: int, scratch: int) -> None:
    """Write down where every pixel of an item is; a tile more repeats the last one."""
    windows, outputs = scratch + WINDOWS, scratch + OUTPUTS
    x_row, x_pixel = step.stride * step.x_row, step.stride * step.x_pixel
    row, column = first // step.columns, first % step.columns
    window = step.x + row * x_row + column * x_pixel
    output = step.y + group * step.vectors * step.y_plane + row * step.y_row + column * LINE
    left = last - first
    while left > 0:
        run = min(step.columns - column, left)
        for p in range(run):
            store_int(windows + 8 * p, window + p * x_pixel)
            store_int(outputs + 8 * p, output + p * LINE)
        windows, outputs, left = windows + 8 * run, outputs + 8 * run, left - run
        window += x_row - column * x_pixel
        output += step.y_row - column * LINE
        column = 0
    for p in range(8):
        store_int(windows + 8 * p, load_int(windows - 8))
        store_int(outputs + 8 * p, load_int(outputs - 8))


def conv_block(pixels: int, vectors: int, tile: Any) -> Any:
    """The function that does one K-block of an item in tiles of pixels x vectors."""

    @inner
    def block(
        step: Any, group: int, total: int, k: int, count: int, weight: int, scratch: int
    ) -> None:
        offsets, soon, y_plane = step.offsets + 8 * k, step.soon + 16 * k, step.y_plane
        biases = scratch + BIASES
        for p in range(pixels):
            store_int(biases + 8 * p, step.bias + group * vectors * LINE)
        activation = step.activation if k + count == step.products else LINEAR
        # The panel that comes next in memory is next to be used: a share of it per tile.
        tiles = (total + pixels - 1) // pixels
        ahead = weight + count * LINE * vectors
        share = (count * vectors + tiles - 1) // tiles * LINE if step.code_bits == 0 else 0
        for first in range(0, total, pixels):
            windows, outputs = scratch + WINDOWS + 8 * first, scratch + OUTPUTS + 8 * first
            starts, start_plane = (biases, LINE) if k == 0 else (outputs, y_plane)
            for line in range(ahead, ahead + share, LINE):
                prefetch_l2(line)
            ahead += share
            tile(windows, offsets, soon, count, weight, starts, start_plane, outputs, y_plane)
            if activation != LINEAR:
                activate(outputs, y_plane, activation, min(pixels, total - first), vectors)

    return block


@inlined
def activate(outputs: int, plane: int, activation: int, pixels: int, vectors: int) -> None:
    """The activation of a tile's totals, while they are in L1."""
    for p in range(pixels):
        output = load_int(outputs + 8 * p)
        if activation == SILU and are_easy(output, plane, vectors):
            for v in range(vectors):
                store(output + v * plane, easy_silu(load(output + v * plane)))
        else:
            activate_any(output, plane, activation, vectors)


@inlined
def are_easy(output: int, plane: int, vectors: int) -> bool:
    """Whether |x| < EASY for all of a pixel's totals x; a sum of many squares may say no wrongly.

    No rounding makes a sum of squares smaller than its largest part, and NaN is below nothing.
    """
    squares = load(output) * load(output)
    for v in range(1, vectors):
        squares = fma(load(output + v * plane), load(output + v * plane), squares)
    return every(squares < EASY_SQUARED)


@inner
def activate_any(output: int, plane: int, activation: int, vectors: int) -> None:
    """The activation of a pixel's totals, of any kind and for all numbers."""
    for v in range(vectors):
        place = output + v * plane
        total = load(place)
        if activation == SILU:
            total = any_silu(total)
        elif activation == LEAKY:
            total = leaky(total)
        elif activation == SIGMOID:
            total = sigmoid(total)
        store(place, total)


conv_block_6x4 = conv_block(6, 4, tile_6x4)
conv_block_8x2 = conv_block(8, 2, tile_8x2)
conv_block_6x1 = conv_block(6, 1, tile_6x1)
