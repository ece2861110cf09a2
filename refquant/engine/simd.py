"""The only file that speaks LLVM: what Numba has no word for. Used inside jitted functions.

`Lanes` is a value of 16 float32 that Numba passes around like a number; `Mask` is 16 booleans.
Both have the operators below, and a float32 among Lanes stands for 16 copies of it, so that one
text serves numbers and lanes alike. LLVM maps 16 lanes onto what the CPU has: one register of
AVX-512, two of AVX2, four of NEON, or 16 scalars. Every operation is IEEE 754's, lane by lane,
with no licence to reorder or to contract: the bits do not depend on the mapping.

    a + b, a - b, a * b, a / b          one rounding each
    -a, abs(a)                          exact
    a > b, a < b, a == b                Mask; false where a lane is NaN
    a != b                              Mask; true where a lane is NaN
    p | q                               Mask
    choose(p, a, b)                     a where p holds, b elsewhere
    every(p)                            whether p holds in all lanes
    fma(x, y, z)                        round(x * y + z), one rounding
    floor(x)                            the largest whole number <= x
    power_of_two(n)                     2.0**n for a whole n in [-126, 127]
    field_as_power(1.5*2**23+127+n)     the same
These six, from choose on, take float32 as well. A CPU without a fused multiply-add gets calls of
the C library's fmaf from LLVM: the same bits.

An address is an int64 in bytes; nothing checks it, so only plans make addresses (engine/plan.py).

    load(a), store(a, lanes)            16 float32; faster at an address divisible by 64
    load_one(a), store_one(a, x)        one float32
    load_int(a), store_int(a, n)        one int64
    load_mask(a)                        16 bits, the lowest for lane 0
    record_at(dtype)(a)                 a record of that NumPy type
    fetch_add(a, n)                     atomically: gives the int64 at a and adds n to it
    tile_6x4 and its like               the loop that a convolution spends its time in
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.core.typeconv import Conversion
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import (
    intrinsic,
    lower_builtin,
    lower_cast,
    models,
    register_model,
)

LANES = 16
BYTE, INT16, INT32, INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOAT32 = ir.FloatType()
VECTOR = ir.VectorType(FLOAT32, LANES)
BITS = ir.VectorType(ir.IntType(1), LANES)


class Lanes(types.Type):
    """16 float32; a float32 converts to 16 copies of it."""

    def can_convert_from(self, _context: Any, other: types.Type) -> Any:
        return Conversion.safe if other == types.float32 else None


class Mask(types.Type):
    """16 booleans."""


lanes, mask, address = Lanes("Lanes"), Mask("Mask"), types.int64


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


@register_model(Mask)
class MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, BITS)


def splat(builder: Any, x: Any) -> Any:
    """16 copies of a float32."""
    nothing = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, x, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, LANES), [0] * LANES)
    return builder.shuffle_vector(first, nothing, zeros)


@lower_cast(types.float32, Lanes)
def _lanes_of(_context: Any, builder: Any, _from: Any, _to: Any, x: Any) -> Any:
    return splat(builder, x)


# ---- operators ----


def teach(function: Any, result: Any, arguments: tuple[Any, ...], emit: Callable) -> None:
    """Teach Numba an operator on Lanes or Masks: emit(builder, *values) -> value."""
    cases = {"cases": [signature(result, *arguments)]}
    infer_global(function)(type(function.__name__, (ConcreteTemplate,), cases))
    lower_builtin(function, *arguments)(lambda _c, builder, _s, values: emit(builder, *values))


teach(operator.add, lanes, (lanes, lanes), lambda b, x, y: b.fadd(x, y))
teach(operator.sub, lanes, (lanes, lanes), lambda b, x, y: b.fsub(x, y))
teach(operator.mul, lanes, (lanes, lanes), lambda b, x, y: b.fmul(x, y))
teach(operator.truediv, lanes, (lanes, lanes), lambda b, x, y: b.fdiv(x, y))
teach(operator.neg, lanes, (lanes,), lambda b, x: b.fneg(x))
teach(operator.gt, mask, (lanes, lanes), lambda b, x, y: b.fcmp_ordered(">", x, y))
teach(operator.lt, mask, (lanes, lanes), lambda b, x, y: b.fcmp_ordered("<", x, y))
teach(operator.eq, mask, (lanes, lanes), lambda b, x, y: b.fcmp_ordered("==", x, y))
teach(operator.ne, mask, (lanes, lanes), lambda b, x, y: b.fcmp_unordered("!=", x, y))
teach(
    abs,
    lanes,
    (lanes,),
    lambda b, x: b.call(function_of(b, "llvm.fabs.v16f32", VECTOR, VECTOR), [x]),
)
teach(operator.or_, mask, (mask, mask), lambda b, p, q: b.or_(p, q))


# ---- words ----


def word(result: Any, *arguments: Any) -> Callable:
    """Decorate emit(builder, *values) -> value or None: a word of fixed types."""

    def decorate(emit: Callable) -> Any:
        def typing(_context: Any, *_given: Any) -> Any:
            def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
                value = emit(builder, *values)
                return context.get_dummy_value() if result == types.void else value

            return signature(result, *arguments), codegen

        return named_like(emit, typing)

    return decorate


def word_of_one_kind(emit: Callable) -> Any:
    """Decorate emit(builder, *values) -> value: a word on Lanes if one is given, or float32."""

    def typing(_context: Any, *given: Any) -> Any:
        kind = lanes if lanes in given or mask in given else types.float32
        tests = {types.boolean: types.boolean, mask: mask}
        arguments = [tests.get(one, kind) for one in given]

        def codegen(_target: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return emit(builder, *values)

        return signature(kind, *arguments), codegen

    return named_like(emit, typing)


def named_like(emit: Callable, typing: Any) -> Any:
    """The intrinsic of `typing`, with the name, lesson and parameters of `emit`."""
    typing.__name__, typing.__doc__ = emit.__name__, emit.__doc__
    # Numba reads the parameters from here; the builder stands where the context does.
    typing.__signature__ = inspect.signature(emit)
    return intrinsic(typing)


def function_of(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """An LLVM function by name, declared in the module under construction."""
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, name)


def suffix(value: Any) -> str:
    """How LLVM's names call the type of a float32 or of Lanes."""
    return "v16f32" if value.type == VECTOR else "f32"


def fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """LLVM's fused multiply-add of float32 or vectors."""
    name = f"llvm.fma.{suffix(x)}"
    return builder.call(function_of(builder, name, x.type, *[x.type] * 3), [x, y, z])


def integers_like(value: Any) -> Any:
    """The type of int32, as many as `value` has float32."""
    return ir.VectorType(INT32, LANES) if value.type == VECTOR else INT32


def integers(kind: Any, value: int) -> Any:
    """That integer, in all lanes if the type has lanes."""
    return ir.Constant(kind, [value] * LANES if kind != INT32 else value)


@word_of_one_kind
def choose(builder: Any, test: Any, x: Any, y: Any) -> Any:
    """x where `test` (Mask, or bool for float32) holds, y elsewhere."""
    return builder.select(test, x, y)


@intrinsic
def every(_context: Any, test: Any) -> Any:
    """Whether all lanes of a Mask hold; a bool stays as it is."""

    def codegen(_target: Any, builder: Any, _signature: Any, values: Any) -> Any:
        if test == types.boolean:
            return values[0]
        return builder.icmp_unsigned("==", builder.bitcast(values[0], INT16), INT16(0xFFFF))

    return types.boolean(test), codegen


@word_of_one_kind
def fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """round(x * y + z), one rounding."""
    return fused(builder, x, y, z)


@word_of_one_kind
def floor(builder: Any, x: Any) -> Any:
    """The largest whole number <= x."""
    return builder.call(function_of(builder, f"llvm.floor.{suffix(x)}", x.type, x.type), [x])


@word_of_one_kind
def power_of_two(builder: Any, n: Any) -> Any:
    """2.0**n for a whole n in [-126, 127]: its exponent field, and nothing else."""
    whole = integers_like(n)
    field = builder.add(builder.fptosi(n, whole), integers(whole, 127))
    return builder.bitcast(builder.shl(field, integers(whole, 23)), n.type)


@word_of_one_kind
def field_as_power(builder: Any, rounded: Any) -> Any:
    """2.0**n for rounded = 1.5 * 2**23 + 127 + n, n whole and in [-126, 127].

    The low bits of `rounded` are the exponent field of 2.0**n; they move to where that lies.
    """
    whole = integers_like(rounded)
    field = builder.shl(builder.bitcast(rounded, whole), integers(whole, 23))
    return builder.bitcast(field, rounded.type)


def pointer(builder: Any, where: Any, kind: Any, offset: int = 0) -> Any:
    """where + offset as a pointer to `kind`."""
    return builder.inttoptr(builder.add(where, INT64(offset)), kind.as_pointer())


def read(builder: Any, where: Any, kind: Any, align: int, offset: int = 0) -> Any:
    """The `kind` at where + offset."""
    value = builder.load(pointer(builder, where, kind, offset))
    value.align = align
    return value


def write(builder: Any, value: Any, where: Any, align: int, offset: int = 0) -> None:
    """Put the value at where + offset."""
    builder.store(value, pointer(builder, where, value.type, offset)).align = align


@word(lanes, address)
def load(builder: Any, where: Any) -> Any:
    return read(builder, where, VECTOR, 4)


@word(types.void, address, lanes)
def store(builder: Any, where: Any, x: Any) -> None:
    write(builder, x, where, 4)


@word(types.float32, address)
def load_one(builder: Any, where: Any) -> Any:
    return read(builder, where, FLOAT32, 4)


@word(types.void, address, types.float32)
def store_one(builder: Any, where: Any, x: Any) -> None:
    write(builder, x, where, 4)


@word(types.int64, address)
def load_int(builder: Any, where: Any) -> Any:
    return read(builder, where, INT64, 8)


@word(types.void, address, types.int64)
def store_int(builder: Any, where: Any, n: Any) -> None:
    write(builder, n, where, 8)


@word(mask, address)
def load_mask(builder: Any, where: Any) -> Any:
    """16 bits, the lowest for lane 0."""
    return builder.bitcast(read(builder, where, INT16, 2), BITS)


def record_at(dtype: Any) -> Any:
    """The word record_at(address): a record of that NumPy type, where it lies."""
    kind = from_dtype(dtype)

    def record(_context: Any, _where: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(kind))

        return kind(address), codegen

    return intrinsic(record)


def prefetch(builder: Any, where: Any, locality: int) -> None:
    """Ask for the cache line of an address: locality 3 is the first level, 2 the second."""
    kinds = (BYTE.as_pointer(), INT32, INT32, INT32)
    ask = function_of(builder, "llvm.prefetch.p0", ir.VoidType(), *kinds)
    for_reading, data = INT32(0), INT32(1)
    builder.call(ask, [pointer(builder, where, BYTE), for_reading, INT32(locality), data])


@word(types.int64, address, types.int64)
def fetch_add(builder: Any, where: Any, n: Any) -> Any:
    """Atomically: give the int64 at the address and add n to it; orders all memory around it."""
    return builder.atomic_rmw("add", pointer(builder, where, INT64), n, "seq_cst")


def tile(pixels: int, vectors: int) -> Any:
    """The word that adds a K-block's sums of products to `pixels` x `vectors` totals of 16 lanes.

    word(x, x_step, table, runs, rests, rest, weight, start, start_step, start_plane, total, step,
    plane, soon), all int64. The products of a sum come in runs, whose inputs and whose weights are
    neighbours in memory: first `runs` runs of 16, then `rests` runs of `rest`.
        x        address where the first pixel's window begins, x_step bytes before the next one's
        table    (runs + rests, 2) int64, of each run: bytes from there to its first input, and
                 from `weight` to its first weights, which are (run, vectors, 16) float32
        start    of the totals so far, the first pixel's of the first 16 filters; the next pixel's
                 are start_step bytes on, the next 16 filters' start_plane bytes
        total    likewise, with `step` and `plane`: the new totals
        soon     address of memory to bring into L2 meanwhile, 128 bytes for each run of 16
    computes, one rounding per step and in the order of k, with x[k] of pixel p at
    x + p*x_step + offset of the run + 4 * place in the run,
        acc = +0.0;  acc = fma(x[k], weight[k, v], acc) for all k;  total[v, p] = start[v, p] + acc

    The sums live in registers: LLVM sees them as phi nodes, and Numba not at all. All totals are
    read before the first is written, so start may be total, and all pixels may be the same one.

    What a product needs besides its loads and multiply-adds is next to nothing: another process
    on the same core may leave this one only half of the core's instructions.
    """

    @word(types.void, *[address] * 14)
    def add_products(
        builder: Any,
        x: Any,
        x_step: Any,
        table: Any,
        runs: Any,
        rests: Any,
        rest: Any,
        weight: Any,
        start: Any,
        start_step: Any,
        start_plane: Any,
        total: Any,
        step: Any,
        plane: Any,
        soon: Any,
    ) -> None:
        def times(distance: Any, n: int) -> Any:
            return builder.mul(distance, INT64(n))

        windows = [opaque(builder, builder.add(x, times(x_step, p))) for p in range(pixels)]

        def prefetch_next(offset: Any, soon: Any, next_total: Any) -> None:
            """A run's share of what is needed next: what the caller asks for, and of the next tile
            the same inputs, and a pixel's totals. Another core may have written them.
            """
            for line in range(2):
                prefetch(builder, builder.add(soon, INT64(64 * line)), 2)
            there = builder.add(offset, times(x_step, pixels))
            for window in windows:
                prefetch(builder, builder.add(window, there), 3)
            for v in range(vectors):
                prefetch(builder, builder.add(next_total, times(plane, v)), 3)

        def multiply(products: int) -> Callable:
            """The body of a loop over a run: so many products; (place, weight, *sums)."""

            def body(place: Any, w: Any, *sums: Any) -> list[Any]:
                grown = list(sums)
                for k in range(products):
                    at = 64 * k * vectors
                    row = [read(builder, w, VECTOR, 64, at + 64 * v) for v in range(vectors)]
                    for p in range(pixels):
                        value = read(builder, builder.add(windows[p], place), FLOAT32, 4, 4 * k)
                        for v in range(vectors):
                            i = p * vectors + v
                            grown[i] = fused(builder, splat(builder, value), row[v], grown[i])
                w = builder.add(w, INT64(64 * vectors * products))
                return [builder.add(place, INT64(4 * products)), w, *grown]

            return body

        def do_run(length: Any, products: int) -> Callable:
            """The body of a loop over runs of that length; (table, soon, next_total, *sums)."""

            def body(at: Any, soon: Any, next_total: Any, *sums: Any) -> list[Any]:
                offset = read(builder, at, INT64, 8)
                first = builder.add(weight, read(builder, at, INT64, 8, 8))
                if products > 1:
                    prefetch_next(offset, soon, next_total)
                size = builder.shl(length, INT64(2), flags=["nsw"])
                end = builder.add(offset, size, flags=["nsw"])
                _, _, *grown = repeat(builder, end, [offset, first, *sums], multiply(products))
                ahead = (builder.add(soon, INT64(128)), builder.add(next_total, step))
                return [builder.add(at, INT64(16)), *ahead, *grown]

            return body

        zero = ir.Constant(VECTOR, [0.0] * LANES)
        next_total = builder.add(total, times(step, pixels))
        state = [table, soon, next_total, *[zero] * (pixels * vectors)]
        end = builder.add(table, builder.shl(runs, INT64(4)))
        state = repeat(builder, end, state, do_run(INT64(LANES), 4))
        end = builder.add(end, builder.shl(rests, INT64(4)))
        _, _, _, *sums = repeat(builder, end, state, do_run(rest, 1))
        places = [(p, v) for p in range(pixels) for v in range(vectors)]
        new = []
        for acc, (p, v) in zip(sums, places):
            source = builder.add(builder.add(start, times(start_plane, v)), times(start_step, p))
            new.append(builder.fadd(read(builder, source, VECTOR, 64), acc))
        for value, (p, v) in zip(new, places):
            place = builder.add(builder.add(total, times(plane, v)), times(step, p))
            write(builder, value, place, 64)

    return add_products


def opaque(builder: Any, number: Any) -> Any:
    """The same int64, of which LLVM knows nothing.

    What it knows to be x + p * step it may compute anew for every product, instead of keeping it.
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
