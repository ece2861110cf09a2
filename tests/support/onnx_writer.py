"""ONNX files of the networks that tests make, in the ways in which exporters write them.

body        batch norms and implicit layers apart, or folded; ReOrg as eight Slices or as four
end         "planes": raw (N, A*E, H, W); "cells": (N, A, H, W, E); "slices": the decode with
            slices and a power; "split": with Split, Mul and shapes as constants
"""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from refquant.graph.graph import INPUT, Model, Node
from refquant.graph.shapes import shapes_of

FAR = 2**63 - 1


class Writer:
    """The operations and constants so far."""

    def __init__(self, model: Model, side: tuple[int, int], slices: int = 8) -> None:
        self.model, self.side, self.slices = model, side, slices
        self.operations: list[Any] = []
        self.constants: list[Any] = []
        self.shapes = shapes_of(model.nodes, (3, *side))

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.operations.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def arrays(self, node: Node, *keys: str) -> list[str]:
        return [
            self.constant(f"{node.name}.{key}", node.arrays[key])
            for key in keys
            if key in node.arrays
        ]

    def conv(self, node: Node) -> None:
        kind = node.attributes["activation"]
        y = node.name if kind == "linear" else f"{node.name}/linear"
        stride, padding = [node.attributes["stride"]] * 2, [node.attributes["padding"]] * 4
        names = self.arrays(node, "weight", "bias")
        self.add("Conv", [*node.inputs, *names], y, strides=stride, pads=padding, group=1)
        if kind != "linear":
            getattr(self, kind)(Node(node.name, kind, (y,)))

    def silu(self, node: Node) -> None:
        s = self.add("Sigmoid", [*node.inputs], f"{node.name}/sigmoid")
        self.add("Mul", [node.inputs[0], s], node.name)

    def leaky(self, node: Node) -> None:
        self.add("LeakyRelu", [*node.inputs], node.name, alpha=0.1)

    def batch_norm(self, node: Node) -> None:
        names = self.arrays(node, "weight", "bias", "mean", "variance")
        eps = node.attributes["eps"]
        self.add("BatchNormalization", [*node.inputs, *names], node.name, epsilon=eps)

    def add_channel(self, node: Node, kind: str = "Add") -> None:
        values = node.arrays["implicit"].reshape(1, -1, 1, 1)
        name = self.constant(f"{node.name}.implicit", values)
        self.add(kind, [name, *node.inputs], node.name)

    def multiply_channel(self, node: Node) -> None:
        self.add_channel(node, "Mul")

    def max_pool(self, node: Node) -> None:
        kernel, stride, padding = (node.attributes[k] for k in ("kernel", "stride", "padding"))
        sizes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
        self.add("MaxPool", [*node.inputs], node.name, ceil_mode=0, **sizes)

    def upsample(self, node: Node) -> None:
        scale = self.constant(f"{node.name}.scale", [1, 1, 2, 2])
        how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        self.add("Resize", [node.inputs[0], "", scale], node.name, mode="nearest", **how)

    def concat(self, node: Node) -> None:
        self.add("Concat", [*node.inputs], node.name, axis=1)

    def sum(self, node: Node) -> None:
        self.add("Add", [*node.inputs], node.name)

    def slice(self, x: str, y: str, starts: list[int], axes: list[int]) -> str:
        parts = {
            "starts": starts,
            "ends": [FAR] * len(axes),
            "axes": axes,
            "steps": [2] * len(axes),
        }
        names = [self.constant(f"{y}.{key}", values, np.int64) for key, values in parts.items()]
        return self.add("Slice", [x, *names], y)

    def space_to_depth(self, node: Node) -> None:
        (x,) = node.inputs
        quarters = []
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            y = f"{node.name}/{row}{column}"
            if self.slices == 4:
                quarters.append(self.slice(x, y, [row, column], [2, 3]))
            else:
                quarters.append(self.slice(self.slice(x, f"{y}/r", [row], [2]), y, [column], [3]))
        self.add("Concat", quarters, node.name, axis=1)

    def cells(self, k: int, name: str) -> str:
        """(N, A, H, W, E) of a raw map."""
        channels, height, width = self.shapes[name]
        count = self.model.head.arrays["anchors"].shape[1]
        sizes = [1, count, channels // count, height, width]
        shape = self.constant(f"end.{k}.shape", sizes, np.int64)
        y = self.add("Reshape", [name, shape], f"end.{k}.planes")
        return self.add("Transpose", [y], f"end.{k}.cells", perm=[0, 1, 3, 4, 2])

    def decode(self, k: int, name: str, end: str) -> str:
        """(N, rows, E) of a level."""
        s = self.add("Sigmoid", [self.cells(k, name)], f"end.{k}.sigmoid")
        channels, height, width = self.shapes[name]
        stride = self.model.head.attributes["strides"][k]
        anchors = self.model.head.arrays["anchors"][k]
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)[None, None]
        entries = channels // len(anchors)
        sizes = anchors[None, :, None, None]
        if end == "split":
            parts = [f"end.{k}.{part}" for part in ("xy", "wh", "rest")]
            lengths = self.constant(f"end.{k}.lengths", [2, 2, entries - 4], np.int64)
            self.operations.append(helper.make_node("Split", [s, lengths], parts, axis=4))
            xy = self.two(k, "Mul", parts[0], 2 * stride, "xy2")
            xy = self.two(k, "Add", xy, stride * (grid - 0.5), "xy3")
            wh = self.two(k, "Mul", self.two(k, "Pow", parts[1], 2, "wh2"), 4 * sizes, "wh3")
        else:
            cuts = ((0, 2), (2, 4), (4, FAR))
            parts = [self.part(k, s, i, *cut) for i, cut in enumerate(cuts)]
            xy = self.two(k, "Sub", self.two(k, "Mul", parts[0], 2, "xy2"), 0.5, "xy3")
            xy = self.two(k, "Mul", self.two(k, "Add", xy, grid, "xy4"), stride, "xy5")
            wh = self.two(k, "Pow", self.two(k, "Mul", parts[1], 2, "wh2"), 2, "wh3")
            wh = self.two(k, "Mul", wh, sizes, "wh4")
        y = self.add("Concat", [xy, wh, parts[2]], f"end.{k}.boxes", axis=-1)
        shape = self.constant(f"end.{k}.rows", [1, -1, entries], np.int64)
        return self.add("Reshape", [y, shape], f"end.{k}.flat")

    def two(self, k: int, kind: str, x: str, values: Any, y: str) -> str:
        return self.add(kind, [x, self.constant(f"end.{k}.{y}.c", values)], f"end.{k}.{y}")

    def part(self, k: int, x: str, i: int, start: int, end: int) -> str:
        names = [
            self.constant(f"end.{k}.{i}.{key}", [value], np.int64)
            for key, value in (("start", start), ("end", end), ("axis", 4), ("step", 1))
        ]
        return self.add("Slice", [x, *names], f"end.{k}.part{i}")

    def outputs(self, end: str) -> list[str]:
        """What the graph gives."""
        raws = self.model.head.inputs
        if end == "planes":
            return list(raws)
        if end == "cells":
            return [self.cells(k, name) for k, name in enumerate(raws)]
        levels = [self.decode(k, name, end) for k, name in enumerate(raws)]
        return [self.add("Concat", levels, "predictions", axis=1)]


def onnx_model(model: Model, end: str, side: tuple[int, int] = (64, 128), slices: int = 8) -> Any:
    """The onnx.ModelProto."""
    writer = Writer(model, side, slices)
    for node in model.nodes[:-1]:
        getattr(writer, "sum" if node.op == "add" else node.op)(node)
    names = writer.outputs(end)
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, (1, 3, *side))
    axes = [None] * {"planes": 4, "cells": 5}.get(end, 3)
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in names]
    graph = helper.make_graph(writer.operations, "test", [image], outputs, writer.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
