"""Sums of rows in a fixed order, in float64: what decides a parameter depends on no library.

x   (G, N) any floating dtype
    total(x)  = ((x0 + x1) + x2) + ...                                           (1)
    mean      = total(x) / N                                                     (2)
    deviation = sqrt(total((x - mean)**2) / (N - 1))      unbiased               (3)

np.sum adds in pairs and blocks, in an order that is its own affair; np.cumsum has no such freedom.
Cases   A row of one weight, and a constant row, have deviation 0 exactly (the rounding of the mean
        would leave a trace).
"""

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

PIECE = 1 << 16  # columns summed at a time: the running sums of a piece, not of a row, are kept


def total(x: NDArray) -> Float64:
    """Equation (1): (G, 1)."""
    carry = np.zeros((len(x), 1))
    for first in range(0, x.shape[1], PIECE):
        piece = x[:, first : first + PIECE].astype(np.float64)
        piece[:, :1] += carry
        carry = np.cumsum(piece, axis=1)[:, -1:]
    return carry


def total_of_squares(x: NDArray, centre: Float64 | float = 0.0) -> Float64:
    """The sum of (x - centre)**2 in the order of (1), (G, 1); centre (G, 1)."""
    carry = np.zeros((len(x), 1))
    for first in range(0, x.shape[1], PIECE):
        piece = x[:, first : first + PIECE].astype(np.float64) - centre
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
