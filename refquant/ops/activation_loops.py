"""The activations for jitted code, equal to activation.py's `_ref` bit for bit (same equations).

The scalar texts `exp`, `silu`, `sigmoid` and `leaky` serve one float32 or 16 Lanes (simd.py):
the fast convolution applies them to registers, the loops below to arrays.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
from refquant.ops.jit import inlined, inner
from refquant.ops.simd import choose, every, floor, fma, power_of_two, times_power_of_two

P0, P1, P2, P3, P4 = P
HALF, ZERO, MINUS_ZERO = np.float32(0.5), np.float32(0.0), np.float32(-0.0)
MINUS_INF = np.float32(-np.inf)


# Where |t| is below EASY, nothing in exp is special: (4) changes nothing, n is in [-126, 126],
# the result is a normal number, so one power of two gives it as exactly as two, and t is not
# NaN. 16 lanes of SiLU then take half of the instructions; nearly all of a network's lanes are
# easy.
EASY = np.float32(87.0)


@inlined
def reduced(t: Any) -> Any:
    """(mantissa, M + n) with exp(t) = mantissa * 2**n, equations (5) to (7)."""
    rounded = fma(t, LOG2_E, ROUNDER)
    n = rounded - ROUNDER  # (5)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, t))  # (6)
    p = fma(fma(fma(fma(P0, r, P1), r, P2), r, P3), r, P4)  # (7)
    return fma(p, r * r, r) + ONE, rounded


@inner
def exp(t: Any) -> Any:
    """exp(t), equations (4) to (8) of activation.py."""
    t = choose(t > LOWEST, t, LOWEST)
    t = choose(t < HIGHEST, t, HIGHEST)  # (4)
    mantissa, rounded = reduced(t)
    n = rounded - ROUNDER
    half = floor(n * HALF)
    return mantissa * power_of_two(half) * power_of_two(n - half)  # (8)


@inlined
def easy_exp(t: Any) -> Any:
    """exp(t) for |t| < EASY."""
    mantissa, rounded = reduced(t)
    return times_power_of_two(mantissa, rounded)  # (8)


@inlined
def silu(x: Any) -> Any:
    """Equation (1)."""
    if every(abs(x) < EASY):
        return x / (easy_exp(-x) + ONE)
    return any_silu(x)


@inner
def any_silu(x: Any) -> Any:
    """Equation (1) where some lanes are not easy."""
    y = choose(x == MINUS_INF, MINUS_ZERO, x / (exp(-x) + ONE))
    return choose(x != x, NAN, y)


@inlined
def sigmoid(x: Any) -> Any:
    """Equation (2)."""
    if every(abs(x) < EASY):
        return ONE / (easy_exp(-x) + ONE)
    return choose(x != x, NAN, ONE / (exp(-x) + ONE))


@inlined
def leaky(x: Any) -> Any:
    """Equation (3)."""
    return choose(x != x, NAN, choose(x > ZERO, x, x * SLOPE))


@njit(nogil=True, cache=True)
def silu_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = silu(x[i])
    return y


@njit(nogil=True, cache=True)
def sigmoid_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = sigmoid(x[i])
    return y


@njit(nogil=True, cache=True)
def leaky_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        y[i] = leaky(x[i])
    return y
