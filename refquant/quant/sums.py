"""Sums of rows in a fixed order, in float64, so that no parameter depends on a library.

x   (G, N) any floating dtype
    total(x)  = ((x0 + x1) + x2) + ...                                           (1)
    mean      = total(x) / N                                                     (2)
    deviation = sqrt(total((x - mean)**2) / (N - 1))      unbiased               (3)

np.sum adds in pairs and blocks, in an order that it may change; np.cumsum has no such freedom.
Cases   The deviation of a row of one weight, and of a constant row, is exactly 0: it is set to 0,
        since the rounding of the mean would leave a trace.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from refquant.quant.scheme import TILE

Float64 = NDArray[np.float64]


def pieces(x: NDArray) -> Iterator[tuple[int, int]]:
    """The columns summed at a time, as first and last + 1, so that few running sums are kept."""
    columns = max(1, TILE // len(x))
    for first in range(0, x.shape[1], columns):
        yield first, first + columns


def total(x: NDArray) -> Float64:
    """Equation (1): (G, 1)."""
    carry = np.zeros((len(x), 1))
    for first, last in pieces(x):
        piece = x[:, first:last].astype(np.float64)
        piece[:, :1] += carry
        carry = np.cumsum(piece, axis=1)[:, -1:]
    return carry


def total_of_squares(x: NDArray, centre: Float64 | float = 0.0) -> Float64:
    """The sum of (x - centre)**2 in the order of (1), (G, 1); centre (G, 1)."""
    carry = np.zeros((len(x), 1))
    for first, last in pieces(x):
        piece = x[:, first:last].astype(np.float64) - centre
        piece *= piece
        piece[:, :1] += carry
        carry = np.cumsum(piece, axis=1)[:, -1:]
    return carry


def mean_and_deviation(x: NDArray) -> tuple[Float64, Float64]:
    """Equations (2) and (3): two arrays (G, 1)."""
    N = x.shape[1]
    mean = total(x) / N
    constant = x.min(axis=1, keepdims=True) == x.max(axis=1, keepdims=True)
    deviation = np.sqrt(total_of_squares(x, mean) / max(N - 1, 1))
    return mean, np.where(constant, 0.0, deviation)
