"""Narrower arithmetic than declared: the last thing tried, as its bounds are the widest.

stored in t     x, w and b rounded to t, then a right sum, then rounded to t; every number
                found is one of t                                                       (1)
tensor cores    x and w rounded to tf32 or bfloat16, a right sum, stored as declared     (2)
summed in t     the numbers found are of t; or those before the activation are, with the bias or
                without, nearly all, as far as float32 shows it. They are within n u_t T, the
                bound of such sums for every n (bounds_conv.py, (3)), and no numbers in fixed
                point, all multiples of FIXED. Outputs of t that may come from right sums must
                be beyond the declared bound in more than SHARE                             (3)
"""

from collections.abc import Callable

import numpy as np

from refquant.graph.graph import Node, array_of
from refquant.verification.blame.fit_causes import before
from refquant.verification.blame.trial import (
    Array,
    Cause,
    Inputs,
    Trial,
    holds,
    with_arrays,
    with_attributes,
)
from refquant.verification.bounds import SILU_SLOPE, enclose
from refquant.verification.declared import FLOAT_TYPES, Declared
from refquant.verification.enclosed import Enclosed
from refquant.verification.variants import rounded

SHARE = 0.25
FIXED = 2.0**-10
NEAR = 2.0**-20  # of float32 roundings, in which a sum is known; a float16 is within by 1 in 256
NEARLY_ALL, FEWEST = 0.9, 64  # of the numbers that are known
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
        if declared.accumulator == name:
            return False
        y = enclose(node, inputs, declared)
        off = abs(np.asarray(found, float) - y.value) > y.bound
        if not np.isfinite(y.bound).all() or is_fixed(found):
            return False
        kind, plain = FLOAT_TYPES[name], FLOAT_TYPES["float32"]
        right = enclose(with_attributes(node, activation="linear"), inputs, Declared())
        most = kind.u / plain.u * right.bound + kind.tiny
        if is_of(found, name):
            if off.mean() <= SHARE:
                return False
            whole = SILU_SLOPE * most + 2 * kind.u * abs(y.value)
            return bool((abs(np.asarray(found, float) - y.value) <= whole).all())
        z, known = before(node, found)
        within = (abs(z - right.value) <= most)[known]
        return bool(within.all() and before_the_bias(node, z, known, name))

    return fits


def is_fixed(found: Array) -> bool:
    """Whether all are multiples of FIXED, as numbers in fixed point are; of floats the small ones
    are not."""
    return bool((np.asarray(found, float) % FIXED == 0).all())


def before_the_bias(node: Node, z: Array, known: Array, name: str) -> bool:
    """Whether nearly all known z, or z less the bias, are numbers of the type."""
    sums = [z]
    if "bias" in node.arrays:
        sums.append(z - np.asarray(array_of(node.arrays["bias"]), float)[:, None, None])
    for total in sums:
        nearest = rounded(total.astype(np.float32), name)
        near = abs(total - nearest) <= NEAR * (abs(z) + abs(total)) + FLOAT_TYPES[name].tiny
        if known.sum() >= FEWEST and near[known].mean() >= NEARLY_ALL:
            return True
    return False


TYPE_CAUSES = (
    Cause("stored as float16", ("conv",), fits=stored("float16")),
    Cause("stored as bfloat16", ("conv",), fits=stored("bfloat16")),
    # Within float16's range the two are the same rounding, to 11 bits.
    Cause("inputs and weights rounded to tf32 or float16", ("conv",), fits=cores("tf32")),
    Cause("inputs and weights rounded to bfloat16", ("conv",), fits=cores("bfloat16")),
    # bfloat16 first: within float16's range its numbers are float16's as well.
    Cause("bfloat16 accumulation", ("conv",), fits=summed("bfloat16")),
    Cause("float16 accumulation", ("conv",), fits=summed("float16")),
)
