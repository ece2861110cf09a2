"""The only file that speaks LLVM: what Numba has no word for.

Used inside jitted functions. `fma` is one fused multiply-add in float32, rounded once; on a CPU
without such an instruction LLVM calls the C library's fmaf, which gives the same bits.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def fma(_context: Any, x: Any, y: Any, z: Any) -> Any:
    """round(x * y + z), one rounding; x, y, z float32 scalars."""
    signature = types.float32(types.float32, types.float32, types.float32)

    def codegen(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        float32 = ir.FloatType()
        kind = ir.FunctionType(float32, [float32] * 3)
        return builder.call(builder.module.declare_intrinsic("llvm.fma", [float32], kind), args)

    return signature, codegen


@intrinsic
def power_of_two(_context: Any, n: Any) -> Any:
    """2.0**n as float32 for an int32 n in [-126, 127]: its exponent field, and nothing else."""
    signature = types.float32(types.int32)

    def codegen(_target: Any, builder: Any, _signature: Any, args: Any) -> Any:
        int32 = ir.IntType(32)
        field = builder.shl(builder.add(args[0], int32(127)), int32(23))
        return builder.bitcast(field, ir.FloatType())

    return signature, codegen
