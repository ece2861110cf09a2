"""Affine quantization: a real x is kept as an integer q, x ~ scale * (q - zero_point).

x           (G, N) float32   one row per group; every row is quantized on its own
q           (G, N) uint8     codes in [0, Q], Q = 2**bits - 1
scale       (G, 1) float32   > 0, units of x per code (or float16, if so chosen)
zero_point  (G, 1) uint8     the code of 0.0, so that 0.0 is exact (int32 for `affine:minmax`)

    lo = min(x, 0),  hi = max(x, 0)                 default, the range includes 0     (1)
    lo = min(x),     hi = max(x)                    affine:minmax, the paper's range  (1')
    scale = (hi - lo) / Q, rounded up                                                 (2)
    zero_point = rint(-lo / scale)                                                    (3)
    q = clip(rint(x / scale) + zero_point, 0, Q)                                      (4)
    x_hat = scale * (q - zero_point)                                                  (5)

Error   |x - x_hat| <= scale / 2, up to the float32 rounding of (5). Proof: with t = -lo / scale
        the code before clipping is >= rint(-t) + rint(t) = 0, and if it is above Q, then
        x / scale - (Q - zero_point) <= (Q - t) - (Q - zero_point) = zero_point - t <= 1/2. The
        first step needs Q * scale >= hi - lo, hence the rounding up in (2).
Cases   An all-zero row has scale 1. A one-signed row under `minmax` has its zero point outside of
        the codes, and 0.0 is then not a level; its scale is at least max|x| * 2**-27, so that the
        zero point fits int32 and quotients stay exact. A constant row has that scale and, with
        float32 parameters, is decoded exactly.
Source  Jacob et al. 2018, arXiv 1712.05877, eq. 1; "the paper", whose range is (1') and whose
        signed codes are q - 2**(bits-1), is Baghbanbashi et al. 2023, arXiv 2407.04943.
        rint is half-to-even.

A worked example: the range is 15, so the scale is 1; 0.5 and 1.5 are ties and go to the even code.

    >>> x = np.array([[-1.0, 0.0, 0.5, 1.5, 2.75, 14.0]], np.float32)
    >>> params = choose_params(x, bits=4)
    >>> params["scale"].item(), params["zero_point"].item()
    (1.0, 1)
    >>> codes = quantize(x, params, bits=4)
    >>> codes.tolist()
    [[0, 1, 1, 3, 4, 15]]
    >>> dequantize(codes, params, bits=4).tolist()
    [[-1.0, 0.0, 0.0, 2.0, 3.0, 14.0]]
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.clipping import inner_ends, params_of_least_error
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
    """Equations (1) to (3): scale (G, 1) and zero_point (G, 1) uint8."""
    lo, hi = low_and_high(x)
    lo, hi = np.minimum(lo, 0.0), np.maximum(hi, 0.0)  # (1)
    scale = round_up((hi - lo) / (2**bits - 1), dtype)  # (2)
    scale = np.where(scale > 0, scale, np.ones_like(scale))
    zero_point = np.rint(-lo / scale.astype(np.float64))  # (3)
    return {"scale": scale, "zero_point": zero_point.astype(np.uint8)}


def choose_params_minmax(
    x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """Equations (1'), (2) and (3): scale (G, 1) and zero_point (G, 1) int32."""
    lo, hi = low_and_high(x)  # (1')
    magnitude = np.maximum(-lo, hi)
    scale = round_up(np.maximum((hi - lo) / (2**bits - 1), magnitude * 2.0**-27), dtype)  # (2)
    scale = np.where(scale > 0, scale, np.ones_like(scale))
    zero_point = np.rint(-lo / scale.astype(np.float64))  # (3)
    return {"scale": scale, "zero_point": zero_point.astype(np.int32)}


def choose_params_mse(
    x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """Equations (1) to (3) for the part of the range that has the least error (clipping.py)."""
    return params_of_least_error(choose_params, x, bits, dtype, (0, 2**bits - 1))


def choose_params_percentile(
    x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """Equations (1) to (3) as if the outermost weights did not exist (clipping.py)."""
    return choose_params(inner_ends(x), bits, dtype)


def quantize(x: Rows, params: Params, bits: int) -> Codes:
    """Equation (4): codes (G, N) uint8."""
    # Divide by the scale as stored, not as computed: a reader has only that.
    q = np.rint(x / params["scale"].astype(np.float64)) + params["zero_point"]  # (4)
    return np.clip(q, 0, 2**bits - 1).astype(np.uint8)


def dequantize(codes: Codes, params: Params, bits: int) -> Rows:
    """Equation (5): (G, N) float32; the product in float64, rounded once to float32."""
    steps = codes.astype(np.int64) - params["zero_point"].astype(np.int64)
    return (params["scale"].astype(np.float64) * steps).astype(np.float32)  # (5)


def error_bound(x: Rows | None, params: Params, bits: int) -> Float64:
    """scale / 2 and the rounding of (5); more where weights lie outside of the levels."""
    scale = params["scale"].astype(np.float64)
    zero_point = params["zero_point"].astype(np.float64)
    bottom, top = scale * -zero_point, scale * (2**bits - 1 - zero_point)
    step = scale / 2
    if x is not None:
        lo, hi = low_and_high(x)
        step = np.maximum(step, np.maximum(bottom - lo, hi - top))
    return step + rounding(np.maximum(abs(bottom), abs(top)))


def explain(x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Equations (4) and (5) for one weight."""
    scale, zero_point = float(params["scale"][0, 0]), int(params["zero_point"][0, 0])
    steps = [Step("scale", scale, "(2)"), Step("zero_point", zero_point, "(3)")]
    if x is not None:
        steps += [
            Step("x / scale", x / scale, "(4)"),
            Step("rint(x / scale) + zero_point", int(np.rint(x / scale)) + zero_point, "(4)"),
        ]
    steps += [Step("q", code, "(4)"), Step("q - zero_point", code - zero_point, "(5)")]
    return [*steps, Step("scale * (q - zero_point)", scale * (code - zero_point), "(5)")]


AFFINE = Scheme(
    name="affine",
    choose_params=choose_params,
    quantize=quantize,
    dequantize=dequantize,
    error_bound=error_bound,
    fields=(Field("scale", positive=True), Field("zero_point", ("uint8", "int32"))),
    explain=explain,
    nominal_params=lambda bits: 2,
    affine_map=lambda params, bits: (params["scale"], params["zero_point"]),
    linear=("scale",),
    options={
        "minmax": choose_params_minmax,
        "mse": choose_params_mse,
        "percentile": choose_params_percentile,
    },
)
