"""The activations for jitted code, equal to activation.py's `_ref` bit for bit (same equations).

The scalar texts `exp`, `silu`, `sigmoid` and `leaky` serve one float32 or 16 Lanes (simd.py):
the fast convolution applies them to registers, the loops below to arrays.
"""

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
from refquant.ops.simd import choose, floor, fma, power_of_two

P0, P1, P2, P3, P4 = P
HALF, ZERO, MINUS_ZERO = np.float32(0.5), np.float32(0.0), np.float32(-0.0)
MINUS_INF = np.float32(-np.inf)


@njit(nogil=True, error_model="numpy")
def exp(t):  # type: ignore[no-untyped-def]
    """exp(t), equations (4) to (8) of activation.py."""
    t = choose(t > LOWEST, t, LOWEST)
    t = choose(t < HIGHEST, t, HIGHEST)  # (4)
    n = fma(t, LOG2_E, ROUNDER) - ROUNDER  # (5)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, t))  # (6)
    p = fma(fma(fma(fma(P0, r, P1), r, P2), r, P3), r, P4)  # (7)
    half = floor(n * HALF)
    mantissa = fma(p, r * r, r) + ONE
    return mantissa * power_of_two(half) * power_of_two(n - half)  # (8)


@njit(nogil=True, error_model="numpy")
def silu(x):  # type: ignore[no-untyped-def]
    """Equation (1)."""
    y = choose(x == MINUS_INF, MINUS_ZERO, x / (exp(-x) + ONE))
    return choose(x != x, NAN, y)


@njit(nogil=True, error_model="numpy")
def sigmoid(x):  # type: ignore[no-untyped-def]
    """Equation (2)."""
    return choose(x != x, NAN, ONE / (exp(-x) + ONE))


@njit(nogil=True, error_model="numpy")
def leaky(x):  # type: ignore[no-untyped-def]
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
