"""The fast convolution: equations (1) to (4) of conv.py, in tiles.

A tile is `pixels` x `vectors` * 16 outputs whose K-block sums (3) stay in registers;
`sum_products` of simd.py is that loop. An item of work is a run of output pixels (row by row, as
one sequence) times one group of filters:

    for each K-block:                         its panel, 32 or 36 KB for 64 filters, stays in L1
        for each tile of the item's pixels:
            acc = sums of products            in registers, (2) and (3)
            total = total + acc               (4); the totals wait in the output map, (1) at
            first the last K-block: the activation, and the tile is done

A tile at the end of an item hangs over: its missing pixels repeat the last one, are computed,
and are not stored. Thus one loop serves every width, and tiles run on across the ends of rows.

Where memory comes from decides the rest: the input rows of an item should fit L2 together with a
panel (plan.py chooses `pixels`); while a tile is computed, its totals are fetched into L1 and a
part of the next panel into L2.
"""

from typing import Any

from refquant.ops.activation_loops import leaky, sigmoid, silu
from refquant.ops.jit import inner
from refquant.ops.panels_kernel import dequantize_panel
from refquant.ops.simd import (
    load,
    load_int,
    prefetch_l1,
    prefetch_l2,
    store,
    store_int,
    sum_products_6x1,
    sum_products_6x4,
    sum_products_8x2,
)
from refquant.ops.steps import LEAKY, LINEAR, SIGMOID, SILU

LINE = 64
# A thread's scratch memory, bytes from its start: where the tile's pixels are in the input and in
# the output (8 int64 each), the tile's sums (24 lines), a dequantized panel.
WINDOWS, OUTPUTS, SUMS, PANEL = 0, 64, 128, 128 + 24 * LINE


@inner
def tile_pixels(vectors: int) -> int:
    """Pixels of the tile with that many vectors, as in tiles.py."""
    return 8 if vectors == 2 else 6


@inner
def vectors_present(step: Any, group: int) -> int:
    """Vectors of a group that the output map has; the last group may hang over."""
    return min(step.vectors, step.blocks - group * step.vectors)


@inner
def conv_item(step: Any, item: int, scratch: int) -> None:
    """One item of a convolution: `pixels` outputs from `first`, of one group of filters."""
    group = item % step.groups
    first = item // step.groups * step.pixels
    last = min(first + step.pixels, step.rows * step.columns)
    panel_line = 64 * step.vectors
    for k in range(0, step.products, step.chain):
        count = min(step.chain, step.products - k)
        if step.code_bits == 0:
            weight = step.weight + (group * step.products + k) * panel_line
        else:
            weight = scratch + PANEL
            dequantize_panel(step, group, k, count, weight)
        conv_block(step, group, first, last, k, count, weight, scratch)


@inner
def conv_block(
    step: Any, group: int, first: int, last: int, k: int, count: int, weight: int, scratch: int
) -> None:
    """One K-block, products k ... k + count - 1, for all tiles of an item."""
    pixels = tile_pixels(step.vectors)
    tiles = (last - first + pixels - 1) // pixels
    # The panel that comes next in memory is next to be used: a share of it per tile.
    ahead = weight + count * 64 * step.vectors
    share = (count * step.vectors + tiles - 1) // tiles * LINE if step.code_bits == 0 else 0
    row, column = first // step.columns, first % step.columns
    y = step.y + group * step.vectors * step.y_plane
    vectors = vectors_present(step, group)
    for pixel in range(first, last, pixels):
        present = min(pixels, last - pixel)
        for p in range(pixels):
            window = step.x + row * step.stride * step.x_row + column * step.stride * step.x_pixel
            output = y + row * step.y_row + column * LINE
            store_int(scratch + WINDOWS + 8 * p, window)
            store_int(scratch + OUTPUTS + 8 * p, output)
            if p < present:
                for v in range(vectors):
                    prefetch_l1(output + v * step.y_plane)
            if p + 1 < present or p + 1 == pixels:
                column += 1
                if column == step.columns:
                    row, column = row + 1, 0
        for line in range(ahead, ahead + share, LINE):
            prefetch_l2(line)
        ahead += share
        windows, offsets, sums = scratch + WINDOWS, step.offsets + 8 * k, scratch + SUMS
        if step.vectors == 4:
            sum_products_6x4(windows, offsets, count, weight, sums)
        elif step.vectors == 2:
            sum_products_8x2(windows, offsets, count, weight, sums)
        else:
            sum_products_6x1(windows, offsets, count, weight, sums)
        add_tile(step, group, present, k == 0, k + count == step.products, scratch)


@inner
def add_tile(
    step: Any, group: int, present: int, is_first: bool, is_last: bool, scratch: int
) -> None:
    """total = total + acc for the pixels of a tile that are present; then the activation."""
    activation = step.activation if is_last else LINEAR
    bias = step.bias + group * step.vectors * LINE
    for p in range(present):
        output = load_int(scratch + OUTPUTS + 8 * p)
        sums = scratch + SUMS + p * step.vectors * LINE
        for v in range(vectors_present(step, group)):
            place = output + v * step.y_plane
            total = load(bias + v * LINE) if is_first else load(place)  # (1)
            total = total + load(sums + v * LINE)  # (4)
            if activation == SILU:
                total = silu(total)
            elif activation == LEAKY:
                total = leaky(total)
            elif activation == SIGMOID:
                total = sigmoid(total)
            store(place, total)
