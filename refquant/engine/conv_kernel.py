"""The fast convolution: equations (1) to (4) of conv.py, in tiles.

A tile is some pixels at equal distances in the output map by `vectors` * 16 filters, whose K-block
sums (3) stay in registers; tile_kernel.py has that loop. An item of work is some strips of
pixels (strips.py), together a run of output rows, times one group of filters:

    for each K-block, whose panel (32 or 36 KB for 64 filters) stays in L1:
        for each strip of the item, for each tile of the strip:
            acc = the sums of its products, in registers                    (2) and (3)
            total = total + acc; totals wait in the output map              (1) at first, (4)
            after the last K-block: y = activation(total)
    if a pooling follows: its rows, while the item's outputs are in L2

Tiles of three lengths fill a strip (tiles.py). A strip of one pixel is a tile whose pixels are all
the same one: it computes the same numbers several times and writes them to the same place.

The rest is decided by where memory comes from: the input rows of an item should fit into L2
together with a panel (item_bounds of conv_step.py), and the next panel is brought into L2 while
tiles are computed.
"""

from typing import Any, NamedTuple

from refquant.engine.activation_loops import EASY_SQUARED, any_silu, easy_silu, leaky, sigmoid
from refquant.engine.jit import absorbed, inlined, inner
from refquant.engine.maps_kernel import pool_beside
from refquant.engine.panels_kernel import dequantize_panel
from refquant.engine.simd import (
    LANES,
    every,
    fma,
    load,
    load_int,
    record_at,
    store,
)
from refquant.engine.steps import (
    LEAKY,
    LINE,
    LINEAR,
    MAX_POOL,
    RECORDS,
    SIGMOID,
    SILU,
    STRIP,
)
from refquant.engine.tile_kernel import (
    Inputs,
    Products,
    Totals,
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
from refquant.engine.tiles import HALF, NARROW, WIDE

SIZE = STRIP.itemsize
strip_at, pool_at = record_at(STRIP), record_at(RECORDS[MAX_POOL])


class Block(NamedTuple):
    """A K-block of a strip, as every tile of the strip needs it.

    bias         the address of the bias, with which totals start in the first K-block; else 0
    activation   what follows this K-block: the convolution's activation if it is the last
    """

    products: Products
    bias: int
    activation: int


@absorbed
def conv_item(step: Any, item: int, scratch: int) -> None:
    """One item of a convolution: a run of output rows, of one group of filters."""
    group = item % step.groups
    bounds = step.bounds + item // step.groups * 16
    first, last = load_int(bounds), load_int(bounds + 16)
    for k in range(0, step.products, step.block_products):
        count = min(step.block_products, step.products - k)
        weight = step.weight + (group * step.products + k) * LINE * step.vectors
        if step.code_bits > 0:
            weight = scratch
            dequantize_panel(step, group, k, count, weight)
        if step.vectors == 4:
            strips_of_4(step, group, first, last, k, count, weight)
        elif step.vectors == 2:
            strips_of_2(step, group, first, last, k, count, weight)
        else:
            strips_of_1(step, group, first, last, k, count, weight)
    if step.pool_step != 0:
        pool = pool_at(step.pool_step)
        begin, end = load_int(bounds + 8) // pool.stride, load_int(bounds + 24) // pool.stride
        for block in range(group * step.vectors, (group + 1) * step.vectors):
            pool_beside(pool, block, begin, end)


@inner
def block_of(step: Any, strip: Any, group: int, k: int, count: int, weight: int) -> Block:
    """The K-block of products k ... k + count - 1, of whose runs a strip has those of its taps."""
    before, channels = k // step.taps, count // step.taps
    lanes = step.x_pixel // 4
    if lanes == LANES:
        full_runs, short_length = channels // LANES * strip.taps, channels % LANES
        short_runs = strip.taps if short_length > 0 else 0
    else:
        full_runs, short_runs, short_length = 0, channels * strip.taps, 1
    table = strip.table + before // lanes * strip.taps * 16
    return Block(
        products=Products(table, full_runs, short_runs, short_length, weight),
        bias=step.bias + group * step.vectors * LINE if k == 0 else 0,
        activation=step.activation if k + count == step.products else LINEAR,
    )


def strips_in_tiles(sizes: Any, long_tile: Any, middle_tile: Any, short_tile: Any) -> Any:
    """The function that does one K-block of an item in tiles of those sizes (tiles.py)."""
    (long, middle, short), vectors = sizes.pixels, sizes.vectors
    do_long = tiles_in_turn(long, vectors, long_tile)
    do_middle = tiles_in_turn(middle, vectors, middle_tile)
    do_short = tiles_in_turn(short, vectors, short_tile)

    @inner
    def strips(
        step: Any, group: int, first: int, last: int, k: int, count: int, weight: int
    ) -> None:
        # The panel that comes next in memory is used next; what lies after it is not fetched.
        end = weight + count * LINE * vectors
        soon, last_soon = end, end + count * LINE * vectors if step.code_bits == 0 else end
        for number in range(first, last):
            strip = strip_at(step.strips + number * SIZE)
            block = block_of(step, strip, group, k, count, weight)
            x, y = strip.x, strip.y + group * vectors * step.y_plane
            x, y, soon = do_long(step, strip, strip.longs, block, x, y, soon, last_soon)
            x, y, soon = do_middle(step, strip, strip.middles, block, x, y, soon, last_soon)
            x, y, soon = do_short(step, strip, strip.shorts, block, x, y, soon, last_soon)

    return strips


def tiles_in_turn(pixels: int, vectors: int, tile: Any) -> Any:
    """The function that does `count` tiles of a strip; it gives x, y and `soon` after them."""

    @absorbed
    def tiles(
        step: Any, strip: Any, count: int, block: Block, x: int, y: int, soon: int, last_soon: int
    ) -> tuple[int, int, int]:
        x_step, y_step, plane = strip.x_step, strip.y_step, step.y_plane
        for _ in range(count):
            total = Totals(y, y_step, plane)
            start = total if block.bias == 0 else Totals(block.bias, 0, LINE)
            tile(Inputs(x, x_step), block.products, start, total, soon)
            if block.activation != LINEAR:
                activate(y, y_step, plane, block.activation, pixels, vectors)
            x, y = x + pixels * x_step, y + pixels * y_step
            fetched = 2 * LINE * block.products.full_runs
            soon = soon + fetched if soon < last_soon else block.products.weight
        return x, y, soon

    return tiles


@inner
def activate(y: int, y_step: int, plane: int, activation: int, pixels: int, vectors: int) -> None:
    """Apply the activation to a tile's totals while they are in L1; to one pixel only once."""
    for p in range(pixels if y_step > 0 else 1):
        output = y + p * y_step
        if activation == SILU and are_easy(output, plane, vectors):
            for v in range(vectors):
                store(output + v * plane, easy_silu(load(output + v * plane)))
        else:
            activate_any(output, plane, activation, vectors)


@inlined
def are_easy(output: int, plane: int, vectors: int) -> bool:
    """Whether |x| < EASY for all of a pixel's totals x; the answer may be a no that is wrong.

    The answer is whether the sum of all x**2 is below EASY**2. No rounding makes a sum of squares
    smaller than its largest part, and NaN is below nothing, so a yes is never wrong.
    """
    squares = load(output) * load(output)
    for v in range(1, vectors):
        squares = fma(load(output + v * plane), load(output + v * plane), squares)
    return every(squares < EASY_SQUARED)


@inner
def activate_any(output: int, plane: int, activation: int, vectors: int) -> None:
    """Apply an activation of any kind to a pixel's totals, whatever numbers they are."""
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


strips_of_4 = strips_in_tiles(WIDE, tile_6x4, tile_5x4, tile_4x4)
strips_of_2 = strips_in_tiles(HALF, tile_8x2, tile_5x2, tile_4x2)
strips_of_1 = strips_in_tiles(NARROW, tile_6x1, tile_5x1, tile_4x1)
