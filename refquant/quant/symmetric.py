"""Symmetric quantization: x ~ scale * (q - H), the same range on both sides of zero.

x       (G, N) float32   one row per group
q       (G, N) uint8     codes in [1, 2*H - 1], H = 2**(bits-1) is the code of 0.0
scale   (G, 1) float32   > 0, units of x per code (or float16, if so chosen)

    scale = max|x| / (H - 1), rounded up                                         (1)
    q = clip(rint(x / scale), -H, H - 1) + H                                     (2)
    x_hat = scale * (q - H)                                                      (3)

Zero is exact. Code 0 is never used: |x| / scale <= H - 1 by (1), so there are 2**bits - 1 levels.
Where a narrower range clips weights (clipping.py), negative ones may get code 0 and its level.
Error   |x - x_hat| <= scale / 2, up to the float32 rounding of (3): nothing is clipped.
Cases   An all-zero row has scale 1.
Source  Baghbanbashi et al. 2023, arXiv 2407.04943, whose s is 1 / scale and whose signed codes are
        q - H; rint is half-to-even.

A worked example: max|x| is 7, so the scale is 1 and H is 8; -0.5, 0.5 and 1.5 are ties.

    >>> x = np.array([[-7.0, -0.5, 0.0, 0.5, 1.5, 3.2, 7.0]], np.float32)
    >>> params = choose_params(x, bits=4)
    >>> params["scale"].item()
    1.0
    >>> codes = quantize(x, params, bits=4)
    >>> codes.tolist()
    [[1, 8, 8, 8, 10, 11, 15]]
    >>> dequantize(codes, params, bits=4).tolist()
    [[-7.0, 0.0, 0.0, 0.0, 2.0, 3.0, 7.0]]
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.clipping import inner_magnitude, params_of_least_error
from refquant.quant.scheme import (
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

Float64 = NDArray[np.float64]


def choose_params(x: Rows, bits: int, dtype: DTypeLike = np.float32) -> dict[str, NDArray[Any]]:
    """Equation (1): scale (G, 1)."""
    lo, hi = low_and_high(x)
    scale = round_up(np.maximum(-lo, hi) / (2 ** (bits - 1) - 1), dtype)  # (1)
    return {"scale": np.where(scale > 0, scale, np.ones_like(scale))}


def choose_params_mse(
    x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """Equation (1) for the part of the range that has the least error (clipping.py)."""
    H = 2 ** (bits - 1)
    return params_of_least_error(choose_params, x, bits, dtype, (-H, H - 1))


def choose_params_percentile(
    x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """Equation (1) as if the weights of largest magnitude did not exist (clipping.py)."""
    return choose_params(inner_magnitude(x), bits, dtype)


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equation (2): codes (G, N) uint8."""
    H = 2 ** (bits - 1)
    q = np.rint(x / params["scale"].astype(np.float64))
    return (np.clip(q, -H, H - 1) + H).astype(np.uint8)  # (2)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equation (3): (G, N) float32; the product is exact in float64 and rounded once."""
    steps = codes.astype(np.int64) - 2 ** (bits - 1)
    return (params["scale"].astype(np.float64) * steps).astype(np.float32)  # (3)


def error_bound(x: Rows | None, params: Params, bits: int) -> Float64:
    """scale / 2 and the rounding of (3); more where weights lie outside of the levels."""
    scale = params["scale"].astype(np.float64)
    H = 2 ** (bits - 1)
    step = scale / 2
    if x is not None:
        lo, hi = low_and_high(x)
        step = np.maximum(step, np.maximum(-scale * H - lo, hi - scale * (H - 1)))
    return step + rounding(scale * H)


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (2) and (3) for one weight."""
    scale, H = float(params["scale"][0, 0]), 2 ** (bits - 1)
    steps = [Step("scale", scale, "(1)"), Step("H", H)]
    if x is not None:
        steps += [
            Step("x / scale", x / scale, "(2)"),
            Step("rint", int(np.rint(x / scale)), "(2)"),
        ]
    steps += [Step("q", code, "(2)"), Step("q - H", code - H, "(3)")]
    return [*steps, Step("scale * (q - H)", scale * (code - H), "(3)")]


SYMMETRIC = Scheme(
    name="symmetric",
    choose_params=choose_params,
    quantize=quantize,
    dequantize=dequantize,
    error_bound=error_bound,
    fields=(Field("scale", positive=True),),
    explain=explain,
    linear=("scale",),
    affine_map=lambda params, bits: (
        params["scale"],
        np.full_like(params["scale"], 2 ** (bits - 1)),
    ),
    options={"mse": choose_params_mse, "percentile": choose_params_percentile},
)
