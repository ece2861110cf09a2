"""Power-of-two quantization: zero, and signed powers of two; a multiplication becomes a shift.

x         (G, N) float32   one row per group
codes     (G, N) uint8     0 ... 2H in the order of their levels, H = 2**(bits-1) - 1 is zero
exponent  (G, 1) int16     E, the exponent of the largest level

    E = the power of two nearest to max|x|: 1.5 * 2**(E-1) <= max|x| < 1.5 * 2**E    (1)
    e = the power of two nearest to |x|, in the same way, at most E                  (2)
    j = H - (E - e), the place of 2**e among the H levels 2**(E-H+1) ... 2**E        (3)
        0 where |x| < 2**(E-H), zero is nearer; else at least 1
    q = H + j, or H - j where x < 0                                                  (4)
    x_hat = 0 where j = 0, else 2**(E - H + j) with the sign of x                    (5)

Nearest means nearest on the number line; a tie goes away from zero.
Levels  2H + 1 = 2**bits - 1; zero is exact, the last code is never used.
Error   |x - x_hat| <= max(2**(E-2), max|x| - 2**E, 2**(E-H)): the widest gap is the one below the
        largest level, 2**(E-1) wide; max|x| is less than 2**(E-1) above that level; between zero
        and the smallest level the error is 2**(E-H) at most. So 2**(E-1) is always a bound.
Cases   An all-zero row has E = 0. Levels below 2**-149 round to 0 in float32.
Source  Miyashita et al. 2016, arXiv 1603.01025; E as in Zhou et al. 2017, arXiv 1702.03044, eq. 2.

A worked example with 3 bits: H is 3, E is 0 since 0.75 <= 1 < 1.5, so the levels are 0, 1/4, 1/2
and 1, and their negatives; 0.75, 0.375 and 0.125 are ties and go away from zero.

    >>> x = np.array([[1.0, -0.75, 0.74, 0.375, 0.374, -0.125, 0.124, 0.0]], np.float32)
    >>> params = choose_params(x, bits=3)
    >>> params["exponent"].item()
    0
    >>> codes = quantize(x, params, bits=3)
    >>> codes.tolist()
    [[6, 0, 5, 5, 4, 2, 3, 3]]
    >>> dequantize(codes, params, bits=3).tolist()
    [[1.0, -1.0, 0.5, 0.5, 0.25, -0.25, 0.0, 0.0]]
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.scheme import Codes, Field, Params, Rows, Scheme, Step, low_and_high, rounding


def nearest_exponent(magnitude: NDArray[np.float64]) -> NDArray[np.int64]:
    """e of 1.5 * 2**(e-1) <= magnitude < 1.5 * 2**e, exactly; magnitudes are above 0."""
    fraction, exponent = np.frexp(magnitude)  # magnitude = fraction * 2**exponent, 1/2 <= f < 1
    return np.where(fraction >= 0.75, exponent, exponent - 1).astype(np.int64)


def choose_params(x: Rows, bits: int, dtype: DTypeLike = np.float32) -> dict[str, NDArray[Any]]:
    """Equation (1): exponent (G, 1) int16, whatever `dtype` says about floating parameters."""
    lo, hi = low_and_high(x)
    largest = np.maximum(-lo, hi)
    E = nearest_exponent(np.where(largest > 0, largest, 1.0))  # (1)
    return {"exponent": E.astype(np.int16)}


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equations (2) to (4): codes (G, N) uint8."""
    H = 2 ** (bits - 1) - 1
    E = params["exponent"].astype(np.int64)
    magnitude = abs(x.astype(np.float64))
    some = magnitude > 0
    e = np.minimum(nearest_exponent(np.where(some, magnitude, 1.0)), E)  # (2)
    j = H - (E - e)  # (3)
    nearer = magnitude >= np.ldexp(1.0, E - H)
    j = np.where(some & nearer, np.maximum(j, 1), 0)
    return np.where(x < 0, H - j, H + j).astype(np.uint8)  # (4)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equation (5): (G, N) float32."""
    H = 2 ** (bits - 1) - 1
    step = codes.astype(np.int64) - H
    j = abs(step)
    value = np.where(j > 0, np.ldexp(1.0, params["exponent"].astype(np.int64) - H + j), 0.0)
    return np.where(step < 0, -value, value).astype(np.float32)  # (5)


def error_bound(x: Rows | None, params: Params, bits: int) -> NDArray[np.float64]:
    """2**(E-1), or the sharper bound of the file's docstring for known rows; and rounding."""
    H = 2 ** (bits - 1) - 1
    E = params["exponent"].astype(np.int64)
    if x is None:
        return np.ldexp(1.0, E - 1) + rounding(np.ldexp(1.0, E))
    lo, hi = low_and_high(x)
    beyond = np.maximum(-lo, hi) - np.ldexp(1.0, E)
    gaps = np.maximum(np.ldexp(1.0, E - 2) if bits > 2 else 0.0, np.ldexp(1.0, E - H))
    return np.maximum(gaps, beyond) + rounding(np.ldexp(1.0, E))


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (2) to (5) for one weight."""
    H, E = 2 ** (bits - 1) - 1, int(params["exponent"][0, 0])
    steps = [Step("E", E, "(1)"), Step("H", H)]
    if x:
        e = int(nearest_exponent(np.array(abs(x))))
        steps += [Step("e", min(e, E), "(2)"), Step("H - (E - e)", H - (E - min(e, E)), "(3)")]
    j = abs(code - H)
    value = float(np.ldexp(1.0, E - H + j)) if j else 0.0
    return [
        *steps,
        Step("j", j, "(3)"),
        Step("q", code, "(4)"),
        Step("2**(E - H + j)", value, "(5)"),
    ]


POWER_OF_TWO = Scheme(
    name="power-of-two",
    choose_params=choose_params,
    quantize=quantize,
    dequantize=dequantize,
    error_bound=error_bound,
    fields=(Field("exponent", ("int16",)),),
    explain=explain,
)
