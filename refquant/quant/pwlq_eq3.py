"""Piecewise linear quantization as first published: a sign, and two uniform pieces for |x|.

x           (G, N) float32   one row per group
codes       (G, N) uint8     bits + 1 wide, in the order of their levels; uint16 for 9 bits
maximum, breakpoint  (G, 1)  m = max|x| and p, equations (1) and (2) of piecewise.py
L = 2**(bits-1), H = L - 1

    |x| < p:   i = rint(|x| * H / p),  x_hat = sign(x) * i * p / H               (3)
    |x| >= p:  j = min(rint((|x| - p) * H / (m - p)), H),  0 if m = p
               x_hat = sign(x) * (p + j * (m - p) / H)                           (5)
    code = 2L + i or 3L + j;  where x < 0 code = 2L - 1 - i or L - 1 - j         (6)

Four pieces of bits - 1 bits: 2**(bits+1) codes. The levels are those of `pwlq`, since rint is
symmetric: a centre [-p, p] with `bits` bits has the levels of two pieces [0, p] with bits - 1.
Only the codes differ: here zero has two (2L and 2L - 1) and every code is used.
Levels  29 for 4 bits: 2 * (8 + 8), less p, -p and one zero.
Error   |x - x_hat| <= max(p, m - p) / (2H), up to the float32 rounding. Zero is exact.
Cases   those of piecewise.py.
Source  Fang et al. 2020, arXiv 2002.00104, eq. 3; rint is half-to-even.

A worked example with 3 bits: p = 3 and m = 9 make the step 1 within p and 2 beyond it.

    >>> params = {"breakpoint": np.float32([[3]]), "maximum": np.float32([[9]])}
    >>> x = np.array([[-9.0, -6.1, -3.0, -2.9, -0.4, 0.5, 1.5, 2.9, 3.0, 4.0, 6.0]], np.float32)
    >>> codes = quantize(x, params, bits=3)
    >>> codes.tolist()
    [[0, 1, 3, 4, 7, 8, 10, 11, 12, 12, 14]]
    >>> dequantize(codes, params, bits=3).tolist()
    [[-9.0, -7.0, -3.0, -3.0, -0.0, 0.0, 2.0, 3.0, 3.0, 3.0, 7.0]]
"""

import numpy as np

from refquant.quant.piecewise import ends, explain_ends, piecewise
from refquant.quant.pwlq import error_bound, explain_tail, tail_steps, tail_values
from refquant.quant.scheme import Codes, Params, Rows, Step


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equations (3), (5) and (6): codes (G, N)."""
    L = 2 ** (bits - 1)
    H = L - 1
    p, m = ends(params)
    exact = x.astype(np.float64)
    magnitude = abs(exact)
    i = np.rint(magnitude * H / p)  # (3)
    j = tail_steps(magnitude, p, m, H)  # (5)
    step = np.where(magnitude < p, i, L + j)
    code = np.where(exact < 0, 2 * L - 1 - step, 2 * L + step)  # (6)
    return code.astype(np.uint8 if bits < 8 else np.uint16)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """The levels of (3) and (5): (G, N) float32, in float64 and rounded once."""
    L = 2 ** (bits - 1)
    H = L - 1
    p, m = ends(params)
    code = codes.astype(np.int64)
    negative = code < 2 * L
    step = np.where(negative, 2 * L - 1 - code, code - 2 * L)
    magnitude = np.where(step < L, step * p / H, tail_values(step - L, p, m, H))  # (3), (5)
    return np.where(negative, -magnitude, magnitude).astype(np.float32)


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (3) to (6) for one weight."""
    L = 2 ** (bits - 1)
    H, p, m, steps = explain_ends(params, bits)
    step = 2 * L - 1 - code if code < 2 * L else code - 2 * L
    inner = step < L
    if x is not None:
        steps += [Step("|x|", abs(x))]
        steps += (
            [Step("|x| * H / p", abs(x) * H / p, "(3)")] if inner else explain_tail(x, p, m, H)
        )
    steps += [Step("code", code, "(6)"), Step("sign", -1 if code < 2 * L else 1, "(6)")]
    if inner:
        return [*steps, Step("i", step, "(3)"), Step("i * p / H", step * p / H, "(3)")]
    return [
        *steps,
        Step("j", step - L, "(5)"),
        Step("p + j * (m - p) / H", tail_values(step - L, p, m, H), "(5)"),
    ]


PWLQ_EQ3 = piecewise("pwlq-eq3", quantize, dequantize, error_bound, explain)
