"""A convolution's weight in ONNX: a float32 initializer, or codes and DequantizeLinear.

    w = (code - zero_point) * scale        float32, one rounding: our own decoding          (1)

Where parameters differ along one axis or none, the codes are (F, C, R, S) uint8 and
DequantizeLinear has that axis. Other axis sets, and blocks, are rows (G, N) with axis 0, which
Reshape and Transpose (for blocks that were filled up, a Slice) bring into shape: legal everywhere,
though a compiler may not see a quantized convolution in it.

Refused, by name and with the reason: schemes whose values are not (1) to the last bit (piecewise
linear, Lloyd-Max, powers of two, bias correction), zero points that uint8 does not hold.
"""

import math

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.formats.onnx.parts import Parts
from refquant.graph.graph import Node, array_of
from refquant.quant.tensor import QuantizedTensor

AXES = "FCRS"


def weight_of(parts: Parts, node: Node) -> str:
    """The name of the weight of a convolution, added to the graph."""
    weight, name = node.arrays["weight"], f"{node.name}.weight"
    if isinstance(weight, QuantizedTensor):
        return quantized(parts, weight, name)
    return parts.constant(name, array_of(weight).astype(np.float32))


def quantized(parts: Parts, tensor: QuantizedTensor, name: str) -> str:
    """Codes, scales and zero points, and what makes a weight of them; equation (1)."""
    affine = tensor.rules.affine_map
    if affine is None:
        reason = f"scheme {tensor.scheme} is not scale * (code - zero_point)"
        raise BadInput(name, f"{reason}, which is all that ONNX has", "export the npz instead")
    scale, zero_point = (part[:, 0] for part in affine(tensor.params, tensor.bits))
    if tensor.code_bits > 8 or zero_point.min() < 0 or zero_point.max() > 255:
        low, high = zero_point.min(), zero_point.max()
        raise BadInput(name, f"zero points {low:.0f} ... {high:.0f} do not fit uint8")
    grouping = tensor.grouping
    direct = not grouping.block and len(grouping.axes) <= 1
    codes = grouping.from_rows(tensor.codes, tensor.shape) if direct else tensor.codes
    if direct and not grouping.axes:
        scale, zero_point = scale.reshape(()), zero_point.reshape(())
    inputs = [
        parts.constant(f"{name}.codes", codes.astype(np.uint8)),
        parts.constant(f"{name}.scale", np.asarray(scale, np.float32)),
        parts.constant(f"{name}.zero_point", np.asarray(zero_point).astype(np.uint8)),
    ]
    axis = AXES.index(grouping.axes) if direct and grouping.axes else 0
    decoded = name if direct else f"{name}.rows"
    parts.add_node("DequantizeLinear", inputs, decoded, axis=axis)
    return name if direct else from_rows(parts, tensor, decoded, name)


def from_rows(parts: Parts, tensor: QuantizedTensor, rows: str, name: str) -> str:
    """`Granularity.from_rows` in ONNX."""
    shape, grouping = tensor.shape, tensor.grouping
    if not grouping.block:
        order = grouping.order()
        ordered = np.array([shape[i] for i in order], np.int64)
        reshaped = parts.add_node(
            "Reshape", [rows, parts.constant(f"{name}.ordered", ordered)], f"{name}.reshaped"
        )
        perm = [int(i) for i in np.argsort(order)]
        return parts.add_node("Transpose", [reshaped], name, perm=perm)
    flat = parts.constant(f"{name}.flat", np.array([shape[0], -1], np.int64))
    rows = parts.add_node("Reshape", [rows, flat], f"{name}.filters")
    numbers = {"starts": 0, "ends": math.prod(shape[1:]), "axes": 1}
    cut = [parts.constant(f"{name}.{k}", np.array([v], np.int64)) for k, v in numbers.items()]
    rows = parts.add_node("Slice", [rows, *cut], f"{name}.own")
    whole = parts.constant(f"{name}.shape", np.array(shape, np.int64))
    return parts.add_node("Reshape", [rows, whole], name)
