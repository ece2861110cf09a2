"""The operations of the body of an ONNX graph, each as a node of ours.

    Conv, BatchNormalization, LeakyRelu (0.1), MaxPool, Concat, Resize (nearest), Add
    Sigmoid, Mul                                SiLU, where both read the same map
    Add, Mul of a constant per channel          implicit layers
    four Slices, Concat                         ReOrg
    Constant, Identity                          the array, the same value

Every function takes (converter, index, operation, inputs, attributes) and gives the value of the
operation's output. It raises Unknown where this is no operation of the body, so that the tail
begins, and BadInput where it is one that refquant does not compute. A convolution has the name of
its weight where that ends with ".weight", as in the files of PyTorch's exporter.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.formats.maps import MapOf
from refquant.formats.onnx.graph import Body, Converter, Part, Unknown, Value

ORDER = ((0, 0), (1, 0), (0, 1), (1, 1))  # rows, columns: the quarters of ReOrg
SLOPE = 0.1
NAME = re.compile(r"[A-Za-z0-9_.]{1,150}", re.ASCII)
NEAREST = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))  # the same for x 2


def maps(values: list[Any]) -> list[MapOf]:
    """The inputs, if all of them are maps."""
    if not values or not all(isinstance(value, MapOf) for value in values):
        raise Unknown
    return values


def equal(values: Any) -> int:
    """The integer that a list repeats."""
    if not values or len(set(values)) != 1:
        raise BadInput(f"attribute {values!r:.60}", "only the same for rows and columns")
    return int(values[0])


def require(attributes: Mapping[str, Any], **due: Any) -> None:
    """Refuse attributes with other values; absent ones are fine."""
    for key, value in due.items():
        if attributes.get(key, value) != value:
            raise BadInput(f"{key}={attributes[key]!r:.40}", f"only {value!r} is supported")


def weight_name(operation: Any, number: int, other: str) -> str:
    """The name of a weight without ".weight"."""
    name = operation.input[number]
    if name.endswith(".weight") and NAME.fullmatch(name):
        return str(name.removesuffix(".weight"))
    return other


def conv(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    (x,) = maps(inputs[:1])
    weight, *bias = inputs[1:]
    require(attributes, group=1, auto_pad="NOTSET", dilations=[1, 1])
    if not isinstance(weight, np.ndarray) or weight.ndim != 4 or weight.dtype.kind != "f":
        raise BadInput(
            operation.input[1][:60], "a convolution's weight is no constant (F, C, R, S)"
        )
    arrays = {"weight": weight}
    if bias and bias[0] is not None:
        if not isinstance(bias[0], np.ndarray) or bias[0].shape != weight.shape[:1]:
            raise BadInput(operation.input[2][:60], "a bias is no constant (F,)")
        arrays["bias"] = bias[0]
    stride, padding = equal(attributes.get("strides", [1])), equal(attributes.get("pads", [0]))
    if not 1 <= stride <= 64 or not 0 <= padding <= 64:
        raise BadInput(f"stride {stride}, padding {padding}", "choose up to 64")
    name = weight_name(operation, 1, f"conv.{index}")
    own = {"stride": stride, "padding": padding, "activation": "linear", "arrays": arrays}
    return made.node(name, "conv", [x], MapOf("", weight.shape[0], x.stride * stride), **own)


def norm(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    (x,) = maps(inputs[:1])
    require(attributes, training_mode=0)
    keys = ("weight", "bias", "mean", "variance")
    arrays = dict(zip(keys, inputs[1:], strict=True))
    if any(not isinstance(a, np.ndarray) or a.shape != (x.channels,) for a in arrays.values()):
        raise BadInput(f"norm.{index}", f"its arrays are no constants ({x.channels},)")
    if np.any(arrays["variance"] < 0):
        raise BadInput(f"norm.{index}", "a variance is negative")
    eps = round(float(attributes.get("epsilon", 1e-5)), 9)  # a float32 in the file
    name = weight_name(operation, 1, f"norm.{index}")
    return made.node(name, "batch_norm", [x], x, eps=eps, arrays=arrays)


def sigmoid(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    (x,) = maps(inputs)
    return made.node(f"sigmoid.{index}", "sigmoid", [x], x)


def leaky(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    (x,) = maps(inputs)
    if abs(attributes.get("alpha", 0.01) - SLOPE) > 1e-7:
        raise BadInput(f"alpha={attributes.get('alpha', 0.01)}", f"only {SLOPE} is supported")
    return made.node(f"leaky.{index}", "leaky", [x], x)


def multiply(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    """SiLU, or an implicit layer."""
    for x, s in (inputs, inputs[::-1]):
        node = made.by_name.get(s.node) if isinstance(s, MapOf) else None
        if node and node.op == "sigmoid" and isinstance(x, MapOf) and node.inputs == (x.node,):
            return made.node(f"silu.{index}", "silu", [x], x)
    return per_channel(made, f"multiply.{index}", "multiply_channel", inputs)


def add(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    """The sum of two maps, or an implicit layer."""
    if all(isinstance(value, MapOf) for value in inputs):
        if inputs[0][1:] != inputs[1][1:]:
            raise BadInput(f"add.{index}", "it adds maps of different shapes")
        return made.node(f"add.{index}", "add", inputs, inputs[0])
    return per_channel(made, f"add.{index}", "add_channel", inputs)


def per_channel(made: Converter, name: str, op: str, inputs: list) -> Value:
    """An operation with a constant (C, 1, 1)."""
    for x, values in (inputs, inputs[::-1]):
        if not isinstance(x, MapOf) or not isinstance(values, np.ndarray):
            continue
        if values.shape[-3:] == (x.channels, 1, 1) and values.size == x.channels:
            return made.node(name, op, [x], x, arrays={"implicit": values.ravel()})
    raise Unknown


def max_pool(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    (x,) = maps(inputs)
    require(attributes, auto_pad="NOTSET", ceil_mode=0, dilations=[1, 1], storage_order=0)
    kernel = equal(attributes["kernel_shape"])
    stride, padding = equal(attributes.get("strides", [1])), equal(attributes.get("pads", [0]))
    if not (1 <= stride <= 64 and 1 <= kernel <= 64 and 0 <= padding <= kernel // 2):
        raise BadInput(f"kernel {kernel}, stride {stride}, padding {padding}", "not supported")
    own = {"kernel": kernel, "stride": stride, "padding": padding}
    return made.node(
        f"max_pool.{index}", "max_pool", [x], x._replace(stride=x.stride * stride), **own
    )


def resize(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    (x,) = maps(inputs[:1])
    scales = inputs[2] if operation.op_type == "Resize" and len(inputs) > 2 else inputs[-1]
    if not isinstance(scales, np.ndarray) or scales.shape != (4,) or scales[0] != scales[1] != 1:
        raise BadInput(f"resize.{index}", "its scales are no constants (1, 1, s, s)")
    require(attributes, mode="nearest")
    scale = int(scales[2]) if 1 <= scales[2] <= 64 else 0
    how = attributes.get("coordinate_transformation_mode", "half_pixel")
    pair = (how, attributes.get("nearest_mode", "round_prefer_floor"))
    known = (
        operation.op_type == "Upsample" or pair == NEAREST[0] or (pair in NEAREST and scale == 2)
    )
    if scales[2] != scale or scales[3] != scale or not known or x.stride % scale:
        raise BadInput(f"resize.{index}", f"scales {scales[2:]} by {pair} are not supported")
    return made.node(
        f"upsample.{index}", "upsample", [x], x._replace(stride=x.stride // scale), scale=scale
    )


def cut(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    """Every other row or column of a map: a step towards ReOrg."""
    x, start, end, axes, step = inputs
    part = x if isinstance(x, Part) else Part(x, None, None)
    if not isinstance(part.source, MapOf):
        raise Unknown
    for first, last, axis, jump in zip(start, end, axes, step, strict=True):
        if jump != 2 or first not in (0, 1) or last < 2**20 or axis not in (2, 3, -2, -1):
            raise Unknown
        rows = axis in (2, -2)
        if (part.row if rows else part.column) is not None:
            raise Unknown
        part = part._replace(row=int(first)) if rows else part._replace(column=int(first))
    return part


def concat(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    """Channels joined; the four quarters of a map are ReOrg."""
    if attributes.get("axis") not in (1, -3):
        raise Unknown
    if inputs and all(isinstance(value, Part) for value in inputs):
        if [(p.row, p.column) for p in inputs] != list(ORDER) or len(
            {p.source for p in inputs}
        ) > 1:
            raise BadInput(f"concat.{index}", "it joins parts in another order than ReOrg")
        x = inputs[0].source
        made_map = MapOf("", 4 * x.channels, 2 * x.stride)
        return made.node(f"space_to_depth.{index}", "space_to_depth", [x], made_map)
    xs = maps(inputs)
    if len({x.stride for x in xs}) != 1 or len(xs) > 64:
        raise BadInput(f"concat.{index}", "it joins maps of different sizes, or more than 64")
    joined = MapOf("", sum(x.channels for x in xs), xs[0].stride)
    return made.node(f"concat.{index}", "concat", xs, joined)


def constant(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    """A constant as an operation."""
    plain = {"value_float": np.float32, "value_int": np.int64, "value_ints": np.int64}
    for key, dtype in plain.items():
        if key in attributes:
            return np.array(attributes[key], dtype)
    if not isinstance(attributes.get("value"), np.ndarray):
        raise BadInput(f"constant.{index}", "its value is not supported")
    return attributes["value"]


def identity(made: Converter, index: int, operation: Any, inputs: list, attributes: dict) -> Value:
    return inputs[0]


BODY: Body = {
    "Conv": conv,
    "BatchNormalization": norm,
    "Sigmoid": sigmoid,
    "LeakyRelu": leaky,
    "Mul": multiply,
    "Add": add,
    "MaxPool": max_pool,
    "Resize": resize,
    "Upsample": resize,
    "Slice": cut,
    "Concat": concat,
    "Constant": constant,
    "Identity": identity,
}
