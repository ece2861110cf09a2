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
panel (conv_fast.py's `item_bounds`); while a tile is computed, its totals are fetched into L1
and a part of the next panel into L2.
"""

from typing import Any

from refquant.ops.activation_loops import leaky, sigmoid, silu
from refquant.ops.jit import inlined, inner
from refquant.ops.panels_kernel import dequantize_panel
from refquant.ops.simd import (
    load,
    load_int,
    prefetch_l2,
    store,
    store_int,
    tile_6x1,
    tile_6x4,
    tile_8x2,
)
from refquant.ops.steps import LEAKY, LINEAR, SIGMOID, SILU

LINE = 64
# A thread's scratch memory, bytes from its start: where each pixel of a tile is in the input, in
# the output, and where the bias is, 8 int64 each; a dequantized panel.
WINDOWS, OUTPUTS, BIASES, PANEL = 0, 64, 128, 192


@inner
def conv_item(step: Any, item: int, scratch: int) -> None:
    """One item of a convolution: a run of output pixels, of one group of filters."""
    group = item % step.groups
    bounds = step.bounds + item // step.groups * 8
    first, last = load_int(bounds), load_int(bounds + 8)
    for k in range(0, step.products, step.chain):
        count = min(step.chain, step.products - k)
        if step.code_bits == 0:
            weight = step.weight + (group * step.products + k) * LINE * step.vectors
        else:
            weight = scratch + PANEL
            dequantize_panel(step, group, k, count, weight)
        if step.vectors == 4:
            conv_block_6x4(step, group, first, last, k, count, weight, scratch)
        elif step.vectors == 2:
            conv_block_8x2(step, group, first, last, k, count, weight, scratch)
        else:
            conv_block_6x1(step, group, first, last, k, count, weight, scratch)


def conv_block(pixels: int, vectors: int, tile: Any) -> Any:
    """The function that does one K-block of an item in tiles of pixels x vectors."""

    @inner
    def block(
        step: Any,
        group: int,
        first: int,
        last: int,
        k: int,
        count: int,
        weight: int,
        scratch: int,
    ) -> None:
        # Fields of the step get names here, so that they stay in registers: LLVM must expect every
        # store to change a record in memory.
        stride, columns, y_row, y_plane = step.stride, step.columns, step.y_row, step.y_plane
        x_row, x_pixel = stride * step.x_row, stride * step.x_pixel
        windows, outputs = scratch + WINDOWS, scratch + OUTPUTS
        offsets = step.offsets + 8 * k
        starts, start_plane = outputs, y_plane
        if k == 0:
            starts, start_plane = scratch + BIASES, LINE
            for p in range(pixels):
                store_int(starts + 8 * p, step.bias + group * vectors * LINE)
        activation = step.activation if k + count == step.products else LINEAR
        # The panel that comes next in memory is next to be used: a share of it per tile.
        tiles = (last - first + pixels - 1) // pixels
        ahead = weight + count * LINE * vectors
        share = (count * vectors + tiles - 1) // tiles * LINE if step.code_bits == 0 else 0
        row, column = first // columns, first % columns
        window = step.x + row * x_row + column * x_pixel
        output = step.y + group * vectors * y_plane + row * y_row + column * LINE
        for pixel in range(first, last, pixels):
            present = min(pixels, last - pixel)
            for p in range(pixels):
                store_int(windows + 8 * p, window)
                store_int(outputs + 8 * p, output)
                if p < present - 1 or present == pixels:
                    column += 1
                    window += x_pixel
                    output += LINE
                    if column == columns:
                        column = 0
                        window += x_row - columns * x_pixel
                        output += y_row - columns * LINE
            for line in range(ahead, ahead + share, LINE):
                prefetch_l2(line)
            ahead += share
            tile(windows, offsets, count, weight, starts, start_plane, outputs, y_plane)
            if activation != LINEAR:
                activate(outputs, y_plane, activation, present, vectors)

    return block


@inlined
def activate(outputs: int, plane: int, activation: int, pixels: int, vectors: int) -> None:
    """The activation of a tile's totals, while they are in L1."""
    for p in range(pixels):
        output = load_int(outputs + 8 * p)
        for v in range(vectors):
            place = output + v * plane
            total = load(place)
            if activation == SILU:
                total = silu(total)
            elif activation == LEAKY:
                total = leaky(total)
            elif activation == SIGMOID:
                total = sigmoid(total)
            store(place, total)


conv_block_6x4 = conv_block(6, 4, tile_6x4)
conv_block_8x2 = conv_block(8, 2, tile_8x2)
conv_block_6x1 = conv_block(6, 1, tile_6x1)
