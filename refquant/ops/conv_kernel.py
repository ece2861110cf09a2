"""The fast convolution: equations (1) to (4) of conv.py, in tiles.

A tile is some neighbouring pixels of an output row by `vectors` * 16 filters, whose K-block sums
(3) stay in registers; `tile` of simd.py makes that loop. An item of work is a run of output rows
times one group of filters:

    for each K-block:                         its panel, 32 or 36 KB for 64 filters, stays in L1
        for each row of the item, for each tile of the row:
            acc = sums of products            in registers, (2) and (3)
            total = total + acc               (4); totals wait in the output map, at first (1)
            after the last K-block: the activation

Tiles of three lengths fill a row (tiles.py). A pixel that is left over, in rows of 1, 2, 3 or 7,
is done by a short tile that sees the same pixel every time, in scratch memory.

Rows of the kernel that lie in the padding above or below the map are left out, where that
changes no bit: (3) adds x * weight = +-0.0 for them, if the weight is finite. Such a sum keeps
its value; only the sign of a zero may change, and (4) then forgets that sign, unless total is
-0.0. A sum is -0.0 only if both parts are; so no total is, if no bias is (conv_step.py).

Where memory comes from decides the rest: the input rows of an item should fit L2 together with a
panel (conv_step.py's `item_bounds`), and while tiles are computed, the next panel comes to L2.
"""

from typing import Any, NamedTuple

from refquant.ops.activation_loops import EASY_SQUARED, any_silu, easy_silu, leaky, sigmoid
from refquant.ops.jit import absorbed, inlined, inner
from refquant.ops.panels_kernel import dequantize_panel
from refquant.ops.simd import (
    LANES,
    every,
    fma,
    load,
    load_int,
    store,
    tile_4x1,
    tile_4x2,
    tile_4x4,
    tile_5x1,
    tile_5x2,
    tile_5x4,
    tile_6x1,
    tile_6x4,
    tile_8x2,
)
from refquant.ops.steps import LEAKY, LINE, LINEAR, PANEL, SIGMOID, SILU, SPARE
from refquant.ops.tiles import HALF, LONGEST, NARROW, WIDE


class Block(NamedTuple):
    """A K-block of a row: what every tile of it is given."""

    offsets: int  # these five as for `tile` of simd.py
    runs: int
    rests: int
    rest: int
    weight: int
    bias: int  # where totals start in the first K-block, 0 in the others
    activation: int  # after this K-block


@absorbed
def conv_item(step: Any, item: int, scratch: int) -> None:
    """One item of a convolution: a run of output rows, of one group of filters."""
    group = item % step.groups
    bounds = step.bounds + item // step.groups * 8
    first, last = load_int(bounds), load_int(bounds + 8)
    for k in range(0, step.products, step.chain):
        count = min(step.chain, step.products - k)
        weight = step.weight + (group * step.products + k) * LINE * step.vectors
        if step.code_bits > 0:
            weight = scratch + PANEL
            dequantize_panel(step, group, k, count, weight)
        if step.vectors == 4:
            rows_of_4(step, group, first, last, k, count, weight, scratch)
        elif step.vectors == 2:
            rows_of_2(step, group, first, last, k, count, weight, scratch)
        else:
            rows_of_1(step, group, first, last, k, count, weight, scratch)


@inner
def block_of(step: Any, group: int, row: int, k: int, count: int, weight: int) -> Block:
    """The K-block of products k ... k + count - 1, without kernel rows in the padding."""
    taps = step.kernel_rows * step.kernel_columns
    lanes = step.x_pixel // 4
    if lanes == LANES:
        channels = count // taps
        runs, rest = channels // LANES * taps, channels % LANES
        rests = taps if rest > 0 else 0
    else:
        runs, rests, rest = 0, count, 1
    above = min(max(step.above - row * step.stride, 0), step.kernel_rows)
    below = min(max(row * step.stride - step.below, 0), step.kernel_rows - above)
    kept = step.kernel_rows - above - below
    skipped = (runs + rests) // step.kernel_rows * above
    return Block(
        offsets=step.offsets + (k // lanes + skipped) * 8,
        runs=runs // step.kernel_rows * kept,
        rests=rests // step.kernel_rows * kept,
        rest=rest,
        weight=weight + count // step.kernel_rows * above * step.vectors * LINE,
        bias=step.bias + group * step.vectors * LONGEST * LINE if k == 0 else 0,
        activation=step.activation if k + count == step.products else LINEAR,
    )


def rows_in_tiles(sizes: Any, long_tile: Any, middle_tile: Any, short_tile: Any) -> Any:
    """The function that does one K-block of an item in tiles of those sizes (tiles.py)."""
    (long, middle, short), vectors = sizes.pixels, sizes.vectors
    do_long = tiles_in_turn(long, vectors, long_tile)
    do_middle = tiles_in_turn(middle, vectors, middle_tile)
    do_short = tiles_in_turn(short, vectors, short_tile)
    do_single = pixel_alone(vectors, short_tile)

    @inner
    def rows(
        step: Any, group: int, first: int, last: int, k: int, count: int, weight: int, scratch: int
    ) -> None:
        # The panel that comes next in memory is next to be used; after it, nothing new is fetched.
        end = weight + count * LINE * vectors
        soon, last_soon = end, end + count * LINE * vectors if step.code_bits == 0 else end
        for row in range(first, last):
            block = block_of(step, group, row, k, count, weight)
            x = step.x + row * step.stride * step.x_row
            y = step.y + group * vectors * step.y_plane + row * step.y_row
            x, y, soon = do_long(step, step.longs, block, x, y, soon, last_soon)
            x, y, soon = do_middle(step, step.middles, block, x, y, soon, last_soon)
            x, y, soon = do_short(step, step.shorts, block, x, y, soon, last_soon)
            for _ in range(step.singles):
                do_single(step, block, x, y, scratch + SPARE)
                x, y = x + step.stride * step.x_pixel, y + LINE

    return rows


def tiles_in_turn(pixels: int, vectors: int, tile: Any) -> Any:
    """The function that does so many tiles of a row; it gives x, y and `soon` after them."""

    @absorbed
    def tiles(
        step: Any, many: int, block: Block, x: int, y: int, soon: int, last_soon: int
    ) -> tuple[int, int, int]:
        x_step, plane = step.stride * step.x_pixel, step.y_plane
        for _ in range(many):
            start, start_plane = (y, plane) if block.bias == 0 else (block.bias, LONGEST * LINE)
            tile(
                x,
                x_step,
                block.offsets,
                block.runs,
                block.rests,
                block.rest,
                block.weight,
                start,
                start_plane,
                y,
                plane,
                soon,
            )
            if block.activation != LINEAR:
                activate(y, plane, block.activation, pixels, vectors)
            x, y = x + pixels * x_step, y + pixels * LINE
            soon = soon + 2 * LINE * block.runs if soon < last_soon else block.weight
        return x, y, soon

    return tiles


def pixel_alone(vectors: int, tile: Any) -> Any:
    """The function that does one pixel, as a tile in scratch memory that sees it every time."""
    spare_plane = LONGEST * LINE

    @inner
    def single(step: Any, block: Block, x: int, y: int, spare: int) -> None:
        for v in range(vectors):
            store(spare + v * spare_plane, load(y + v * step.y_plane))
        start = spare if block.bias == 0 else block.bias
        tile(
            x,
            0,
            block.offsets,
            block.runs,
            block.rests,
            block.rest,
            block.weight,
            start,
            spare_plane,
            spare,
            spare_plane,
            block.weight,
        )
        activate(spare, spare_plane, block.activation, 1, vectors)
        for v in range(vectors):
            store(y + v * step.y_plane, load(spare + v * spare_plane))

    return single


@inner
def activate(y: int, plane: int, activation: int, pixels: int, vectors: int) -> None:
    """The activation of a tile's totals, while they are in L1."""
    for p in range(pixels):
        output = y + p * LINE
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


rows_of_4 = rows_in_tiles(WIDE, tile_6x4, tile_5x4, tile_4x4)
rows_of_2 = rows_in_tiles(HALF, tile_8x2, tile_5x2, tile_4x2)
rows_of_1 = rows_in_tiles(NARROW, tile_6x1, tile_5x1, tile_4x1)
