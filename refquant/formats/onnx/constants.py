"""Tensors of an ONNX file as arrays: what they claim is checked against the bytes that exist.

A TensorProto says a type and dimensions, and has its numbers in raw_data (little-endian) or in a
field per type. Their number must be the product of the dimensions. Numbers in other files
(external data) are refused.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput

# TensorProto.DataType -> (NumPy's dtype, the field where there is no raw_data)
TYPES = {
    1: ("<f4", "float_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("|b1", "int32_data"),
    10: ("<f2", "int32_data"),  # as the bits of uint16
    11: ("<f8", "double_data"),
}
MOST_AXES = 8

Constants = dict[str, NDArray[Any]]


def constants_of(tensors: Iterable[Any]) -> Constants:
    """Every tensor by its name; two of the same name are refused."""
    found: Constants = {}
    for tensor in tensors:
        if tensor.name in found:
            raise BadInput(tensor.name[:100], "two tensors have this name")
        found[tensor.name] = array(tensor)
    return found


def array(tensor: Any) -> NDArray[Any]:
    """The numbers of a TensorProto."""
    name = f"tensor {tensor.name[:100]!r}"
    if tensor.data_location or tensor.external_data:
        remedy = "save the model in one file: onnx.save(model, path)"
        raise BadInput(name, "its numbers are in another file", remedy)
    if tensor.data_type not in TYPES or len(tensor.dims) > MOST_AXES:
        problem = f"type {tensor.data_type} with {len(tensor.dims)} axes is not supported"
        raise BadInput(name, problem)
    kind, field = TYPES[tensor.data_type]
    dtype, shape = np.dtype(kind), tuple(tensor.dims)
    due = prod(shape)
    if min(shape, default=0) < 0:
        raise BadInput(name, f"dimensions {shape}: one is negative")
    raw = len(tensor.raw_data)
    held = raw // dtype.itemsize if raw else len(getattr(tensor, field))
    if held != due or raw % dtype.itemsize:
        raise BadInput(name, f"dimensions {shape} are not those of {held} numbers")
    if raw:
        values = np.frombuffer(tensor.raw_data, dtype)
    elif kind == "<f2":
        values = np.array(getattr(tensor, field), np.int64).astype(np.uint16).view(np.float16)
    else:
        values = np.array(getattr(tensor, field), dtype)
    return values.reshape(shape).astype(dtype.newbyteorder("="), copy=False)
