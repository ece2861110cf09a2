"""The activations for jitted code, equal to activation.py's `_ref` bit for bit (same equations).

The texts of `exp`, `silu`, `sigmoid` and `leaky` serve one float32 or 16 Lanes (simd.py): the
fast convolution applies them to registers, and the loops below to arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.engine.jit import inlined, inner, kernel
from refquant.engine.simd import choose, every, field_as_power, floor, fma, power_of_two
from refquant.ops.activation import (
    HIGHEST,
    LN2_HIGH,
    LN2_LOW,
    LOG2_E,
    LOWEST,
    NAN,
    ONE,
    ROUNDER,
    SLOPE,
    P,
)

P0, P1, P2, P3, P4 = P
HALF, ZERO, MINUS_ZERO = np.float32(0.5), np.float32(0.0), np.float32(-0.0)
MINUS_INF = np.float32(-np.inf)


# Where |x| is below EASY, nothing in exp(-x) is special: x is not NaN, (4) changes nothing, n is
# in [-126, 126], and the result is a normal number, so that one power of two gives it as exactly
# as two. That takes half of the instructions, and nearly all lanes of a model are easy.
EASY = np.float32(87.0)
EASY_SQUARED = EASY * EASY
# BIASED is M of (5) plus 127, so that BIASED + n has the exponent field of 2**n in its low bits.
# M is even and BIASED is odd, so they round alike unless x * LOG2_E is an odd number of halves.
# Since LOG2_E is an odd number times 2**-23, that takes an |x| of at least 2**22.
BIASED = ROUNDER + np.float32(127)


@inlined
def reduced(x: Any) -> Any:
    """(mantissa, BIASED + n) with exp(-x) = mantissa * 2**n, equations (5) to (7) for t = -x.

    s is -r, and p has the other sign after every other step; signs change no rounding.
    """
    rounded = fma(x, -LOG2_E, BIASED)
    n = rounded - BIASED  # (5)
    s = fma(n, LN2_LOW, fma(n, LN2_HIGH, x))  # (6)
    p = fma(fma(fma(fma(P0, s, -P1), s, P2), s, -P3), s, P4)  # (7)
    return fma(p, s * s, -s) + ONE, rounded


@inner
def exp(t: Any) -> Any:
    """exp(t), equations (4) to (8) of activation.py."""
    t = choose(t > LOWEST, t, LOWEST)
    t = choose(t < HIGHEST, t, HIGHEST)  # (4)
    mantissa, rounded = reduced(-t)
    n = rounded - BIASED
    half = floor(n * HALF)
    return mantissa * power_of_two(half) * power_of_two(n - half)  # (8)


@inlined
def easy_denominator(x: Any) -> Any:
    """1 + exp(-x) for |x| < EASY, rounded once as in (1) and (2), since (8) is exact there."""
    mantissa, rounded = reduced(x)
    return fma(mantissa, field_as_power(rounded), ONE)


@inlined
def easy_silu(x: Any) -> Any:
    """Equation (1) for |x| < EASY."""
    return x / easy_denominator(x)


@inlined
def silu(x: Any) -> Any:
    """Equation (1)."""
    return easy_silu(x) if every(abs(x) < EASY) else any_silu(x)


@inner
def any_silu(x: Any) -> Any:
    """Equation (1) where not all lanes are easy."""
    y = choose(x == MINUS_INF, MINUS_ZERO, x / (exp(-x) + ONE))
    return choose(x != x, NAN, y)


@inlined
def sigmoid(x: Any) -> Any:
    """Equation (2)."""
    if every(abs(x) < EASY):
        return ONE / easy_denominator(x)
    return choose(x != x, NAN, ONE / (exp(-x) + ONE))


@inlined
def leaky(x: Any) -> Any:
    """Equation (3)."""
    return choose(x != x, NAN, choose(x > ZERO, x, x * SLOPE))


@kernel
def silu_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = silu(x[i])
    return y


@kernel
def sigmoid_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = sigmoid(x[i])
    return y


@kernel
def leaky_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = leaky(x[i])
    return y
