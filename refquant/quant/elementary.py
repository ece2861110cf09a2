"""exp, log and the normal tail from IEEE operations alone: the same bits everywhere.

The C library's exp and log differ between machines in the last bit, and a breakpoint that differs
in the last bit may move a code. These use +, -, *, / on float64 and exact scaling by powers of
two, each in a fixed order, so every IEEE machine gives the same bits. Arrays are float64, of any
shape.

    exp(x)    n = rint(x / ln 2),  r = (x - n*hi) - n*lo,  hi + lo = ln 2           (1)
              exp(x) = 2**n * sum over i = 0 ... 14 of r**i / i!                    (2)
    log(x)    x = 2**n * f, sqrt(1/2) <= f < sqrt(2),  s = (f - 1) / (f + 1)        (3)
              log(x) = n * ln 2 + 2 * sum over i = 0 ... 12 of s**(2i+1) / (2i+1)   (4)
    normal    density(x) = exp(-x**2 / 2) / sqrt(2 pi)                              (5)
              tail(x) = 1/2 - density(x) * (x + x**3/3 + x**5/(3*5) + ...)  x <= 3  (6)
              tail(x) = density(x) / (x + 1/(x + 2/(x + 3/(x + ...))))      x > 3   (7)

Error   The relative error is 1e-15 for exp at -700 <= x <= 0 and for log at normal x > 0, and
        1e-12 for the tail at 0 <= x <= 32. The sums end where the next term is below 2**-56 of the
        result.
Source  (2), (4): Taylor series, (1): Cody and Waite 1980; (6), (7): Abramowitz and Stegun 26.2.11
        and 26.2.14.
"""

import math

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# ln 2 in two parts: LN2_HI has 21 trailing zero bits, so that n * LN2_HI is exact.
LN2_HI = float.fromhex("0x1.62e42fee00000p-1")
LN2_LO = float.fromhex("0x1.a39ef35793c76p-33")
EXP_TERMS = 14
LOG_TERMS = 12
SERIES_TERMS = 40
FRACTION_TERMS = 60


def exp(x: Float64) -> Float64:
    """Equations (1) and (2), for -700 <= x <= 700."""
    n = np.rint(x / math.log(2))  # the last bit of ln 2 hardly moves r
    r = (x - n * LN2_HI) - n * LN2_LO  # (1)
    total = np.ones_like(r)
    for i in range(EXP_TERMS, 0, -1):  # (2), from the inside: 1 + r/1 * (1 + r/2 * (1 + ...))
        total = total * (r / i) + 1.0
    return np.ldexp(total, n.astype(np.int64))


def log(x: Float64) -> Float64:
    """Equations (3) and (4), for x > 0."""
    f, n = np.frexp(x)
    low = f < math.sqrt(0.5)
    f, n = np.where(low, 2 * f, f), np.where(low, n - 1, n)
    s = (f - 1) / (f + 1)  # (3)
    square = s * s
    total = np.zeros_like(s)
    for i in range(LOG_TERMS, -1, -1):
        total = total * square + 1.0 / (2 * i + 1)
    return n * LN2_HI + (n * LN2_LO + 2 * s * total)  # (4)


def normal_density(x: Float64) -> Float64:
    """Equation (5)."""
    return exp(-x * x / 2) / math.sqrt(2 * math.pi)


def normal_tail(x: Float64, density: Float64) -> Float64:
    """Equations (6) and (7): 1 - F(x), 0 <= x <= 32, from the density at x."""
    square = np.minimum(x, 3.0) ** 2
    total = np.ones_like(x)
    for i in range(SERIES_TERMS, 0, -1):  # 1 + x**2/3 * (1 + x**2/5 * (1 + ...))
        total *= square * (1.0 / (2 * i + 1))
        total += 1.0
    tail = 0.5 - density * (x * total)  # (6)
    if not (x > 3.0).any():
        return tail
    far = np.maximum(x, 3.0)
    below = far
    for i in range(FRACTION_TERMS, 0, -1):
        below = far + i / below
    return np.where(x > 3.0, density / below, tail)  # (7)
