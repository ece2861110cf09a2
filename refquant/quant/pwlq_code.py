"""Piecewise linear quantization as its authors' code does it: a centre with 2**bits - 1 steps.

x           (G, N) float32   one row per group
codes       (G, N) uint8     bits + 1 wide, in the order of their levels; uint16 for 9 bits
maximum, breakpoint  (G, 1)  m = max|x| and p, equations (1) and (2) of piecewise.py
L = 2**(bits-1), H = L - 1, B = 2**bits - 1

    centre, |x| < p:  q = clip(rint(x * B / (2p)), -L, H)   code = 2L + q        (3)
                      x_hat = q * 2p / B                                         (4)
    tails, |x| >= p:  codes and levels as in pwlq.py, equations (5) to (7)       (5)

The levels of the centre lie symmetrically about zero. The outermost that are reached are
+-H * 2p / B, with 4 bits 0.933 p; q = -L, with 4 bits -1.067 p, is never reached, since |x| < p.
No level is shared.
Levels  31 for 4 bits: 15 + 2 * 8.
Error   |x - x_hat| <= max(p / B, (m - p) / (2H)), up to the float32 rounding. Zero is exact.
Cases   those of piecewise.py.
Source  the code released with Fang et al. 2020, arXiv 2002.00104; rint is half-to-even.

A worked example with 3 bits: p = 3 and m = 9 make the step 6/7 in the centre and 2 in the tails.

    >>> params = {"breakpoint": np.float32([[3]]), "maximum": np.float32([[9]])}
    >>> x = np.array([[-9.0, -6.1, -3.0, -2.9, -0.4, 0.5, 1.5, 2.9, 3.0, 4.0, 6.0]], np.float32)
    >>> codes = quantize(x, params, bits=3)
    >>> codes.tolist()
    [[0, 1, 3, 5, 8, 9, 10, 11, 12, 12, 14]]
    >>> (7 * dequantize(codes, params, bits=3)).round(5).tolist()
    [[-63.0, -49.0, -21.0, -18.0, 0.0, 6.0, 12.0, 18.0, 21.0, 21.0, 49.0]]
"""

import numpy as np
from numpy.typing import NDArray

from refquant.quant import pwlq
from refquant.quant.piecewise import beyond, ends, explain_ends, piecewise
from refquant.quant.scheme import Codes, Params, Rows, Step, rounding


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equations (3) and (5): codes (G, N)."""
    L, B = 2 ** (bits - 1), 2**bits - 1
    p, _ = ends(params)
    exact = x.astype(np.float64)
    centre = 2 * L + np.clip(np.rint(exact * B / (2 * p)), -L, L - 1)  # (3)
    outer = pwlq.quantize(x, params, bits)  # (5)
    return np.where(abs(exact) < p, centre, outer).astype(outer.dtype)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equations (4) and (5): (G, N) float32, in float64 and rounded once."""
    L, B = 2 ** (bits - 1), 2**bits - 1
    p, _ = ends(params)
    code = codes.astype(np.int64)
    centre = ((code - 2 * L) * (2 * p) / B).astype(np.float32)  # (4)
    return np.where((code >= L) & (code < 3 * L), centre, pwlq.dequantize(codes, params, bits))


def error_bound(x: Rows | None, params: Params, bits: int) -> NDArray[np.float64]:
    """max(p / B, (m - p) / (2H)) and rounding; more where weights lie beyond m."""
    H, B = 2 ** (bits - 1) - 1, 2**bits - 1
    p, m = ends(params)
    return np.maximum(np.maximum(p / B, (m - p) / (2 * H)), beyond(x, m)) + rounding(m)


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (3) and (4) for one weight, or those of pwlq.py for a tail."""
    L, B = 2 ** (bits - 1), 2**bits - 1
    if not L <= code < 3 * L:
        return pwlq.explain(x, code, params, bits)
    _, p, _, steps = explain_ends(params, bits)
    steps += [Step("B", B)]
    if x is not None:
        steps += [Step("x * B / (2p)", float(x * B / (2 * p)), "(3)")]
    q = code - 2 * L
    steps += [Step("code", code, "(3)"), Step("q", q, "(3)")]
    return [*steps, Step("q * 2p / B", float(q * 2 * p / B), "(4)")]


PWLQ_CODE = piecewise("pwlq-code", quantize, dequantize, error_bound, explain)
