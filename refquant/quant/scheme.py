"""The contract of a scheme: a few plain functions on rows, and a declaration of what they store.

x       (G, N) float32      one row per group; a scheme never sees a layer, only rows
codes   (G, N) uint8, or uint16 where code_bits > 8
params  name -> (G, columns) array, exactly the fields that the scheme declares
bits    2 ... 8             the width that the user asks for; code_bits(bits) is the width stored

    params = choose_params(x, bits, dtype)      float fields in `dtype`: float32 or float16
    codes  = quantize(x, params, bits)          chosen against params as they are stored
    x_hat  = dequantize(codes, params, bits)    (G, N) float32
    bound  = error_bound(x, params, bits)       (G, 1) float64, |x - x_hat| <= bound in each row;
                                                where x is None it holds for the weights that
                                                lie between the outermost levels of their row

quantize and dequantize treat every weight on its own, so they may be given a part of the columns.
A scheme is a file with these functions and a `Scheme` record, and one line in schemes.py. Its
`options` are other ways to choose the same parameters (scheme_name.py).

Rounding of parameters  What must not shrink a range is rounded up to its stored type (`round_up`).
        Then no weight is clipped by the rounding, and the bounds are exact statements.
Codes   come from a division of two float32 numbers in float64, and rint gives the code of exact
        arithmetic: a quotient of 24-bit numbers that is not a half-integer is more than 2**-25
        away from every half-integer (2**-27 if it is below 1/2), and float64 moves a quotient
        below 2**28 by 2**-26 at most (by 2**-55 if it is below 1/2).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.arrays.errors import BadInput

Rows = NDArray[np.float32]
Codes = NDArray[Any]
Params = Mapping[str, NDArray[Any]]
ChooseParams = Callable[..., dict[str, NDArray[Any]]]

BITS = range(2, 9)
FLOATS = ("float32", "float16")
# Weights that are quantized at a time: their float64 temporaries fit a second-level cache.
TILE = 1 << 16
# Weights whose rows are fitted at a time: a search for roots should not run for only a few rows.
FIT_TILE = 1 << 18
# The largest weight. A level lies at most one step beyond the weights, so it is finite in float32.
LARGEST = 2.0**126


def one(bits: int) -> int:
    """A field with one number per group."""
    return 1


class Field(NamedTuple):
    """One array of parameters that a scheme stores, (G, columns(bits)).

    Parameters
    ----------
    name : str
        The key in the parameters, and the name of the dataset in a file.
    dtypes : tuple of str, default FLOATS
        The dtypes in which it may be stored.
    positive : bool, default False
        Whether every number must be above 0.
    columns : callable, default one
        The numbers per group, from the bits of the scheme.
    """

    name: str
    dtypes: tuple[str, ...] = FLOATS
    positive: bool = False
    columns: Callable[[int], int] = one


class Step(NamedTuple):
    """One intermediate number of a computation, and the equation that gives it.

    Parameters
    ----------
    symbol : str
        What the number is called in the equation.
    value : float or int
        The number.
    equation : str, default ""
        The number of the equation in the file's docstring, such as "(4)".
    """

    symbol: str
    value: float | int
    equation: str = ""


class Scheme(NamedTuple):
    """A scheme of quantization: plain functions on rows x (G, N), with what they store.

    Parameters
    ----------
    name : str
        The name in SCHEMES.
    choose_params : callable
        (x, bits, dtype) to params, by the default way.
    quantize : callable
        (x, params, bits) to codes (G, N).
    dequantize : callable
        (codes, params, bits) to x_hat (G, N) float32.
    error_bound : callable
        (x or None, params, bits) to the proven bound of every row, (G, 1) float64.
    fields : tuple of Field
        The arrays of parameters.
    explain : callable
        (x or None, code, params of one group, bits) to every intermediate number of one weight.
    code_bits : callable, default int
        Stored bits per code, from the bits asked for.
    nominal_params : callable, default one
        Numbers per group in the paper's way of counting, 4 bytes each.
    linear : tuple of str, default ()
        Fields in units of the weights: multiplied by a, they multiply x_hat by a. Bias correction
        needs them.
    options : mapping of str to callable, default {}
        Other ways to choose params, by name.
    origin : callable or None
        (full name, x (1, N), column, params, bits) to the numbers from which the params of a group
        were made; with bias correction also those that gave the code of that column.
    cases : callable or None
        (full name, x, bits) to how many rows each rule decided.
    affine_map : callable or None
        (params, bits) to scale and zero_point (G, 1), where x_hat is
        float32(scale * (code - zero_point)) to the bit.
    joint : callable or None
        (x, bits, dtype) to params and codes, where params are not chosen before the codes.
    """

    name: str
    choose_params: ChooseParams
    quantize: Callable[[Rows, Params, int], Codes]
    dequantize: Callable[[Codes, Params, int], Rows]
    error_bound: Callable[[Rows | None, Params, int], NDArray[np.float64]]
    fields: tuple[Field, ...]
    explain: Callable[[float | None, int, Params, int], list[Step]]
    code_bits: Callable[[int], int] = int
    nominal_params: Callable[[int], int] = one
    linear: tuple[str, ...] = ()
    options: Mapping[str, ChooseParams] = {}
    origin: Callable[[str, Rows, int, Params, int], list[Step]] | None = None
    cases: Callable[[str, Rows, int], dict[str, int]] | None = None
    affine_map: Callable[[Params, int], tuple[NDArray[Any], NDArray[Any]]] | None = None
    joint: Callable[[Rows, int, DTypeLike], tuple[dict[str, NDArray[Any]], Codes]] | None = None

    def encode(
        self, x: Rows, bits: int, dtype: DTypeLike = np.float32
    ) -> tuple[dict[str, NDArray[Any]], Codes]:
        """Params and codes of x (G, N), in tiles: temporary arrays stay small."""
        if self.joint is not None:
            return self.joint(x, bits, dtype)
        params = self.fit(x, bits, dtype)
        codes: Codes = np.empty(x.shape, self.code_dtype(bits))
        for rows, columns in tiles(x.shape):
            codes[rows, columns] = self.quantize(x[rows, columns], part(params, rows), bits)
        return params, codes

    def fit(self, x: Rows, bits: int, dtype: DTypeLike = np.float32) -> dict[str, NDArray[Any]]:
        """Choose the params of some rows at a time, since every row is on its own."""
        at_once = max(1, FIT_TILE // x.shape[1])
        pieces = [
            self.choose_params(x[first : first + at_once], bits, dtype)
            for first in range(0, len(x), at_once)
        ]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def decode(self, codes: Codes, params: Params, bits: int) -> Rows:
        """Give x_hat (G, N) float32, made in tiles."""
        x_hat = np.empty(codes.shape, np.float32)
        for rows, columns in tiles(codes.shape):
            # Parameters from a file may decode to infinity, which is for the caller to judge.
            with np.errstate(over="ignore"):
                piece = self.dequantize(codes[rows, columns], part(params, rows), bits)
            x_hat[rows, columns] = piece
        return x_hat

    def code_dtype(self, bits: int) -> type:
        """Give the dtype of codes: uint8, or uint16 for codes of 9 bits."""
        return np.uint8 if self.code_bits(bits) <= 8 else np.uint16


def tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of pieces of a (G, N) array, each of at most TILE elements."""
    G, N = shape
    rows, columns = max(1, TILE // N), min(N, TILE)
    for row in range(0, G, rows):
        for column in range(0, N, columns):
            yield slice(row, row + rows), slice(column, column + columns)


def part(params: Params, rows: slice) -> dict[str, NDArray[Any]]:
    """The parameters of some rows."""
    return {name: array[rows] for name, array in params.items()}


def check_bits(bits: int) -> int:
    """bits, if it is a width that a scheme takes."""
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or bits not in BITS:
        raise BadInput(f"bits={bits!r}", f"choose {BITS.start}..{BITS.stop - 1}")
    return int(bits)


def round_up(value: NDArray[np.float64], dtype: DTypeLike) -> NDArray[Any]:
    """The smallest number of `dtype` (float32 or float16) that is >= value, elementwise."""
    with np.errstate(over="ignore"):
        nearest = value.astype(dtype)
        above = np.where(nearest < value, np.nextafter(nearest, np.inf, dtype=dtype), nearest)
    if not np.isfinite(above).all():
        raise BadInput(
            f"parameter {value.max():.6g}",
            f"does not fit {np.dtype(dtype).name}",
            "store parameters as float32",
        )
    return above


def low_and_high(x: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimum and maximum of every row, (G, 1) float64."""
    return (
        x.min(axis=1, keepdims=True).astype(np.float64),
        x.max(axis=1, keepdims=True).astype(np.float64),
    )


def rounding(magnitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most that rounding a number of at most this magnitude to float32 can change it."""
    return magnitude * 2.0**-24 + 2.0**-150
