"""The activations as jitted loops: the equations of activation.py, the bits of its `_ref`."""

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
from refquant.ops.simd import fma, power_of_two

P0, P1, P2, P3, P4 = P
MINUS_ZERO = np.float32(-0.0)


@njit(nogil=True, cache=True)
def exp_scalar(t: np.float32) -> np.float32:
    """exp(t), equations (4) to (8) of activation.py."""
    t = t if t > LOWEST else LOWEST
    t = t if t < HIGHEST else HIGHEST  # (4)
    n = fma(t, LOG2_E, ROUNDER) - ROUNDER  # (5)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, t))  # (6)
    p = fma(fma(fma(fma(P0, r, P1), r, P2), r, P3), r, P4)  # (7)
    whole = np.int32(n)
    half = whole >> np.int32(1)
    mantissa = fma(p, r * r, r) + ONE
    return mantissa * power_of_two(half) * power_of_two(whole - half)  # (8)


@njit(nogil=True, cache=True)
def silu_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        value = x[i] / (ONE + exp_scalar(-x[i]))
        value = MINUS_ZERO if x[i] == -np.inf else value
        y[i] = NAN if x[i] != x[i] else value
    return y


@njit(nogil=True, cache=True)
def sigmoid_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        value = ONE / (ONE + exp_scalar(-x[i]))
        y[i] = NAN if x[i] != x[i] else value
    return y


@njit(nogil=True, cache=True)
def leaky_loop(x: NDArray[np.float32]) -> NDArray[np.float32]:
    y = np.empty_like(x)
    for i in range(x.size):
        value = x[i] if x[i] > np.float32(0.0) else SLOPE * x[i]
        y[i] = NAN if x[i] != x[i] else value
    return y
