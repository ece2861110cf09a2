"""Narrower ranges for the uniform schemes: a few clipped weights for finer steps of all others.

x    (G, N) float32   one row per group; its full range [lo, hi] is that of the scheme, 0 included

    mse         [t * lo / 1000, t * hi / 1000], t of least squared error (search.py)  (1)
    percentile  without the outermost weights: of the N values in order, those of rank r + 1 and
                N - r, r = floor(N / 2000); for a symmetric range of the N magnitudes the one of
                rank N - floor(N / 1000)                                              (2)

(1) is the best of its candidates: a local optimum among thousandths of the full range. (2) leaves
out at most one weight in a thousand, and none of a row shorter than 1000 (symmetric) or 2000.
Weights outside of the levels are clipped; `error_bound` counts that where it knows the rows.
Source  Wu et al. 2020, arXiv 2004.09602, section 3.2, for activations.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.scheme import ChooseParams, Rows
from refquant.quant.search import search_range

Float64 = NDArray[np.float64]
RangeOf = Callable[[Rows], tuple[Float64, Float64]]
# params_of_range(lo, hi, bits, dtype): parameters for ranges (G, C) float64
ParamsOfRange = Callable[[Float64, Float64, int, DTypeLike], dict[str, NDArray[Any]]]


def by_mse(
    range_of: RangeOf, params_of_range: ParamsOfRange, steps: Callable[[int], tuple[int, int]]
) -> ChooseParams:
    """Equation (1); steps(bits): the lowest and highest q before an offset is added."""

    def choose_params(
        x: Rows, bits: int, dtype: DTypeLike = np.float32
    ) -> dict[str, NDArray[Any]]:
        lo, hi = range_of(x)

        def params_at(t: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
            return params_of_range(lo * t / 1000, hi * t / 1000, bits, dtype)

        return params_at(search_range(x, params_at, *steps(bits)))  # (1)

    return choose_params


def affine_percentile(x: Rows) -> tuple[Float64, Float64]:
    """Equation (2): lo and hi (G, 1), 0 included."""
    N = x.shape[1]
    r = N // 2000
    ordered = np.partition(x, (r, N - 1 - r), axis=1).astype(np.float64)
    return np.minimum(ordered[:, r, None], 0.0), np.maximum(ordered[:, N - 1 - r, None], 0.0)


def symmetric_percentile(x: Rows) -> tuple[Float64, Float64]:
    """Equation (2): -M and M (G, 1)."""
    rank = x.shape[1] - 1 - x.shape[1] // 1000
    M = np.partition(abs(x), rank, axis=1)[:, rank, None].astype(np.float64)
    return -M, M


def by_range(range_of: RangeOf, params_of_range: ParamsOfRange) -> ChooseParams:
    """A way to choose params: those of a range."""

    def choose_params(
        x: Rows, bits: int, dtype: DTypeLike = np.float32
    ) -> dict[str, NDArray[Any]]:
        return params_of_range(*range_of(x), bits, dtype)

    return choose_params
