"""What the four piecewise linear schemes share: two parameters, the ways to choose them, a record.

x           (G, N) float32   one row per group
maximum     (G, 1) float32   m > 0 (or float16, if so chosen, as the next)
breakpoint  (G, 1) float32   p, 0 < p <= m: the centre is |x| < p, the tails are p <= |x| <= m

    m = max|x|, rounded up                                                       (1)
    p = the breakpoint of breakpoint.py or search.py, within m * 2**-16 ... m    (2)

How many levels lie on either side of p, and which codes they have, is what the schemes differ in:
pwlq.py (the paper's form), pwlq_eq3.py, pwlq_code.py, pwlq_overlap.py. Their equations go on from
(3). All of them have 2**(bits+1) codes, so "4-bit" PWLQ stores 5 bits.
Cases   An all-zero row has m = 1, p = 1/2. The lower end in (2) keeps every quotient of a tail on
        the right side of a half-integer in float64 (|x| - p has at most 44 bits); only a group
        whose weights are nearly equal and far from zero reaches it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.breakpoint import (
    CASES,
    GAUSSIAN,
    LAPLACIAN,
    Density,
    breakpoints,
    explain_breakpoint,
)
from refquant.quant.scheme import (
    Codes,
    Field,
    Params,
    Rows,
    Scheme,
    Step,
    low_and_high,
    round_up,
)
from refquant.quant.scheme_name import SchemeName
from refquant.quant.search import search_breakpoint

Float64 = NDArray[np.float64]

# Options that name a density: its Density, and whether the exact root is asked for ("": default).
DENSITIES = {
    "": (GAUSSIAN, False),
    "laplacian": (LAPLACIAN, False),
    "gaussian-root": (GAUSSIAN, True),
    "laplacian-root": (LAPLACIAN, True),
}


def maximum_of(x: Rows, dtype: DTypeLike) -> NDArray[Any]:
    """Equation (1): (G, 1), 1 for an all-zero row."""
    lo, hi = low_and_high(x)
    m = round_up(np.maximum(-lo, hi), dtype)  # (1)
    return np.where(m > 0, m, np.ones_like(m))


def params_of(p: Float64, m: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Equation (2): p as it is stored, beside m (G, 1) as stored."""
    least = round_up(m.astype(np.float64) * 2.0**-16, m.dtype)
    with np.errstate(over="ignore"):
        stored = np.where(p > 0, p, m / 2).astype(m.dtype)
    return {"breakpoint": np.clip(stored, least, m), "maximum": m}  # (2)


def choose_params(
    x: Rows,
    bits: int,
    dtype: DTypeLike = np.float32,
    density: Density = GAUSSIAN,
    exact: bool = False,
) -> dict[str, NDArray[Any]]:
    """Equations (1) and (2), with the breakpoint that is best for weights of that density."""
    return params_of(breakpoints(x, density, exact).p, maximum_of(x, dtype))


def choose_params_search(
    form: str, x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """Equations (1) and (2), with the breakpoint of least squared error, in thousandths of m."""
    m = maximum_of(x, dtype)
    t = search_breakpoint(form, x, m, bits, params_of)
    return params_of(m.astype(np.float64) * t / 1000, m)


def ends(params: Params) -> tuple[Float64, Float64]:
    """p and m as stored, in float64."""
    return params["breakpoint"].astype(np.float64), params["maximum"].astype(np.float64)


def beyond(x: Rows | None, m: Float64) -> Float64:
    """How far the largest magnitude lies beyond m; 0 for rows that m was chosen for."""
    if x is None:
        return np.zeros_like(m)
    lo, hi = low_and_high(x)
    return np.maximum(np.maximum(-lo, hi) - m, 0.0)


def explain_ends(params: Params, bits: int) -> tuple[int, float, float, list[Step]]:
    """H, p and m of one group, and the steps that say so."""
    H = 2 ** (bits - 1) - 1
    p, m = (float(end[0, 0]) for end in ends(params))
    return H, p, m, [Step("m", m, "(1)"), Step("p", p, "(2)"), Step("H", H)]


def breakpoint_cases(name: str, x: Rows, bits: int) -> dict[str, int]:
    """How many rows of x each rule of breakpoint.py decided; all of them "search" for a search."""
    option = SchemeName.parse(name).option
    if option not in DENSITIES:
        return {option: len(x)}
    cases = breakpoints(x, *DENSITIES[option]).case.ravel()
    return dict(zip(CASES, np.bincount(cases, minlength=len(CASES)).tolist(), strict=True))


def breakpoint_origin(name: str, x: Rows, column: int, params: Params, bits: int) -> list[Step]:
    """The numbers from which the breakpoint of one row x (1, N) was made."""
    option = SchemeName.parse(name).option
    if option in DENSITIES:
        return explain_breakpoint(x, *DENSITIES[option])
    p, m = (float(end[0, 0]) for end in ends(params))
    return [Step("t", round(1000 * p / m), "search.py (1) to (3): p = m * t / 1000")]


def piecewise(
    name: str,
    quantize: Callable[[Rows, Params, int], Codes],
    dequantize: Callable[[Codes, Params, int], Rows],
    error_bound: Callable[[Rows | None, Params, int], Float64],
    explain: Callable[[float | None, int, Params, int], list[Step]],
) -> Scheme:
    """The record of a piecewise linear scheme, from the four functions that are its own."""
    densities = {
        option: partial(choose_params, density=density, exact=exact)
        for option, (density, exact) in DENSITIES.items()
        if option
    }
    return Scheme(
        name,
        choose_params,
        quantize,
        dequantize,
        error_bound,
        fields=(Field("breakpoint", positive=True), Field("maximum", positive=True)),
        explain=explain,
        code_bits=lambda bits: bits + 1,
        nominal_params=lambda bits: 4,
        linear=("breakpoint", "maximum"),
        options={**densities, "search": partial(choose_params_search, name)},
        origin=breakpoint_origin,
        cases=breakpoint_cases,
    )
