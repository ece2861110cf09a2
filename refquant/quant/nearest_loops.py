"""Codes of any ascending levels by bisection: count the midpoints below each weight."""

import numpy as np
from numpy.typing import NDArray

from refquant.engine.jit import kernel


def count_below(x: NDArray[np.float32], midpoints: NDArray[np.float64]) -> NDArray[np.uint8]:
    """For every weight of x (G, N) the number of midpoints (G, K - 1) of its row below it."""
    codes = np.empty(x.shape, np.uint8)
    count_each(x, midpoints, codes)
    return codes


@kernel
def count_each(x, midpoints, codes):  # type: ignore[no-untyped-def]
    """Fill codes (G, N)."""
    for group in range(x.shape[0]):
        row = midpoints[group]
        for n in range(x.shape[1]):
            value = np.float64(x[group, n])
            low, high = 0, row.size
            while low < high:
                middle = (low + high) // 2
                if row[middle] < value:
                    low = middle + 1
                else:
                    high = middle
            codes[group, n] = low
