"""Narrower arithmetic than declared: the last thing tried, as its bounds are the widest.

stored in t     x, w and b rounded to t, then a right sum, then rounded to t; every number
                found is one of t                                                       (1)
tensor cores    x and w rounded to tf32 or bfloat16, a right sum, stored as declared     (2)
summed in t     within the bound of an accumulator of type t, every number found one of t,
                and more than SHARE of them off: a single wrong weight is not rounding       (3)
"""

from collections.abc import Callable

import numpy as np

from refquant.graph.graph import Node, array_of
from refquant.verification.blame.trial import Array, Cause, Inputs, Trial, holds, with_arrays
from refquant.verification.bounds import enclose
from refquant.verification.declared import FLOAT_TYPES, Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.variants import rounded

SHARE = 0.25
Fits = Callable[[Node, Inputs, Array, Declared], bool]


def narrow(node: Node, inputs: Inputs, name: str) -> tuple[Node, list[Enclosed]]:
    """The node and its inputs with every number rounded to a type."""
    arrays = {
        key: rounded(np.asarray(array_of(value), np.float32), name)
        for key, value in node.arrays.items()
        if key in ("weight", "bias")
    }
    values = [
        Enclosed(rounded(x.value.astype(np.float32), name).astype(float), x.bound) for x in inputs
    ]
    return with_arrays(node, **arrays), values


def is_of(found: Array, name: str) -> bool:
    """Whether every number is one of the type."""
    plain = np.asarray(found, np.float32)
    return bool(np.array_equal(rounded(plain, name), plain))


def stored(name: str) -> Fits:
    """Rule (1)."""

    def fits(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
        if declared.storage == name or not is_of(found, name):
            return False
        changed, values = narrow(node, inputs, name)
        kind = FLOAT_TYPES[name]

        def after(y: Enclosed) -> Enclosed:
            return Enclosed(y.value, y.bound + 3 * kind.u * (abs(y.value) + y.bound) + kind.tiny)

        return holds(Trial(changed, values, after), found, declared)

    return fits


def cores(name: str) -> Fits:
    """Rule (2)."""

    def fits(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
        changed, values = narrow(node, inputs, name)
        if "bias" in node.arrays:
            changed = with_arrays(changed, bias=node.arrays["bias"])
        return holds(Trial(changed, values), found, declared)

    return fits


def summed(name: str) -> Fits:
    """Rule (3)."""

    def fits(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
        if declared.accumulator == name or not is_of(found, name):
            return False
        y = enclose(node, inputs, declared)
        off = abs(np.asarray(found, float) - y.value) > y.bound
        wide = declared._replace(storage=name, accumulator=name)
        return bool(off.mean() > SHARE and holds(Trial(node, inputs), found, wide))

    return fits


TYPE_CAUSES = (
    Cause("stored as float16", ("conv",), fits=stored("float16")),
    Cause("stored as bfloat16", ("conv",), fits=stored("bfloat16")),
    # Within float16's range the two are the same rounding, to 11 bits.
    Cause("inputs and weights rounded to tf32 or float16", ("conv",), fits=cores("tf32")),
    Cause("inputs and weights rounded to bfloat16", ("conv",), fits=cores("bfloat16")),
    Cause("float16 accumulation", ("conv",), fits=summed("float16")),
)
