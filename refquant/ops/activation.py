"""Activations, and the exponential they stand on: elementwise, float32 (any shape) to float32.

    silu(x) = x / (1 + exp(-x))                                                  (1)
    sigmoid(x) = 1 / (1 + exp(-x))                                               (2)
    leaky(x) = x where x > 0, otherwise 0.1 * x                                  (3)

No two mathematical libraries round exp alike, so the arithmetic spells it out in operations that
IEEE 754 defines to the last bit: +, -, *, /, fused multiply-add and powers of two.

    t = clamp(t, -104, 89)                  beyond it exp is 0 or inf anyway     (4)
    n = fma(t, log2(e), M) - M              rint, by M = 1.5 * 2**23             (5)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, t))      |r| <= ln(2)/2               (6)
    p = P0; p = fma(p, r, Pi), i = 1..4                                          (7)
    exp(t) = (fma(p, r * r, r) + 1) * 2**(n // 2) * 2**(n - n // 2)              (8)

(8) scales in two steps so that both powers are normal numbers: a subnormal result is rounded once,
and from 88.72284 on it overflows to inf, which makes (1) -0 and (2) 0.

Special values      silu            sigmoid     leaky
    NaN             canonical NaN   (same)      (same)     canonical: 0x7fc00000
    +inf            +inf            1           +inf
    -inf            -0 by rule      0           -inf
    -0              -0              0.5         -0
    x <= -88.72284  -0              0           0.1 * x
Error   At most 1.08 ulp for exp, 2.41 for silu, 2.49 for sigmoid and 0.5 for leaky where the
        result is normal, and one unit of 2**-149 below; measured over all 2**32 float32 inputs
        (bench/accuracy/activation_error.md).
Source  Cody and Waite 1980 for (5) and (6); the constants come from bench/accuracy/derive_exp.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.table import Table
from refquant.ops.fma import fma_ref

Array = NDArray[np.float32]

LOG2_E = np.float32(1.442695)
LN2_HIGH = np.float32(0.6931472)
LN2_LOW = np.float32(-1.9046542e-09)
ROUNDER = np.float32(12582912.0)  # M = 1.5 * 2**23
P = tuple(np.float32(c) for c in (0.0013926176, 0.008363173, 0.041666556, 0.16666578, 0.5))
LOWEST, HIGHEST = np.float32(-104.0), np.float32(89.0)
SLOPE = np.float32(0.1)
NAN = np.float32(np.nan)
ONE = np.float32(1.0)


def exp_ref(t: Array) -> Array:
    """exp(t) by equations (4) to (8). NaN gives exp(LOWEST) = 0; the callers decide about it."""
    with np.errstate(over="ignore", under="ignore"):
        t = np.where(t > LOWEST, t, LOWEST)
        t = np.where(t < HIGHEST, t, HIGHEST)  # (4)
        n = fma_ref(t, LOG2_E, ROUNDER) - ROUNDER  # (5)
        r = fma_ref(n, -LN2_LOW, fma_ref(n, -LN2_HIGH, t))  # (6)
        p = np.full_like(r, P[0])
        for coefficient in P[1:]:
            p = fma_ref(p, r, coefficient)  # (7)
        whole = n.astype(np.int32)
        half = whole // 2
        mantissa = fma_ref(p, r * r, r) + ONE
        return mantissa * np.ldexp(ONE, half) * np.ldexp(ONE, whole - half)  # (8)


def silu_ref(x: Array) -> Array:
    """Equation (1), bit for bit."""
    with np.errstate(under="ignore", invalid="ignore"):
        y = x / (ONE + exp_ref(-x))
    y = np.where(x == -np.inf, np.float32(-0.0), y)
    return np.where(np.isnan(x), NAN, y)


def sigmoid_ref(x: Array) -> Array:
    """Equation (2), bit for bit."""
    return np.where(np.isnan(x), NAN, ONE / (ONE + exp_ref(-x)))


def leaky_ref(x: Array) -> Array:
    """Equation (3), bit for bit; the product is rounded once."""
    with np.errstate(under="ignore", invalid="ignore"):
        return np.where(np.isnan(x), NAN, np.where(x > 0, x, SLOPE * x))


def linear(x: NDArray) -> NDArray:
    """The identity, which stands for no activation."""
    return x


def sigmoid_math(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equation (2) in float64, without overflow: exp only of -|x|."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def silu_math(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equation (1) in float64."""
    return x * sigmoid_math(x)


def leaky_math(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equation (3) in float64."""
    return np.where(x > 0, x, 0.1 * x)


class Activation(NamedTuple):
    """An activation: `math` in float64, and `ref`, which defines the bits."""

    name: str
    math: Callable[[NDArray], NDArray]
    ref: Callable[[Array], Array]


ACTIVATIONS = Table(
    "activation",
    (
        Activation("linear", linear, linear),
        Activation("silu", silu_math, silu_ref),
        Activation("leaky", leaky_math, leaky_ref),
        Activation("sigmoid", sigmoid_math, sigmoid_ref),
    ),
)
