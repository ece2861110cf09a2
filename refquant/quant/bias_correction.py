"""Bias correction: the decoded group gets back the mean and the spread that quantization changed.

x, x_hat    (G, N) float32   a group and what any scheme decodes it to
offset      (G, 1) float32   stored besides the scheme's parameters: 4 bytes per group

    a = deviation(x) / deviation(x_hat)                                          (1)
    the scheme's parameters in units of the weights, times a, as they are stored (2)
    x_c = what the same codes decode to with them                                (3)
    offset = mean(x) - mean(x_c)                                                 (4)
    x_hat' = x_c + offset, added in float32                                      (5)

so x_hat' = (x_hat - mean x_hat) * a + mean x. The codes are those of the scheme itself. Where a is
not defined (all weights of a group decode to one number) or (2) does not fit its type, a is 1 and
only the mean is corrected. So it is with `power-of-two`, which has no parameter to multiply.
Error   |x - x_hat'| <= the scheme's bound + the most that (2) to (5) move any of its levels. The
        rows are needed to know both; without them the bound is infinite. Zero is not exact any
        more, and a second pass may give other codes, which were chosen for other parameters.
Source  after Fang et al. 2020, arXiv 2002.00104, section 3.4; means and deviations as in sums.py.

A worked example: `symmetric` with 2 bits has scale 1 and decodes the row to (-1, 0, 0, 1). The
deviations are sqrt(1.95 / 3) and sqrt(2 / 3), so a is sqrt(0.975); the means are -0.05 and 0.

    >>> from refquant.quant.symmetric import SYMMETRIC
    >>> x = np.array([[-1.0, -0.4, 0.4, 0.8]], np.float32)
    >>> params, codes = corrected(SYMMETRIC).encode(x, bits=2)
    >>> codes.tolist()
    [[1, 2, 2, 3]]
    >>> round(params["scale"].item(), 5), round(params["offset"].item(), 5)
    (0.98742, -0.05)
    >>> corrected(SYMMETRIC).decode(codes, params, bits=2).astype(float).round(5).tolist()
    [[-1.03742, -0.05, -0.05, 0.93742]]
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.quant.scheme import FLOATS, Codes, Field, Params, Rows, Scheme, Step
from refquant.quant.scheme_name import SchemeName
from refquant.quant.sums import mean_and_deviation

Float64 = NDArray[np.float64]


def corrected(scheme: Scheme) -> Scheme:
    """The scheme with bias correction, under its corrected name."""
    return scheme._replace(
        name=str(SchemeName.parse(scheme.name)._replace(corrected=True)),
        choose_params=partial(params_of, scheme),
        quantize=partial(codes_of, scheme),
        dequantize=partial(values_of, scheme),
        error_bound=partial(bound, scheme),
        explain=partial(steps_of, scheme),
        origin=partial(origin_of, scheme),
        fields=(*scheme.fields, Field("offset", ("float32",))),
        nominal_params=lambda bits: scheme.nominal_params(bits) + 1,
        affine_map=None,
        options={},
        joint=partial(encode, scheme),
    )


def encode(
    scheme: Scheme, x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> tuple[dict[str, NDArray[Any]], Codes]:
    """The scheme's codes, and the parameters of (2) with the offset."""
    plain, codes = scheme.encode(x, bits, dtype)
    return correct(scheme, x, plain, codes, bits), codes


def params_of(
    scheme: Scheme, x: Rows, bits: int, dtype: DTypeLike = np.float32
) -> dict[str, NDArray[Any]]:
    """The parameters of `encode` alone."""
    return encode(scheme, x, bits, dtype)[0]


def codes_of(scheme: Scheme, x: Rows, params: Params, bits: int) -> Codes:
    """Codes for given parameters; `encode` chooses its codes for those of the scheme itself."""
    return scheme.quantize(x - params["offset"], without_offset(params), bits)


def values_of(scheme: Scheme, codes: Codes, params: Params, bits: int) -> Rows:
    """Equation (5)."""
    return scheme.dequantize(codes, without_offset(params), bits) + params["offset"]


def steps_of(scheme: Scheme, x: float | None, code: int, params: Params, bits: int) -> list[Step]:
    """Decoding alone: the parameters that chose the code are not stored (see origin_of)."""
    steps = scheme.explain(None, code, without_offset(params), bits)
    return [*steps, Step("offset", float(params["offset"][0, 0]), "(4), (5)")]


def origin_of(
    scheme: Scheme, name: str, x: Rows, column: int, params: Params, bits: int
) -> list[Step]:
    """How the code was chosen, with the scheme's own parameters ("plain"), and equation (1)."""
    plain, codes = plain_encoding(scheme, x, params, bits)
    steps = scheme.origin(name, x, column, plain, bits) if scheme.origin else []
    steps += scheme.explain(float(x[0, column]), int(codes[0, column]), plain, bits)
    mean, deviation = mean_and_deviation(x)
    _, deviation_hat = mean_and_deviation(scheme.decode(codes, plain, bits))
    return [
        *(step._replace(symbol=f"plain {step.symbol}") for step in steps),
        Step("mean(x)", mean.item(), "(4)"),
        Step("deviation(x)", deviation.item(), "(1)"),
        Step("deviation(x_hat)", deviation_hat.item(), "(1)"),
    ]


def plain_encoding(
    scheme: Scheme, x: Rows, params: Params, bits: int
) -> tuple[dict[str, NDArray[Any]], Codes]:
    """The scheme's own parameters and codes, found again from the rows; `params` as stored."""
    floats = [params[f.name].dtype for f in scheme.fields if params[f.name].dtype.name in FLOATS]
    return scheme.encode(x, bits, floats[0] if floats else np.float32)


def without_offset(params: Params) -> dict[str, NDArray[Any]]:
    """The scheme's own parameters."""
    return {name: array for name, array in params.items() if name != "offset"}


def correct(
    scheme: Scheme, x: Rows, plain: Params, codes: Codes, bits: int
) -> dict[str, NDArray[Any]]:
    """Equations (1) to (4): the changed parameters of the scheme, and the offset."""
    x_hat = scheme.decode(codes, plain, bits)
    mean, deviation = mean_and_deviation(x)
    _, deviation_hat = mean_and_deviation(x_hat)
    defined = (deviation > 0) & (deviation_hat > 0)
    a = np.where(defined, deviation / np.where(defined, deviation_hat, 1.0), 1.0)  # (1)
    params = scaled(scheme, plain, a)
    mean_c, _ = mean_and_deviation(scheme.decode(codes, params, bits))  # (3)
    return {**params, "offset": (mean - mean_c).astype(np.float32)}  # (4)


def scaled(scheme: Scheme, plain: Params, a: Float64) -> dict[str, NDArray[Any]]:
    """Equation (2); where a product of a group does not fit its type, the group stays as it is."""
    changed = {}
    fits = np.ones_like(a, dtype=bool)
    for field in scheme.fields:
        if field.name in scheme.linear:
            array = plain[field.name]
            with np.errstate(over="ignore", under="ignore"):
                changed[field.name] = (array.astype(np.float64) * a).astype(array.dtype)  # (2)
            good = np.isfinite(changed[field.name]) & (
                not field.positive or changed[field.name] > 0
            )
            fits &= good.all(axis=1, keepdims=True)
    return {
        name: np.where(fits, changed[name], array) if name in changed else array
        for name, array in plain.items()
    }


def bound(scheme: Scheme, x: Rows | None, params: Params, bits: int) -> Float64:
    """The bound of the file's docstring; the scheme's parameters are found again from the rows."""
    if x is None:
        return np.full((len(params["offset"]), 1), np.inf)
    own = without_offset(params)
    plain, _ = plain_encoding(scheme, x, params, bits)
    codes = np.arange(2 ** scheme.code_bits(bits), dtype=scheme.code_dtype(bits))
    codes = np.broadcast_to(codes, (len(x), codes.size))
    level = scheme.dequantize(codes, plain, bits).astype(np.float64)
    level_c = scheme.dequantize(codes, own, bits) + params["offset"]
    moved = abs(level - level_c).max(axis=1, keepdims=True)
    return scheme.error_bound(x, plain, bits) + moved
