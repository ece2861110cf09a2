"""The loop that a convolution spends its time in, written in LLVM: one tile of one K-block.

A tile is `pixels` x `vectors` sums of 16 lanes; lane l of sum (p, v) belongs to pixel p and to
filter 16 * v + l. The word `tile(pixels, vectors)` adds a K-block's products to the totals of all
of them, one rounding per step and in the order of k (conv.py, equations 2 to 4):

    acc[p, v] = +0.0;  acc[p, v] = fma(x[p, k], weight[k, v], acc[p, v])  for all k     (1)
    total[p, v] = start[p, v] + acc[p, v]                                               (2)

The products come in runs, whose inputs and whose weights are neighbours in memory (blocked.py).
The sums live in registers: LLVM sees them as phi nodes, and Numba does not see them at all. All
totals are read before the first is written, so `start` may be `total`, and all pixels may be the
same one.

A product needs next to nothing besides its loads and multiply-adds, because another process on
the same core may leave this one only half of the core's instructions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from refquant.engine.simd import (
    FLOAT32,
    INT64,
    LANES,
    VECTOR,
    address,
    fused,
    prefetch,
    read,
    record_type,
    splat,
    unpacked,
    word,
    write,
)


class Inputs(NamedTuple):
    """Where pixel p's window begins: at address + p * step."""

    address: int
    step: int


class Products(NamedTuple):
    """The products of a K-block: `full_runs` runs of 16, then `short_runs` of `short_length`.

    table    address of (full_runs + short_runs, 2) int64, for each run: the bytes from a window to
             the run's first input, and from `weight` to its first weights
    weight   address of the K-block's panel; a run's weights are (its length, vectors, 16) float32
    """

    table: int
    full_runs: int
    short_runs: int
    short_length: int
    weight: int


class Totals(NamedTuple):
    """Where the totals of pixel p and vector v lie: at address + p * step + v * plane."""

    address: int
    step: int
    plane: int


def tile(pixels: int, vectors: int) -> Any:
    """The word that computes (1) and (2) for a tile of that size.

    word(inputs, products, start, total, soon): `total` receives the sums that begin with `start`.
    Meanwhile the memory at the address `soon` is brought into L2, 128 bytes for each run of 16.
    """

    @word(types.void, *map(record_type, (Inputs, Products, Totals, Totals)), address)
    def add_products(
        builder: Any, inputs: Any, products: Any, start: Any, total: Any, soon: Any
    ) -> None:
        x, x_step = unpacked(builder, inputs)
        table, full_runs, short_runs, short_length, weight = unpacked(builder, products)
        start, start_step, start_plane = unpacked(builder, start)
        total, step, plane = unpacked(builder, total)

        def times(distance: Any, n: int) -> Any:
            return builder.mul(distance, INT64(n))

        windows = [opaque(builder, builder.add(x, times(x_step, p))) for p in range(pixels)]

        def prefetch_next(offset: Any, soon: Any, next_total: Any) -> None:
            """Fetch a run's share of what is needed next: the memory that the caller asks for,
            the same inputs of the next tile, and the totals of one of its pixels, which another
            core may have written.
            """
            for line in range(2):
                prefetch(builder, builder.add(soon, INT64(64 * line)), 2)
            there = builder.add(offset, times(x_step, pixels))
            for window in windows:
                prefetch(builder, builder.add(window, there), 3)
            for v in range(vectors):
                prefetch(builder, builder.add(next_total, times(plane, v)), 3)

        def multiply(count: int) -> Callable:
            """The body of the loop over a run, `count` products long; (place, weight, *sums)."""

            def body(place: Any, w: Any, *sums: Any) -> list[Any]:
                grown = list(sums)
                for k in range(count):
                    at = 64 * k * vectors
                    row = [read(builder, w, VECTOR, 64, at + 64 * v) for v in range(vectors)]
                    for p in range(pixels):
                        value = read(builder, builder.add(windows[p], place), FLOAT32, 4, 4 * k)
                        for v in range(vectors):
                            i = p * vectors + v
                            grown[i] = fused(builder, splat(builder, value), row[v], grown[i])
                w = builder.add(w, INT64(64 * vectors * count))
                return [builder.add(place, INT64(4 * count)), w, *grown]

            return body

        def do_run(length: Any, count: int) -> Callable:
            """The body of the loop over runs of that length, which does `count` products at a
            time; (table, soon, next_total, *sums).
            """

            def body(at: Any, soon: Any, next_total: Any, *sums: Any) -> list[Any]:
                offset = read(builder, at, INT64, 8)
                first = builder.add(weight, read(builder, at, INT64, 8, 8))
                if count > 1:
                    prefetch_next(offset, soon, next_total)
                size = builder.shl(length, INT64(2), flags=["nsw"])
                end = builder.add(offset, size, flags=["nsw"])
                _, _, *grown = repeat(builder, end, [offset, first, *sums], multiply(count))
                ahead = (builder.add(soon, INT64(128)), builder.add(next_total, step))
                return [builder.add(at, INT64(16)), *ahead, *grown]

            return body

        zero = ir.Constant(VECTOR, [0.0] * LANES)
        next_total = builder.add(total, times(step, pixels))
        state = [table, soon, next_total, *[zero] * (pixels * vectors)]
        end = builder.add(table, builder.shl(full_runs, INT64(4)))
        state = repeat(builder, end, state, do_run(INT64(LANES), 4))
        end = builder.add(end, builder.shl(short_runs, INT64(4)))
        _, _, _, *sums = repeat(builder, end, state, do_run(short_length, 1))  # (1)
        places = [(p, v) for p in range(pixels) for v in range(vectors)]
        new = []
        for acc, (p, v) in zip(sums, places):
            source = builder.add(builder.add(start, times(start_plane, v)), times(start_step, p))
            new.append(builder.fadd(read(builder, source, VECTOR, 64), acc))  # (2)
        for value, (p, v) in zip(new, places):
            place = builder.add(builder.add(total, times(plane, v)), times(step, p))
            write(builder, value, place, 64)

    return add_products


def opaque(builder: Any, number: Any) -> Any:
    """The same int64, of which LLVM knows nothing.

    What LLVM knows to be x + p * step it may compute anew for every product instead of keeping it.
    """
    return builder.asm(ir.FunctionType(INT64, [INT64]), "", "=r,0", [number], False)


def repeat(builder: Any, end: Any, state: list[Any], body: Callable) -> list[Any]:
    """while state[0] < end: state = body(*state). Gives the last state, which are phi nodes."""
    before = builder.block
    head, inside, after = (builder.append_basic_block(n) for n in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    now = [builder.phi(value.type) for value in state]
    builder.cbranch(builder.icmp_signed("<", now[0], end), inside, after)
    builder.position_at_end(inside)
    later = body(*now)
    for phi, first, next_one in zip(now, state, later):
        phi.add_incoming(first, before)
        phi.add_incoming(next_one, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return now


tile_6x4, tile_5x4, tile_4x4 = tile(6, 4), tile(5, 4), tile(4, 4)
tile_8x2, tile_5x2, tile_4x2 = tile(8, 2), tile(5, 2), tile(4, 2)
tile_6x1, tile_5x1, tile_4x1 = tile(6, 1), tile(5, 1), tile(4, 1)
