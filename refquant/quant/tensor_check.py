"""What a weight must be to be quantized, and what the parts of a quantized one must be.

The parts of a `QuantizedTensor` come from `quantize`, but from files too, and files are made by
strangers: every field is checked against the scheme and the granularity that it names.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from refquant.arrays.errors import BadInput
from refquant.quant.granularity import find_granularity
from refquant.quant.scheme import FLOATS, LARGEST, Scheme, check_bits
from refquant.quant.schemes import find_scheme


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


def check_params_dtype(params_dtype: DTypeLike) -> None:
    """Refuse a type that parameters cannot be stored in."""
    try:
        known = np.dtype(params_dtype).name in FLOATS
    except TypeError:
        known = False
    if not known:
        raise BadInput(f"params_dtype={params_dtype!r}", f"choose {' | '.join(FLOATS)}")


def check_parts(
    codes: NDArray[Any],
    params: Mapping[str, NDArray[Any]],
    scheme_name: str,
    granularity: str,
    bits: int,
    shape: tuple[int, ...],
) -> None:
    """Refuse parts that do not fit each other."""
    bits = check_bits(bits)
    whole = all(isinstance(size, int | np.integer) and size > 0 for size in shape)
    if len(shape) != 4 or not whole:
        raise BadInput("shape", f"{shape} is not (F, C, R, S) of positive whole numbers")
    scheme = find_scheme(scheme_name)
    G, N = find_granularity(granularity).rows_shape(tuple(int(size) for size in shape))
    check_codes(codes, (G, N), scheme, bits)
    check_params(params, G, scheme, bits)


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


def check_params(params: Mapping[str, NDArray[Any]], G: int, scheme: Scheme, bits: int) -> None:
    """Refuse parameters that are not exactly the fields of the scheme, for G groups."""
    expected = {field.name for field in scheme.fields}
    if set(params) != expected:
        raise BadInput("params", f"{sorted(params)} should be {sorted(expected)}")
    for field in scheme.fields:
        array, wanted = params[field.name], (G, field.columns(bits))
        if array.shape != wanted or array.dtype.name not in field.dtypes:
            raise BadInput(
                field.name,
                f"{array.dtype} {array.shape} should be {' or '.join(field.dtypes)} {wanted}",
            )
        if not np.isfinite(array).all() or (field.positive and not (array > 0).all()):
            rule = "finite and positive" if field.positive else "finite"
            raise BadInput(field.name, f"has numbers that are not {rule}")
