"""A node as a group: its JSON and datasets, and back.

    JSON      index, op, inputs, attributes; for a quantized weight also "quantized"
    datasets  the node's arrays under their names; a quantized weight is `codes`, the stream of
              bits.py, with its parameters beside it under the names that the scheme gives them

The graph's order is kept as `index` in the JSON, since HDF5 lists groups by name. What "quantized"
says beyond scheme, granularity, bits and shape follows from these four: it is written for readers
that know no scheme, and must agree on reading.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.axes import WEIGHT_AXES
from refquant.arrays.bits import pack, packed_bytes, unpack
from refquant.arrays.errors import BadInput
from refquant.formats.hdf5.content_hash import Group
from refquant.formats.model_check import ARRAYS
from refquant.formats.strict_json import all_typed, decode, encode, record
from refquant.graph.graph import Node
from refquant.quant.granularity import find_granularity
from refquant.quant.scheme import check_bits
from refquant.quant.schemes import find_scheme
from refquant.quant.tensor import QuantizedTensor

LONGEST_SCHEME = 60  # characters, options included
NODE = {"attributes": dict, "index": int, "inputs": list, "op": str}
QUANTIZED = {
    "axes": str,
    "bits": int,
    "code_bits": int,
    "granularity": str,
    "rounding": str,
    "rows": list,
    "scheme": str,
    "shape": list,
}


def group_of(node: Node, index: int) -> Group:
    """The group of a checked node, which is number `index` of its graph."""
    content: dict[str, Any] = {
        "attributes": dict(node.attributes),
        "index": index,
        "inputs": node.inputs,
        "op": node.op,
    }
    arrays: dict[str, NDArray[Any]] = {}
    for name, value in node.arrays.items():
        if isinstance(value, QuantizedTensor):
            content["quantized"] = description(value)
            arrays |= {"codes": pack(value.codes, value.code_bits), **value.params}
        else:
            arrays[name] = np.asarray(value)
    # Sorted, so that a model makes the same file before and after it was loaded from one.
    return Group(encode(content), {name: stored(arrays[name]) for name in sorted(arrays)})


def stored(array: NDArray[Any]) -> NDArray[Any]:
    """The array little-endian, in row-major order."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def description(tensor: QuantizedTensor) -> dict[str, Any]:
    """What a reader has to know to decode the codes. axes: those kept, as letters of FCRS."""
    return {
        "axes": tensor.grouping.axes,
        "bits": tensor.bits,
        "code_bits": tensor.code_bits,
        "granularity": tensor.granularity,
        "rounding": "half to even",
        "rows": list(tensor.codes.shape),
        "scheme": tensor.scheme,
        "shape": list(tensor.shape),
    }


def node_of(name: str, group: Group, where: str) -> tuple[int, Node]:
    """The index and the node of a group; the node's arrays are not yet checked against its op."""
    content = decode(group.json, where)
    quantized = "quantized" in content
    record(content, {**NODE, **({"quantized": dict} if quantized else {})}, where)
    attributes = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in content["attributes"].items()
    }
    arrays: dict[str, Any] = dict(group.arrays)
    if quantized:
        arrays = with_tensor(content["quantized"], group.arrays, content["op"], where)
    inputs = all_typed(content["inputs"], str, f"{where}, inputs")
    return content["index"], Node(name, content["op"], inputs, attributes, arrays)


def with_tensor(
    content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], op: str, where: str
) -> dict[str, Any]:
    """The arrays with `codes` and its parameters joined into the weight."""
    record(content, QUANTIZED, where)
    if "codes" not in arrays or "weight" in arrays:
        raise BadInput(where, "a quantized weight has codes, and no weight beside them")
    own = ARRAYS.get(op, {})
    plain = {key: array for key, array in arrays.items() if key in own}
    params = {key: array for key, array in arrays.items() if key not in own and key != "codes"}
    try:
        tensor = tensor_of(content, arrays["codes"], params)
    except BadInput as problem:
        raise BadInput(where, str(problem)) from problem
    for key, value in description(tensor).items():
        if content[key] != value:
            raise BadInput(where, f"{key} is {content[key]!r:.60} and must be {value!r}")
    return {"weight": tensor, **plain}


def tensor_of(
    content: Mapping[str, Any], stream: NDArray[Any], params: Mapping[str, NDArray[Any]]
) -> QuantizedTensor:
    """The tensor; QuantizedTensor checks params and codes against scheme and granularity."""
    shape = all_typed(content["shape"], int, "shape")
    # Every weight has a code of at least one bit, so the bytes that exist bound the shape.
    most = 8 * stream.size
    if len(shape) != len(WEIGHT_AXES) or min(shape) < 1 or math.prod(shape) > most:
        raise BadInput("shape", f"{list(shape)} is not F, C, R, S of at most {most} weights")
    if stream.dtype != np.uint8 or stream.ndim != 1:
        raise BadInput("codes", f"{stream.dtype} {stream.shape} should be one row of bytes")
    if len(content["scheme"]) > LONGEST_SCHEME:
        raise BadInput("scheme", f"{content['scheme']!r:.60}... is too long a name")
    width = find_scheme(content["scheme"]).code_bits(check_bits(content["bits"]))
    G, N = find_granularity(content["granularity"]).rows_shape(shape)
    if stream.size != packed_bytes(G * N, width):
        raise BadInput("codes", f"{stream.size} bytes are not {G} x {N} codes of {width} bits")
    codes = unpack(stream, G * N, width).reshape(G, N)
    return QuantizedTensor(
        codes, params, content["scheme"], content["granularity"], content["bits"], shape
    )
