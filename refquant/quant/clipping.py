"""Narrower ranges for the uniform schemes: a few clipped weights buy finer steps for all others.

x    (G, N) float32   one row per group
t    (G, 1) int       thousandths of a row's range

    mse         the parameters of [t * min(x) / 1000, t * max(x) / 1000], for the t of least
                squared error (search.py)                                             (1)
    percentile  the parameters of the row without its outermost weights: of the N values in order
                those of rank r + 1 and N - r are its ends, r = floor(N / 2000); for a symmetric
                range the magnitude of rank N - floor(N / 1000) is its end            (2)

A range is handed to a scheme's `choose_params` as a row that consists of its ends alone, so what a
scheme does with a range, such as including 0, is written once, in the scheme's own file.
(1) is the best of its candidates: a local optimum among thousandths of the full range. (2) leaves
out at most one weight in a thousand, and none of a row shorter than 1000 (symmetric) or 2000.
Weights outside of the levels are clipped; `error_bound` counts that where it knows the rows.
Source  Wu et al. 2020, arXiv 2004.09602, section 3.2, for activations.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.scheme import ChooseParams, Rows, low_and_high
from refquant.quant.search import search_range


def params_of_least_error(
    choose_params: ChooseParams, x: Rows, bits: int, dtype: DTypeLike, steps: tuple[int, int]
) -> dict[str, NDArray[Any]]:
    """Equation (1); steps: the lowest and the highest step, q before an offset is added."""
    lo, hi = low_and_high(x)

    def params_at(t: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The parameters (G, C) of C ranges for each row; t (G, C)."""
        ends = np.stack((lo * t / 1000, hi * t / 1000)).reshape(2, -1)
        params = choose_params(ends.T, bits, dtype)
        return {name: array.reshape(t.shape) for name, array in params.items()}

    return params_at(search_range(x, params_at, *steps))  # (1)


def inner_ends(x: Rows) -> Rows:
    """Equation (2): the lowest and the highest weight that are kept, (G, 2)."""
    N = x.shape[1]
    r = N // 2000
    return np.partition(x, (r, N - 1 - r), axis=1)[:, [r, N - 1 - r]]


def inner_magnitude(x: Rows) -> Rows:
    """Equation (2): the largest magnitude that is kept, (G, 1)."""
    rank = x.shape[1] - 1 - x.shape[1] // 1000
    return np.partition(abs(x), rank, axis=1)[:, [rank]]
