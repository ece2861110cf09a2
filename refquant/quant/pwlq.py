"""Piecewise linear quantization, the paper's form: a fine centre, coarse tails, one more bit.

x           (G, N) float32   one row per group
codes       (G, N) uint8     bits + 1 wide, in the order of their levels; uint16 for 9 bits
maximum, breakpoint  (G, 1)  m = max|x| and p, equations (1) and (2) of piecewise.py
L = 2**(bits-1), H = L - 1

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
Cases   those of piecewise.py.
Source  the paper, Baghbanbashi et al. 2023, arXiv 2407.04943, after Fang et al. 2020, arXiv
        2002.00104; rint is half-to-even.

A worked example with 3 bits: p = 3 and m = 9 make the step 1 in the centre and 2 in the tails.

    >>> params = {"breakpoint": np.float32([[3]]), "maximum": np.float32([[9]])}
    >>> x = np.array([[-9.0, -6.1, -3.0, -2.9, -0.4, 0.5, 1.5, 2.9, 3.0, 4.0, 6.0]], np.float32)
    >>> codes = quantize(x, params, bits=3)
    >>> codes.tolist()
    [[0, 1, 3, 5, 8, 8, 10, 11, 12, 12, 14]]
    >>> dequantize(codes, params, bits=3).tolist()
    [[-9.0, -7.0, -3.0, -3.0, 0.0, 0.0, 2.0, 3.0, 3.0, 3.0, 7.0]]
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.quant.piecewise import beyond, ends, explain_ends, piecewise
from refquant.quant.scheme import Codes, Params, Rows, Step, rounding

Float64 = NDArray[np.float64]


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


def explain_tail(x: float, p: float, m: float, H: int) -> list[Step]:
    """Equation (5) before rounding."""
    quotient = (abs(x) - p) * H / (m - p) if m > p else 0.0
    return [Step("(|x| - p) * H / (m - p)", quotient, "(5)")]


PWLQ = piecewise("pwlq", quantize, dequantize, error_bound, explain)
