"""The sums of search.py as loops: for every group and candidate one pass over the group's weights.

Line by line the arithmetic of the schemes' quantize and dequantize; sums in order, in float64. It
is here because a search quantizes everything 48 times: with arrays, 37 million weights take
minutes.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# pwlq and pwlq-eq3 decode to the same levels.
FORMS = {"pwlq": 0, "pwlq-eq3": 0, "pwlq-code": 1, "pwlq-overlap": 2}


def breakpoint_errors(
    form: str, x: NDArray[np.float32], p: NDArray[Any], m: NDArray[Any], bits: int
) -> Float64:
    """Squared errors (G, C) of rows x (G, N) for breakpoints p (G, C) and maxima m (G, 1)."""
    errors = np.empty(p.shape)
    p64, m64 = p.astype(np.float64), m.astype(np.float64)
    breakpoint_sums(x, p64, m64[:, 0], 2 ** (bits - 1) - 1, FORMS[form], errors)
    return errors


def range_errors(
    x: NDArray[np.float32],
    scale: NDArray[Any],
    zero_point: NDArray[Any],
    lowest: int,
    highest: int,
) -> Float64:
    """Squared errors (G, C) of rows x (G, N) for scales and zero points (G, C)."""
    errors = np.empty(scale.shape)
    scale64, zero64 = scale.astype(np.float64), zero_point.astype(np.float64)
    range_sums(x, scale64, zero64, float(lowest), float(highest), errors)
    return errors


@njit(nogil=True, cache=True)
def breakpoint_sums(x, p, m, H, form, errors):  # type: ignore[no-untyped-def]
    """x (G, N) float32, p (G, C), m (G,) float64, form of FORMS -> errors (G, C)."""
    for group in range(x.shape[0]):
        for c in range(p.shape[1]):
            total = 0.0
            for n in range(x.shape[1]):
                value = np.float64(x[group, n])
                x_hat = np.float32(decoded(value, p[group, c], m[group], H, form))
                error = value - np.float64(x_hat)
                total += error * error
            errors[group, c] = total


@njit(nogil=True, cache=True, inline="always")
def decoded(value, p, m, H, form):  # type: ignore[no-untyped-def]
    """What value is decoded to, before the rounding to float32."""
    magnitude = abs(value)
    if magnitude < p:
        if form == 1:
            return np.rint(value * (2 * H + 1) / (2 * p)) * (2 * p) / (2 * H + 1)
        return np.rint(value * H / p) * p / H
    if form == 2:
        return min(max(np.rint(value * H / m), -H), H) * m / H
    j = 0.0
    if m > p:
        j = min(max(np.rint((magnitude - p) * H / (m - p)), 0.0), H)
    tail = p + j * (m - p) / H
    return -tail if value < 0 else tail


@njit(nogil=True, cache=True)
def range_sums(x, scale, zero_point, lowest, highest, errors):  # type: ignore[no-untyped-def]
    """x (G, N) float32, scale and zero_point (G, C) float64 -> errors (G, C)."""
    for group in range(x.shape[0]):
        for c in range(scale.shape[1]):
            s, z = scale[group, c], zero_point[group, c]
            total = 0.0
            for n in range(x.shape[1]):
                value = np.float64(x[group, n])
                q = min(max(np.rint(value / s) + z, lowest), highest)
                error = value - np.float64(np.float32(s * (q - z)))
                total += error * error
            errors[group, c] = total
