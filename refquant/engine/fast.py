"""FAST: for every operation the function that gives the bits of its `ref` sooner.

An operation that is not named here only moves data or rounds once per element, so that its `ref`
is as fast as anything. A model that can be planned runs as one program instead (sized_model.py).
The functions here run single nodes: in `walk` of other graphs, in verification and in tests.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.engine.conv_fast import conv_fast
from refquant.ops.catalogue import OPS
from refquant.ops.head import decode
from refquant.ops.pool import max_pool_fast

Array = NDArray[np.float32]


def _jitted(name: str) -> Callable[[Array], Array]:
    """The loop `name` of activation_loops.py, imported (with Numba) when it is first called."""

    def run(x: Array) -> Array:
        from refquant.engine import activation_loops

        flat = np.ascontiguousarray(x).reshape(-1)
        return getattr(activation_loops, name)(flat).reshape(x.shape)

    return run


FAST_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "silu": _jitted("silu_loop"),
    "leaky": _jitted("leaky_loop"),
    "sigmoid": _jitted("sigmoid_loop"),
}


def decode_fast(*raw: NDArray, anchors: NDArray, strides: tuple[int, ...]) -> NDArray:
    """`decode_ref` with the jitted sigmoid."""
    return decode(raw, anchors, strides, np.float32, FAST_ACTIVATIONS["sigmoid"])


FAST: dict[str, Callable[..., NDArray[Any]]] = {
    **{op.name: op.ref for op in OPS.values()},
    "conv": conv_fast,
    "max_pool": max_pool_fast,
    **{name: fast for name, fast in FAST_ACTIVATIONS.items() if name in OPS},
    "decode": decode_fast,
}
