"""Piecewise linear quantization, the study's form: a fine centre, coarse tails, one more bit.

x           (G, N) float32   one row per group
codes       (G, N) uint8     bits + 1 wide, in the order of their levels; uint16 for 9 bits
maximum     (G, 1) float32   m > 0 (or float16, if so chosen, as the next)
breakpoint  (G, 1) float32   p, 0 < p <= m
L = 2**(bits-1), H = L - 1

    m = max|x|, rounded up                                                       (1)
    p = the breakpoint of breakpoint.py or search.py, within m * 2**-16 ... m    (2)
    centre, |x| < p:   q = rint(x * H / p)                code = 2L + q          (3)
                       x_hat = q * p / H                                         (4)
    tails, |x| >= p:   j = min(rint((|x| - p) * H / (m - p)), H),  0 if m = p    (5)
                       code = 3L + j,  or  H - j where x < 0                     (6)
                       x_hat = p + j * (m - p) / H,  or its negative             (7)

So the centre is symmetric with `bits` bits, each tail affine with bits - 1 and an offset that is
not rounded: both its ends are levels. Codes 0 ... H are the negative tail, L ... 3L - 1 the
centre, 3L ... 4L - 1 the positive tail: 2**(bits+1) codes, so "4-bit" PWLQ stores 5 bits.
Levels  29 for 4 bits: 15 + 2 * 8, less the two shared ones, p and -p. Code L is never used.
Error   |x - x_hat| <= max(p, m - p) / (2H), up to the float32 rounding of (4) and (7). Zero is
        exact.
Cases   An all-zero row has m = 1, p = 1/2. The lower end in (2) keeps every quotient of (5) on the
        right side of a half-integer in float64 (|x| - p has at most 44 bits); only a group whose
        weights are nearly equal and far from zero reaches it.
Source  Baghbanbashi et al. 2023, arXiv 2407.04943, after Fang et al. 2020, arXiv 2002.00104;
        rint is half-to-even.
"""

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
    ChooseParams,
    Codes,
    Field,
    Params,
    Rows,
    Scheme,
    Step,
    low_and_high,
    round_up,
    rounding,
)
from refquant.quant.search import search_breakpoint

Float64 = NDArray[np.float64]

FIELDS = (Field("breakpoint", positive=True), Field("maximum", positive=True))


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


def by_density(density: Density, exact: bool = False) -> ChooseParams:
    """A way to choose params: the breakpoint that is best for the density."""

    def choose_params(x: Rows, bits: int, dtype: DTypeLike = np.float32) -> dict[str, Any]:
        return params_of(breakpoints(x, density, exact).p, maximum_of(x, dtype))

    return choose_params


def by_search(form: str) -> ChooseParams:
    """A way to choose params: the breakpoint of least squared error among thousandths of m."""

    def choose_params(x: Rows, bits: int, dtype: DTypeLike = np.float32) -> dict[str, Any]:
        m = maximum_of(x, dtype)
        t = search_breakpoint(form, x, m, bits, params_of)
        return params_of(m.astype(np.float64) * t / 1000, m)

    return choose_params


# Density and whether its exact root is asked for, by option; "" is the default.
DENSITIES = {
    "": (GAUSSIAN, False),
    "laplacian": (LAPLACIAN, False),
    "gaussian-root": (GAUSSIAN, True),
    "laplacian-root": (LAPLACIAN, True),
}


def breakpoint_options(form: str) -> dict[str, ChooseParams]:
    """The ways to choose a breakpoint besides the default, the Gaussian closed form."""
    ways = {name: by_density(*way) for name, way in DENSITIES.items() if name}
    return {**ways, "search": by_search(form)}


def breakpoint_cases(name: str, x: Rows, bits: int) -> dict[str, int]:
    """How many rows of x each rule of breakpoint.py decided; all of them "search" for a search."""
    option = name.removesuffix("+bc").partition(":")[2]
    if option not in DENSITIES:
        return {option: len(x)}
    cases = breakpoints(x, *DENSITIES[option]).case.ravel()
    return dict(zip(CASES, np.bincount(cases, minlength=len(CASES)).tolist(), strict=True))


def breakpoint_origin(name: str, x: Rows, column: int, params: Params, bits: int) -> list[Step]:
    """The numbers from which the breakpoint of one row x (1, N) was made."""
    option = name.removesuffix("+bc").partition(":")[2]
    if option in DENSITIES:
        return explain_breakpoint(x, *DENSITIES[option])
    p, m = (float(end[0, 0]) for end in ends(params))
    return [Step("t", round(1000 * p / m), "search.py (1) to (3): p = m * t / 1000")]


def ends(params: Params) -> tuple[Float64, Float64]:
    """p and m as stored, in float64."""
    return params["breakpoint"].astype(np.float64), params["maximum"].astype(np.float64)


def tail_steps(magnitude: Float64, p: Float64, m: Float64, H: int) -> Float64:
    """Equation (5): j, for magnitudes of at least p."""
    width = np.where(m > p, m - p, 1.0)
    return np.clip(np.rint((magnitude - p) * H / width), 0, np.where(m > p, H, 0))


def tail_values(j: Any, p: Any, m: Any, H: int) -> Any:
    """Equation (7) for the positive tail, in float64, numbers or arrays."""
    return p + j * (m - p) / H


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equations (3), (5) and (6): codes (G, N)."""
    L = 2 ** (bits - 1)
    H = L - 1
    p, m = ends(params)
    exact = x.astype(np.float64)
    magnitude = abs(exact)
    centre = 2 * L + np.rint(exact * H / p)  # (3)
    j = tail_steps(magnitude, p, m, H)  # (5)
    tail = np.where(exact < 0, H - j, 3 * L + j)  # (6)
    return np.where(magnitude < p, centre, tail).astype(np.uint8 if bits < 8 else np.uint16)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equations (4) and (7): (G, N) float32, in float64 and rounded once."""
    L = 2 ** (bits - 1)
    H = L - 1
    p, m = ends(params)
    code = codes.astype(np.int64)
    centre = (code - 2 * L) * p / H  # (4)
    j = np.where(code < L, H - code, code - 3 * L)
    tail = tail_values(j, p, m, H)  # (7)
    outer = np.where(code < L, -tail, tail)
    return np.where((code >= L) & (code < 3 * L), centre, outer).astype(np.float32)


def error_bound(x: Rows | None, params: Params, bits: int) -> Float64:
    """max(p, m - p) / (2H) and rounding; more where weights lie beyond m."""
    H = 2 ** (bits - 1) - 1
    p, m = ends(params)
    return np.maximum(np.maximum(p, m - p) / (2 * H), beyond(x, m)) + rounding(m)


def beyond(x: Rows | None, m: Float64) -> Float64:
    """How far the largest magnitude lies beyond m; 0 for rows that m was chosen for."""
    if x is None:
        return np.zeros_like(m)
    lo, hi = low_and_high(x)
    return np.maximum(np.maximum(-lo, hi) - m, 0.0)


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (3) to (7) for one weight."""
    L = 2 ** (bits - 1)
    H, p, m, steps = explain_ends(params, bits)
    centre = L <= code < 3 * L
    if x is not None:
        steps += [Step("|x|", abs(x))]
        steps += [Step("x * H / p", x * H / p, "(3)")] if centre else explain_tail(x, p, m, H)
    if centre:
        q = code - 2 * L
        steps += [Step("q", q, "(3)"), Step("code", code, "(3)")]
        return [*steps, Step("q * p / H", q * p / H, "(4)")]
    j, value = H - code, "-(p + j * (m - p) / H)"
    if code >= L:
        j, value = code - 3 * L, "p + j * (m - p) / H"
    magnitude = tail_values(j, p, m, H)
    return [
        *steps,
        Step("j", j, "(5)"),
        Step("code", code, "(6)"),
        Step(value, -magnitude if code < L else magnitude, "(7)"),
    ]


def explain_ends(params: Params, bits: int) -> tuple[int, float, float, list[Step]]:
    """H, p and m of one group, and the steps that say so."""
    H = 2 ** (bits - 1) - 1
    p, m = (float(end[0, 0]) for end in ends(params))
    return H, p, m, [Step("m", m, "(1)"), Step("p", p, "(2)"), Step("H", H)]


def explain_tail(x: float, p: float, m: float, H: int) -> list[Step]:
    """Equation (5) before rounding."""
    quotient = (abs(x) - p) * H / (m - p) if m > p else 0.0
    return [Step("(|x| - p) * H / (m - p)", quotient, "(5)")]


def stored_bits(bits: int) -> int:
    """Bits of a code: 2**(bits + 1) codes."""
    return bits + 1


PWLQ = Scheme(
    name="pwlq",
    choose_params=by_density(GAUSSIAN),
    quantize=quantize,
    dequantize=dequantize,
    error_bound=error_bound,
    fields=FIELDS,
    explain=explain,
    code_bits=stored_bits,
    nominal_params=lambda bits: 4,
    linear=("breakpoint", "maximum"),
    cases=breakpoint_cases,
    origin=breakpoint_origin,
    options=breakpoint_options("pwlq"),
)
