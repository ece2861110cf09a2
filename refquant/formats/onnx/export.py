"""A model as ONNX, opset 17: the reference in the tool chains of others (extra `onnx`).

    images (N, 3, H, W)  ->  one output, the decoded predictions (N, rows, E)

N, H and W are fixed, since the decode has a grid per cell. Every node's output keeps the node's
name as the name of its tensor, so that `refquant verify` finds each of them. Node by node:

    conv                Conv, then Sigmoid and Mul (SiLU), LeakyRelu(0.1) or Sigmoid
    max_pool, concat, upsample, add     MaxPool, Concat, Resize (nearest, asymmetric, floor), Add
    space_to_depth      four Slices and a Concat
    batch_norm          BatchNormalization;  implicit layers: Add, Mul
    decode              per level Sigmoid, Reshape (N, A, E, H, W), Transpose (N, A, H, W, E),
                        2p * s + s * (cell - 1/2), (2p)**2 * anchor, Concat; Concat of all levels

A quantized weight is an initializer of uint8 codes, its scales and zero points, and becomes a
weight in the graph by DequantizeLinear,  w = (code - zero_point) * scale  in float32: the bits of
our own decoding (weights.py, which also says what ONNX cannot express).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.formats.onnx.parts import Parts
from refquant.formats.onnx.weights import weight_of
from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.graph.shapes import Shape, predictions_of, shapes_of

OPSET, IR_VERSION = 17, 8


def export_onnx(
    model: Model, path: str | os.PathLike[str], *, shape: tuple[int, int, int, int]
) -> None:
    """Write the model for images of `shape` (N, 3, H, W), checked by onnx.checker."""
    exported = onnx_model(model, shape, Path(path))
    with atomic_path(path) as temporary:
        temporary.write_bytes(exported.SerializeToString())


def onnx_model(model: Model, shape: tuple[int, int, int, int], where: object = "onnx") -> Any:
    """The onnx.ModelProto."""
    onnx = import_onnx(where)
    N, C, H, W = shape
    if C != 3 or N < 1 or H % model.stride or W % model.stride or min(H, W) < 1:
        raise BadInput(f"shape={shape}", f"is not (N, 3, H, W), multiples of {model.stride}")
    graph = Graph(onnx, N, shapes_of(model.nodes, (3, H, W)))
    for node in model.nodes:
        getattr(graph, node.op)(node)
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    rows, E = predictions_of(model.head, [graph.shapes[name] for name in model.head.inputs])
    exported = make.make_model(
        make.make_graph(
            graph.nodes,
            "refquant",
            [make.make_tensor_value_info(INPUT, kind, shape)],
            [make.make_tensor_value_info(model.head.name, kind, (N, rows, E))],
            graph.constants,
        ),
        opset_imports=[make.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="refquant",
    )
    onnx.checker.check_model(exported, full_check=True)
    return exported


def import_onnx(where: object) -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise BadInput(where, "needs the package onnx", "pip install 'refquant[onnx]'") from error
    return onnx


class Graph(Parts):
    """The graph so far: a method per operation adds its ONNX nodes and constants."""

    def __init__(self, onnx: Any, N: int, shapes: dict[str, Shape]) -> None:
        super().__init__(onnx)
        self.N, self.shapes = N, shapes

    def conv(self, node: Node) -> None:
        inputs = [*node.inputs, weight_of(self, node)]
        if "bias" in node.arrays:
            bias = array_of(node.arrays["bias"]).astype(np.float32)
            inputs.append(self.constant(f"{node.name}.bias", bias))
        activation = node.attributes["activation"]
        y = node.name if activation == "linear" else f"{node.name}.linear"
        stride, padding = node.attributes["stride"], node.attributes["padding"]
        self.add_node("Conv", inputs, y, strides=[stride] * 2, pads=[padding] * 4)
        self.activation(activation, y, node.name)

    def activation(self, name: str, x: str, y: str) -> None:
        if name == "silu":
            sigmoid = self.add_node("Sigmoid", [x], f"{y}.sigmoid")
            self.add_node("Mul", [x, sigmoid], y)
        elif name == "leaky":
            self.add_node("LeakyRelu", [x], y, alpha=0.1)
        elif name == "sigmoid":
            self.add_node("Sigmoid", [x], y)

    def silu(self, node: Node) -> None:
        self.activation("silu", node.inputs[0], node.name)

    def leaky(self, node: Node) -> None:
        self.activation("leaky", node.inputs[0], node.name)

    def sigmoid(self, node: Node) -> None:
        self.activation("sigmoid", node.inputs[0], node.name)

    def batch_norm(self, node: Node) -> None:
        names = [
            self.constant(f"{node.name}.{key}", array_of(node.arrays[key]).astype(np.float32))
            for key in ("weight", "bias", "mean", "variance")
        ]
        inputs = [*node.inputs, *names]
        self.add_node("BatchNormalization", inputs, node.name, epsilon=node.attributes["eps"])

    def max_pool(self, node: Node) -> None:
        kernel, stride, padding = (node.attributes[key] for key in ("kernel", "stride", "padding"))
        self.add_node(
            "MaxPool",
            node.inputs,
            node.name,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
        )

    def upsample(self, node: Node) -> None:
        scale = node.attributes["scale"]
        scales = self.constant(f"{node.name}.scale", np.array([1, 1, scale, scale], np.float32))
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        inputs = [node.inputs[0], "", scales]
        self.add_node("Resize", inputs, node.name, mode="nearest", **how)

    def concat(self, node: Node) -> None:
        self.add_node("Concat", node.inputs, node.name, axis=1)

    def add(self, node: Node) -> None:
        total = node.inputs[0]
        for i, other in enumerate(node.inputs[1:], 2):
            name = node.name if i == len(node.inputs) else f"{node.name}.{i}"
            total = self.add_node("Add", [total, other], name)

    def add_channel(self, node: Node) -> None:
        self.channelwise(node, "Add")

    def multiply_channel(self, node: Node) -> None:
        self.channelwise(node, "Mul")

    def channelwise(self, node: Node, kind: str) -> None:
        values = array_of(node.arrays["implicit"]).astype(np.float32).reshape(1, -1, 1, 1)
        name = self.constant(f"{node.name}.implicit", values)
        self.add_node(kind, [*node.inputs, name], node.name)

    def space_to_depth(self, node: Node) -> None:
        parts = []
        ends = self.constant(f"{node.name}.ends", np.array([2**62] * 2, np.int64))
        axes = self.constant(f"{node.name}.axes", np.array([2, 3], np.int64))
        steps = self.constant(f"{node.name}.steps", np.array([2, 2], np.int64))
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            name = f"{node.name}.{row}{column}"
            starts = self.constant(f"{name}.start", np.array([row, column], np.int64))
            parts.append(self.add_node("Slice", [*node.inputs, starts, ends, axes, steps], name))
        self.add_node("Concat", parts, node.name, axis=1)

    def decode(self, node: Node) -> None:
        anchors = array_of(node.arrays["anchors"]).astype(np.float32)
        levels = [
            self.level(f"{node.name}.{k}", name, anchors[k], node.attributes["strides"][k])
            for k, name in enumerate(node.inputs)
        ]
        self.add_node("Concat", levels, node.name, axis=1)

    def level(self, name: str, x: str, anchors: NDArray[np.float32], stride: int) -> str:
        """One level of the decode, (N, A*H*W, E)."""
        channels, H, W = self.shapes[x]
        A = len(anchors)
        E = channels // A
        shape = self.constant(f"{name}.shape", np.array([self.N, A, E, H, W], np.int64))
        p = self.add_node("Sigmoid", [x], f"{name}.sigmoid")
        p = self.add_node("Reshape", [p, shape], f"{name}.reshaped")
        p = self.add_node("Transpose", [p], f"{name}.p", perm=[0, 1, 3, 4, 2])
        sizes = self.constant(f"{name}.sizes", np.array([2, 2, E - 4], np.int64))
        xy, wh, rest = f"{name}.p01", f"{name}.p23", f"{name}.p4"
        made = self.onnx.helper.make_node("Split", [p, sizes], [xy, wh, rest], axis=-1)
        self.nodes.append(made)
        columns, rows = np.meshgrid(np.arange(W), np.arange(H))
        cells = (np.stack((columns, rows), -1) - 0.5) * stride
        doubled = self.constant(f"{name}.doubled", np.array(2 * stride, np.float32))
        cell = self.constant(f"{name}.cell", cells.astype(np.float32)[None, None])
        xy = self.add_node("Mul", [xy, doubled], f"{name}.scaled")
        xy = self.add_node("Add", [xy, cell], f"{name}.xy")
        wh = self.add_node("Mul", [wh, wh], f"{name}.squared")
        sides = self.constant(f"{name}.anchors", 4 * anchors.reshape(1, A, 1, 1, 2))
        wh = self.add_node("Mul", [wh, sides], f"{name}.wh")
        joined = self.add_node("Concat", [xy, wh, rest], f"{name}.joined", axis=-1)
        flat = self.constant(f"{name}.flat", np.array([self.N, A * H * W, E], np.int64))
        return self.add_node("Reshape", [joined, flat], f"{name}.rows")
