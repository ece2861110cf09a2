"""What Numba has no word for, written in LLVM: 16 float32 at once, and memory by address.

These words are used inside jitted functions. No other file speaks LLVM but tile_kernel.py, which
writes the convolution's innermost loop in it.

`Lanes` is a value of 16 float32 that Numba passes around like a number, and `Mask` is one of 16
booleans. Both have the operators below, and a float32 among Lanes stands for 16 copies of it, so
that one text serves numbers and lanes alike. LLVM maps 16 lanes onto what the CPU has: one
register of AVX-512, two of AVX2, four of NEON, or 16 scalars. Every operation is that of IEEE 754,
lane by lane, with no licence to reorder or to contract, so the bits do not depend on the mapping.

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
The words from `choose` on take float32 as well. For a CPU without a fused multiply-add LLVM calls
the C library's fmaf, which gives the same bits.

An address is an int64 in bytes. Nothing checks it, so only plans make addresses (plan.py).

    load(a), store(a, lanes)            16 float32; they are faster at an address divisible by 64
    load_one(a), store_one(a, x)        one float32
    load_int(a)                         one int64
    load_mask(a)                        16 bits, of which the lowest is for lane 0
    record_at(dtype)(a)                 a record of that NumPy type
    fetch_add(a, n)                     gives the int64 at a and adds n to it, atomically
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

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
    """Decorate emit(builder, *values) -> value or None, which becomes a word of fixed types."""

    def decorate(emit: Callable) -> Any:
        def typing(_context: Any, *_given: Any) -> Any:
            def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
                value = emit(builder, *values)
                return context.get_dummy_value() if result == types.void else value

            return signature(result, *arguments), codegen

        return named_like(emit, typing)

    return decorate


def word_of_one_kind(emit: Callable) -> Any:
    """Decorate emit(builder, *values) -> value, which becomes a word on Lanes or on float32."""

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


def record_type(record: type[NamedTuple]) -> Any:
    """Numba's type of a NamedTuple of int64."""
    return types.NamedUniTuple(types.int64, len(record._fields), record)


def unpacked(builder: Any, record: Any) -> list[Any]:
    """The values in a NamedTuple of int64."""
    return [builder.extract_value(record, i) for i in range(record.type.count)]


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
    """2.0**n for a whole n in [-126, 127]; only its exponent field is not zero."""
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


@word(mask, address)
def load_mask(builder: Any, where: Any) -> Any:
    """16 bits, of which the lowest is for lane 0."""
    return builder.bitcast(read(builder, where, INT16, 2), BITS)


def record_at(dtype: Any) -> Any:
    """The word record(address): the record of that NumPy type that lies there."""
    kind = from_dtype(dtype)

    def record(_context: Any, _where: Any) -> Any:
        def codegen(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], context.get_value_type(kind))

        return kind(address), codegen

    return intrinsic(record)


def prefetch(builder: Any, where: Any, locality: int) -> None:
    """Ask for the cache line of an address; locality 3 is the first level, 2 the second."""
    kinds = (BYTE.as_pointer(), INT32, INT32, INT32)
    ask = function_of(builder, "llvm.prefetch.p0", ir.VoidType(), *kinds)
    for_reading, data = INT32(0), INT32(1)
    builder.call(ask, [pointer(builder, where, BYTE), for_reading, INT32(locality), data])


@word(types.int64, address, types.int64)
def fetch_add(builder: Any, where: Any, n: Any) -> Any:
    """Give the int64 at the address and add n to it, atomically, and with all memory in order."""
    return builder.atomic_rmw("add", pointer(builder, where, INT64), n, "seq_cst")
