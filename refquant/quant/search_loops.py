"""The sums of search.py as loops: for every group and candidate one pass over the group's weights.

The arithmetic is, line by line, that of the schemes' quantize and dequantize, and sums are taken
in order, in float64. The loops exist because a search quantizes everything 48 times: with arrays,
37 million weights take minutes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.engine.jit import inner, kernel

Float64 = NDArray[np.float64]

# Squares are computed in vectors, this many at a time, and then added one by one.
PIECE = 1024

# pwlq and pwlq-eq3 decode to the same levels.
FORMS = {"pwlq": 0, "pwlq-eq3": 0, "pwlq-code": 1, "pwlq-overlap": 2}


def breakpoint_errors(
    form: str, x: NDArray[np.float32], p: NDArray[Any], m: NDArray[Any], bits: int
) -> Float64:
    """Squared errors (G, C) of rows x (G, N) for breakpoints p (G, C) and maxima m (G, 1)."""
    errors = np.empty(p.shape)
    p64, m64 = p.astype(np.float64), m.astype(np.float64)
    breakpoint_sums(x, p64, m64[:, 0], 2.0 ** (bits - 1) - 1.0, FORMS[form], errors)
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


@kernel
def breakpoint_sums(x, p, m, H, form, errors):  # type: ignore[no-untyped-def]
    """x (G, N) float32, p (G, C), m (G,) float64, form of FORMS -> errors (G, C)."""
    squares = np.empty(PIECE)
    for group in range(x.shape[0]):
        for c in range(p.shape[1]):
            total = 0.0
            for first in range(0, x.shape[1], PIECE):
                piece = x[group, first : first + PIECE]
                breakpoint_squares(piece, p[group, c], m[group], H, form, squares)
                for n in range(piece.size):
                    total += squares[n]
            errors[group, c] = total


@inner
def breakpoint_squares(x, p, m, H, form, squares):  # type: ignore[no-untyped-def]
    """(x - x_hat)**2 of one piece of a row, without branches, so that it runs in vectors."""
    steps, end = H, p
    if form == 1:
        steps, end = 2.0 * H + 1.0, 2.0 * p
    start, width, last = p, m - p, H
    if form == 2:
        start, width = 0.0, m
    elif m <= p:
        width, last = 1.0, 0.0
    for n in range(x.size):
        value = np.float64(x[n])
        magnitude = abs(value)
        centre = np.rint(magnitude * steps / end) * end / steps
        j = min(max(np.rint((magnitude - start) * H / width), 0.0), last)
        tail = start + j * width / H
        # Everything is odd in x: rint is symmetric, and so is the rounding to float32.
        x_hat = np.float32(centre if magnitude < p else tail)
        error = magnitude - np.float64(x_hat)
        squares[n] = error * error


@kernel
def range_sums(x, scale, zero_point, lowest, highest, errors):  # type: ignore[no-untyped-def]
    """x (G, N) float32, scale and zero_point (G, C) float64 -> errors (G, C)."""
    squares = np.empty(PIECE)
    for group in range(x.shape[0]):
        for c in range(scale.shape[1]):
            s, z = scale[group, c], zero_point[group, c]
            total = 0.0
            for first in range(0, x.shape[1], PIECE):
                piece = x[group, first : first + PIECE]
                for n in range(piece.size):
                    value = np.float64(piece[n])
                    q = min(max(np.rint(value / s) + z, lowest), highest)
                    error = value - np.float64(np.float32(s * (q - z)))
                    squares[n] = error * error
                for n in range(piece.size):
                    total += squares[n]
            errors[group, c] = total
