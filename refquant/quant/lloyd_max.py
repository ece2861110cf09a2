"""Lloyd-Max quantization: the 2**bits levels of least squared error, to measure others against.

x        (G, N) float32      one row per group
codes    (G, N) uint8        in the order of the levels
levels   (G, K) float32      K = 2**bits, ascending (or float16, if so chosen)

    levels = those that minimise sum of (x - nearest level)**2                   (1)
    code   = number of midpoints below x, midpoint k = (level k + level k+1) / 2 (2)
             in float64: exact unless one level is 2**29 times the other
    x_hat  = level of the code                                                   (3)

(1) is one-dimensional k-means. lloyd_fit.py finds the optimum by dynamic programming where
N * K <= 2**18, or where a row has at most K different weights. Else it finds a local optimum, by
the same dynamic program over a fine histogram and Lloyd's iteration on the weights; `is_optimal`
tells which. The price is K numbers per group, stored and counted: at filter level that is more
than most filters save.
Error   |x - x_hat| <= half of the widest gap between levels, or the distance to the outermost
        level. Zero is a level only by chance. x_hat itself is stored: no rounding.
Cases   Where there are fewer than K different weights, the last one is repeated, and with float32
        levels the error is 0.
Source  Lloyd 1982 and Max 1960; dynamic program: Wu 1991, divide and conquer over monotone
        cuts as in Gronlund et al. 2017, arXiv 1701.07204. Ties of (2) go to the lower level.

A worked example: four levels are the means of {0}, {1, 1.5}, {10} and {20, 20.5}.

    >>> x = np.array([[0.0, 1.0, 1.5, 10.0, 20.0, 20.5]], np.float32)
    >>> params = choose_params(x, bits=2)
    >>> params["levels"].tolist()
    [[0.0, 1.25, 10.0, 20.25]]
    >>> codes = quantize(x, params, bits=2)
    >>> codes.tolist()
    [[0, 1, 1, 2, 3, 3]]
    >>> dequantize(codes, params, bits=2).tolist()
    [[0.0, 1.25, 1.25, 10.0, 20.25, 20.25]]
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.arrays.errors import BadInput
from refquant.quant.scheme import Codes, Field, Params, Rows, Scheme, Step, low_and_high, rounding

EXACT_UP_TO = 2**18


def is_optimal(N: int, bits: int) -> bool:
    """Whether levels of rows of N weights are optimal for certain."""
    return N * 2**bits <= EXACT_UP_TO


def choose_params(x: Rows, bits: int, dtype: DTypeLike = np.float32) -> dict[str, NDArray[Any]]:
    """Equation (1): levels (G, K)."""
    from refquant.quant.lloyd_loops import fit_rows

    exact = is_optimal(x.shape[1], bits)
    levels = fit_rows(np.sort(x, axis=1), 2**bits, exact)  # (1)
    with np.errstate(over="ignore"):
        stored = levels.astype(dtype)
    if not np.isfinite(stored).all():
        raise BadInput("levels", f"do not fit {np.dtype(dtype).name}", "store them as float32")
    return {"levels": stored}


def midpoints(levels: NDArray[Any]) -> NDArray[np.float64]:
    """The K - 1 borders of (2), (G, K - 1) float64."""
    exact = levels.astype(np.float64)
    return (exact[:, :-1] + exact[:, 1:]) / 2


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equation (2) by bisection: codes (G, N) uint8."""
    from refquant.quant.nearest_loops import count_below

    return count_below(x, midpoints(params["levels"]))


def quantize_ref(x: Rows, params: Params, bits: int) -> Codes:
    """Equation (2) as it stands."""
    below = midpoints(params["levels"])[:, :, None] < x[:, None, :]
    return below.sum(axis=1).astype(np.uint8)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equation (3): (G, N) float32."""
    levels = params["levels"].astype(np.float32)
    return np.take_along_axis(levels, codes.astype(np.intp), axis=1)


def error_bound(x: Rows | None, params: Params, bits: int) -> NDArray[np.float64]:
    """Half of the widest gap; more where weights lie beyond the outermost levels."""
    levels = params["levels"].astype(np.float64)
    bound = np.diff(levels, axis=1).max(axis=1, keepdims=True) / 2
    bound = bound + rounding(bound)  # of the midpoints
    if x is None:
        return bound
    lo, hi = low_and_high(x)
    return np.maximum(bound, np.maximum(levels[:, :1] - lo, hi - levels[:, -1:]))


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equation (2) for one weight: its level, and the midpoints that border it."""
    borders = midpoints(params["levels"])[0]
    steps = []
    if code > 0:
        steps.append(Step(f"midpoint {code - 1}", float(borders[code - 1]), "(2)"))
    if code < borders.size:
        steps.append(Step(f"midpoint {code}", float(borders[code]), "(2)"))
    level = float(params["levels"][0, code])
    return [*steps, Step("code", code, "(2)"), Step(f"level {code}", level, "(3)")]


LLOYD_MAX = Scheme(
    name="lloyd-max",
    choose_params=choose_params,
    quantize=quantize,
    dequantize=dequantize,
    error_bound=error_bound,
    fields=(Field("levels", columns=lambda bits: 2**bits),),
    explain=explain,
    nominal_params=lambda bits: 2**bits,
    linear=("levels",),
    cases=lambda name, x, bits: {"optimal" if is_optimal(x.shape[1], bits) else "local": len(x)},
)
