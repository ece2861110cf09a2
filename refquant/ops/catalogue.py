"""OPS, the catalogue of operations: each has an equation and an arithmetic.

`math` is the equation in float64. `ref` is the arithmetic in float32 and defines every output bit.
How the same bits are computed sooner is the engine's affair (FAST of engine/fast.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from refquant.arrays.table import Table
from refquant.ops import head, norm, pool, routing
from refquant.ops.activation import ACTIVATIONS
from refquant.ops.conv import conv_math, conv_ref

Kernel = Callable[..., NDArray[Any]]


class Op(NamedTuple):
    """An operation: kernel(*inputs, **arrays, **attributes) -> output.

    arrays      names of the arrays a node of this operation may own
    attributes  names of its attributes, all of them required in a node
    """

    name: str
    math: Kernel
    ref: Kernel
    arrays: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


def _same(name: str, kernel: Kernel, *attributes: str, arrays: tuple[str, ...] = ()) -> Op:
    """An operation of which one function gives both the equation and the arithmetic."""
    return Op(name, kernel, kernel, arrays, attributes)


OPS = Table(
    "op",
    (
        Op(
            "conv",
            conv_math,
            conv_ref,
            ("weight", "bias"),
            ("stride", "padding", "activation"),
        ),
        Op(
            "batch_norm",
            norm.batch_norm_math,
            norm.batch_norm_ref,
            ("weight", "bias", "mean", "variance"),
            ("eps",),
        ),
        *(Op(a.name, a.math, a.ref) for a in ACTIVATIONS.values() if a.name != "linear"),
        _same("max_pool", pool.max_pool_ref, "kernel", "stride", "padding"),
        _same("concat", routing.concat),
        _same("upsample", routing.upsample, "scale"),
        _same("space_to_depth", routing.space_to_depth),
        _same("add", routing.add),
        _same("add_channel", routing.add_channel, arrays=("implicit",)),
        _same("multiply_channel", routing.multiply_channel, arrays=("implicit",)),
        Op("decode", head.decode_math, head.decode_ref, ("anchors",), ("strides",)),
    ),
)
