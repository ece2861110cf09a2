"""`quantize`: a weight becomes a QuantizedTensor, which knows what it stores and decodes to.

w           (F, C, R, S) float32, all finite
codes       (G, N) uint8 or uint16, rows as the granularity makes them
params      name -> (G, columns) array, as the scheme declares

    codes, params = scheme.encode(granularity.to_rows(w), bits)                  (1)
    w_hat = granularity.from_rows(scheme.dequantize(codes, params, bits))        (2)
    nbytes = ceil(G * N * code_bits / 8) + bytes of params                       (3)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.arrays.errors import BadInput
from refquant.arrays.packed import LARGEST_ZERO_POINT, PackedWeights, pack_weights
from refquant.quant.granularity import Granularity, find_granularity
from refquant.quant.scheme import FLOATS, LARGEST, Scheme, check_bits
from refquant.quant.schemes import find_scheme


@dataclass(frozen=True)
class QuantizedTensor:
    """A quantized weight; every field is checked when one is made, since files make them too.

    codes         (G, N) uint8, or uint16 where code_bits > 8
    params        name -> (G, columns) array
    scheme        a name that `find_scheme` knows, such as "affine" or "affine:minmax"
    granularity   a name that `find_granularity` knows, such as "filter" or "axes:F,R"
    bits          2 ... 8, the width asked for; code_bits is the width of a stored code
    shape         (F, C, R, S)
    """

    codes: NDArray[Any]
    params: Mapping[str, NDArray[Any]]
    scheme: str
    granularity: str
    bits: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        check(self)

    @property
    def rules(self) -> Scheme:
        """The scheme itself."""
        return find_scheme(self.scheme)

    @property
    def grouping(self) -> Granularity:
        """The granularity itself."""
        return find_granularity(self.granularity)

    @property
    def code_bits(self) -> int:
        """Bits of a stored code: bits, or bits + 1 for piecewise linear schemes."""
        return self.rules.code_bits(self.bits)

    @property
    def codes_nbytes(self) -> int:
        """Bytes of the packed codes."""
        return -(-self.codes.size * self.code_bits // 8)

    @property
    def params_nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(array.nbytes for array in self.params.values())

    @property
    def nbytes(self) -> int:
        """Bytes stored: packed codes and parameters, equation (3)."""
        return self.codes_nbytes + self.params_nbytes

    @property
    def size(self) -> int:
        """The number of weights."""
        return math.prod(self.shape)

    @property
    def bits_per_weight(self) -> float:
        """Stored bits per weight, parameters included."""
        return 8 * self.nbytes / self.size

    def rows(self) -> NDArray[np.float32]:
        """Decoded rows, (G, N) float32."""
        rows = self.rules.decode(self.codes, self.params, self.bits)
        if not np.isfinite(rows).all():
            raise BadInput("params", "decode to numbers that float32 cannot hold")
        return rows

    def dequantize(self) -> NDArray[np.float32]:
        """The decoded weight, (F, C, R, S) float32, equation (2)."""
        return self.grouping.from_rows(self.rows(), self.shape)

    def packed(self) -> PackedWeights:
        """The weight with its codes packed, as kernels take it; decodes to the same bits."""
        codes, G = self.grouping.from_rows(self.codes, self.shape), len(self.codes)
        block = self.codes.shape[1] if self.grouping.block else 0
        width, axes = self.code_bits, self.grouping.axes
        if self.rules.affine_map is not None:
            scale, zero_point = (m[:, 0] for m in self.rules.affine_map(self.params, self.bits))
            if abs(zero_point.astype(np.int64)).max() < LARGEST_ZERO_POINT:
                return pack_weights(codes, width, axes, block, scale=scale, zero_point=zero_point)
        every = np.arange(2**width, dtype=self.codes.dtype)
        levels = self.rules.decode(np.broadcast_to(every, (G, every.size)), self.params, self.bits)
        return pack_weights(codes, width, axes, block, levels=levels)

    def error_bound(self) -> NDArray[np.float64]:
        """(G, 1): no weight between a group's lowest and highest level is decoded farther off."""
        return self.rules.error_bound(None, self.params, self.bits)


def quantize(
    w: NDArray[Any],
    *,
    scheme: str | Scheme = "affine",
    granularity: str | Granularity = "filter",
    bits: int = 4,
    params_dtype: DTypeLike = np.float32,
    name: str = "weight",
) -> QuantizedTensor:
    """Quantize w (F, C, R, S); NaN, inf and magnitudes above 2**126 are refused under `name`."""
    bits = check_bits(bits)
    scheme, granularity = find_scheme(scheme), find_granularity(granularity)
    if np.dtype(params_dtype).name not in FLOATS:
        raise BadInput(f"params_dtype={params_dtype!r}", f"choose {' | '.join(FLOATS)}")
    rows = granularity.to_rows(checked_weight(w, name))
    params, codes = scheme.encode(rows, bits, params_dtype)  # (1)
    return QuantizedTensor(codes, params, scheme.name, granularity.name, bits, w.shape)


def checked_weight(w: NDArray[Any], name: str) -> NDArray[np.float32]:
    """w as float32, if it is a weight that can be quantized."""
    if w.ndim != 4 or w.size == 0:
        raise BadInput(name, f"shape {w.shape} is not (F, C, R, S) with at least one weight")
    if not np.issubdtype(w.dtype, np.floating):
        raise BadInput(name, f"dtype {w.dtype} is not a floating one")
    largest = np.abs(w).max()  # NaN if there is one
    if not largest <= LARGEST:
        raise BadInput(
            name, f"has a weight of magnitude {largest}", "weights may be 2**126 at most"
        )
    return w.astype(np.float32, copy=False)


def check(tensor: QuantizedTensor) -> None:
    """Refuse a tensor whose parts do not fit each other."""
    bits = check_bits(tensor.bits)
    shape = tensor.shape
    whole = all(isinstance(size, int | np.integer) and size > 0 for size in shape)
    if len(shape) != 4 or not whole:
        raise BadInput("shape", f"{shape} is not (F, C, R, S) of positive whole numbers")
    scheme = tensor.rules
    G, N = tensor.grouping.rows_shape(tuple(int(size) for size in shape))
    check_codes(tensor.codes, (G, N), scheme, bits)
    expected = {field.name for field in scheme.fields}
    if set(tensor.params) != expected:
        raise BadInput("params", f"{sorted(tensor.params)} should be {sorted(expected)}")
    for field in scheme.fields:
        array = tensor.params[field.name]
        if array.shape != (G, field.columns(bits)) or array.dtype.name not in field.dtypes:
            raise BadInput(
                field.name,
                f"{array.dtype} {array.shape} should be {' or '.join(field.dtypes)} "
                f"{(G, field.columns(bits))}",
            )
        if not np.isfinite(array).all() or (field.positive and not (array > 0).all()):
            raise BadInput(field.name, f"has numbers that are not {rule_of(field.positive)}")


def check_codes(
    codes: NDArray[Any], rows_shape: tuple[int, int], scheme: Scheme, bits: int
) -> None:
    """Refuse codes of a wrong shape, dtype or width."""
    dtype = np.dtype(scheme.code_dtype(bits))
    if codes.shape != rows_shape or codes.dtype != dtype:
        raise BadInput("codes", f"{codes.dtype} {codes.shape} should be {dtype} {rows_shape}")
    width = scheme.code_bits(bits)
    if width < 8 * dtype.itemsize and codes.max() >> width:
        raise BadInput("codes", f"{codes.max()} does not fit {width} bits")


def rule_of(positive: bool) -> str:
    """The rule of a field in words."""
    return "finite and positive" if positive else "finite"
