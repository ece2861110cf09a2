"""Piecewise linear quantization with overlapping pieces: tails on the grid of the whole range.

x           (G, N) float32   one row per group
codes       (G, N) uint8     bits + 1 wide; uint16 for 9 bits
maximum, breakpoint  (G, 1)  m = max|x| and p, equations (1) and (2) of piecewise.py
L = 2**(bits-1), H = L - 1

    centre, |x| < p:  q = rint(x * H / p)                   code = q + L         (3)
                      x_hat = q * p / H                                          (4)
    tails, |x| >= p:  q = clip(rint(x * H / m), -H, H)      code = 2L + q + L    (5)
                      x_hat = q * m / H                                          (6)

Both grids are symmetric with `bits` bits; that of the tails wastes its levels within p. The codes
below 2L belong to the centre and the others to the tails, each in the order of its levels. Codes 0
and 2L are never used.
Error   |x - x_hat| <= m / (2H), up to the float32 rounding: no better than `symmetric`, with one
        bit more. Zero is exact. A weight just above p may decode to a level below p, which belongs
        to the centre when it is quantized again: only here may a second pass change values.
Cases   those of piecewise.py.
Source  Fang et al. 2020, arXiv 2002.00104, section 3.1, where it loses as well.

A worked example with 3 bits: p = 3 and m = 9 make the step 1 in the centre and 3 in the tails.

    >>> params = {"breakpoint": np.float32([[3]]), "maximum": np.float32([[9]])}
    >>> x = np.array([[-9.0, -6.1, -3.0, -2.9, -0.4, 0.5, 1.5, 2.9, 3.0, 4.0, 6.0]], np.float32)
    >>> codes = quantize(x, params, bits=3)
    >>> codes.tolist()
    [[9, 10, 11, 1, 4, 4, 6, 7, 13, 13, 14]]
    >>> dequantize(codes, params, bits=3).tolist()
    [[-9.0, -6.0, -3.0, -3.0, 0.0, 0.0, 2.0, 3.0, 3.0, 3.0, 6.0]]
"""

import numpy as np
from numpy.typing import NDArray

from refquant.quant.piecewise import beyond, ends, explain_ends, piecewise
from refquant.quant.scheme import Codes, Params, Rows, Step, rounding


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equations (3) and (5): codes (G, N)."""
    L = 2 ** (bits - 1)
    H = L - 1
    p, m = ends(params)
    exact = x.astype(np.float64)
    centre = np.rint(exact * H / p) + L  # (3)
    tail = 2 * L + np.clip(np.rint(exact * H / m), -H, H) + L  # (5)
    return np.where(abs(exact) < p, centre, tail).astype(np.uint8 if bits < 8 else np.uint16)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equations (4) and (6): (G, N) float32, in float64 and rounded once."""
    L = 2 ** (bits - 1)
    H = L - 1
    p, m = ends(params)
    code = codes.astype(np.int64)
    centre = (code - L) * p / H  # (4)
    tail = (code - 3 * L) * m / H  # (6)
    return np.where(code < 2 * L, centre, tail).astype(np.float32)


def error_bound(x: Rows | None, params: Params, bits: int) -> NDArray[np.float64]:
    """m / (2H) and rounding; more where weights lie beyond m."""
    H = 2 ** (bits - 1) - 1
    _, m = ends(params)
    return np.maximum(m / (2 * H), beyond(x, m)) + rounding(m)


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (3) to (6) for one weight."""
    L = 2 ** (bits - 1)
    H, p, m, steps = explain_ends(params, bits)
    centre = code < 2 * L
    end, name = (p, "p") if centre else (m, "m")
    encode, decode = ("(3)", "(4)") if centre else ("(5)", "(6)")
    if x is not None:
        steps += [Step("|x|", abs(x)), Step(f"x * H / {name}", float(x * H / end), encode)]
    q = code - (L if centre else 3 * L)
    steps += [Step("code", code, encode), Step("q", q, encode)]
    return [*steps, Step(f"q * {name} / H", float(q * end / H), decode)]


PWLQ_OVERLAP = piecewise("pwlq-overlap", quantize, dequantize, error_bound, explain)
