"""Search in three stages: for every group the ratio of least squared error, in thousandths.

t   (G, 1) int   thousandths of the largest magnitude: where a breakpoint or a clipped range ends

    stage 1   t = 100, 200, ..., last                                            (1)
    stage 2   t = best - 90, ..., best + 90 in steps of 10                       (2)
    stage 3   t = best - 9, ..., best + 9                                        (3)
    E(t) = sum over n of (x_n - x_hat_n(t))**2, in order, in float64             (4)

Of equal errors the smallest t wins; t stays within 1 ... 999 for breakpoints (last = 900) and
1 ... 1000 for ranges (last = 1000). The search is local: E(t) need not have one minimum, so what
is found is the best of the candidates, not of all ratios.
x_hat is what would be stored and decoded, with the rounding to float32. `errors_ref` says so in
two lines for any scheme; search_loops.py computes the same sums, bit for bit, without arrays.
Source  Fang et al. 2020, arXiv 2002.00104, section 3.3: p/m by 0.1, 0.01 and 0.001.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.quant.scheme import Codes, Params, Rows
from refquant.quant.sums import total_of_squares

Float64 = NDArray[np.float64]
Encode = Callable[[Rows, Params, int], Codes]
Decode = Callable[[Codes, Params, int], Rows]
# errors(t) -> E: both (G, C), for C candidates in each of G groups.
Errors = Callable[[NDArray[np.int64]], Float64]

LAST_BREAKPOINT = 900
LAST_RANGE = 1000


def three_stage(groups: int, errors: Errors, last: int) -> NDArray[np.int64]:
    """The best t of every group, (G, 1)."""
    candidates = np.tile(np.arange(100, last + 1, 100), (groups, 1))  # (1)
    best = best_of(candidates, errors)
    for step in (10, 1):
        around = best + step * np.arange(-9, 10)  # (2), (3)
        best = best_of(np.clip(around, 1, max(last, 999)), errors)
    return best


def best_of(candidates: NDArray[np.int64], errors: Errors) -> NDArray[np.int64]:
    """The first candidate of least error, (G, 1); candidates (G, C) ascend in every row."""
    winner = np.argmin(errors(candidates), axis=1)[:, None]
    return np.take_along_axis(candidates, winner, axis=1)


def errors_ref(
    encode: Encode, decode: Decode, x: Rows, candidates: list[Params], bits: int
) -> Float64:
    """Equation (4) for C sets of params, (G, C): the definition, for any scheme."""
    columns = []
    for params in candidates:
        x_hat = decode(encode(x, params, bits), params, bits)
        columns.append(total_of_squares(x.astype(np.float64) - x_hat))  # (4)
    return np.concatenate(columns, axis=1)


def search_breakpoint(
    form: str,
    x: Rows,
    m: NDArray[Any],
    bits: int,
    params_of: Callable[[Float64, NDArray[Any]], dict[str, NDArray[Any]]],
) -> NDArray[np.int64]:
    """The t of least error for breakpoints p = m * t / 1000, with m (G, 1) as stored."""
    from refquant.quant.search_loops import breakpoint_errors

    def errors(t: NDArray[np.int64]) -> Float64:
        p = params_of(m.astype(np.float64) * t / 1000, m)["breakpoint"]
        return breakpoint_errors(form, x, p, m, bits)

    return three_stage(len(x), errors, LAST_BREAKPOINT)


def search_range(
    x: Rows,
    params_at: Callable[[NDArray[np.int64]], Params],
    lowest: int,
    highest: int,
) -> NDArray[np.int64]:
    """The t of least error for t thousandths of a range; steps are clipped to lowest ... highest.

    params_at(t (G, C)) -> scale (G, C) and, unless it is 0, zero_point (G, C).
    """
    from refquant.quant.search_loops import range_errors

    def errors(t: NDArray[np.int64]) -> Float64:
        params = params_at(t)
        zero_point = params.get("zero_point", np.zeros_like(params["scale"]))
        return range_errors(x, params["scale"], zero_point, lowest, highest)

    return three_stage(len(x), errors, LAST_RANGE)
