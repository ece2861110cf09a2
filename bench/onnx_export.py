"""A folded model as an ONNX graph, so that other runtimes can be compared with ours.

The graph has the operations that a good exporter emits for these networks: Conv, Sigmoid and Mul
for SiLU (onnxruntime fuses them), LeakyRelu, MaxPool, Resize, Concat, Add, and for the decode
(equations (1) to (3) of ops/head.py) Sigmoid, Reshape, Transpose, Split, Mul, Add. Its outputs
are the raw maps of the head, or the predictions.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.graph.shapes import shapes_of

OPSET = 17


def onnx_model(model: Model, rows: int, columns: int, *, raw: bool = False) -> onnx.ModelProto:
    """The model for images (1, 3, rows, columns), up to the predictions or the raw maps."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for node in model.nodes[:-1]:
        EXPORTERS[node.op](node, nodes, constants)
    shapes = shapes_of(model.nodes, (3, rows, columns))
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, (1, 3, rows, columns))
    if raw:
        outputs = {name: (1, *shapes[name]) for name in model.head.inputs}
    else:
        outputs = {model.head.name: decode(model.head, shapes, nodes, constants)}
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in outputs.items()
    ]
    graph = helper.make_graph(nodes, "refquant", [image], infos, constants)
    opset = [helper.make_opsetid("", OPSET)]
    exported = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(exported)
    return exported


def decode(head: Node, shapes: dict, nodes: list, constants: list) -> tuple[int, int, int]:
    """The head's decode; the shape (1, rows, entries) of the predictions."""
    anchors, total = array_of(head.arrays["anchors"]), 0
    levels = []
    for name, level, stride in zip(head.inputs, anchors, head.attributes["strides"], strict=True):
        C, H, W = shapes[name]
        A, E = len(level), C // len(level)

        def add(op, inputs, *parts, name=name, **attributes):
            """A node whose outputs are called name/part."""
            outputs = [f"{name}/{part}" for part in parts]
            nodes.append(helper.make_node(op, inputs, outputs, **attributes))
            return outputs

        def fixed(part, values, name=name):
            return constant(f"{name}/{part}", np.asarray(values), constants)

        grid = np.stack(np.meshgrid(np.arange(W), np.arange(H)), axis=-1).astype(np.float32)
        (p,) = add("Sigmoid", [name], "p")
        (p,) = add("Reshape", [p, fixed("split", [1, A, E, H, W])], "split p")
        (p,) = add("Transpose", [p], "rows", perm=[0, 1, 3, 4, 2])
        sizes = fixed("sizes", [2, 2, E - 4])
        xy, wh, rest = add("Split", [p, sizes], "xy", "wh", "rest", axis=-1)
        (xy,) = add("Mul", [xy, fixed("2 stride", np.float32(2 * stride))], "xy scaled")
        corner = (grid - np.float32(0.5)) * np.float32(stride)
        (xy,) = add("Add", [xy, fixed("corner", corner)], "xy there")
        (wh,) = add("Mul", [wh, wh], "wh squared")
        size = 4 * level.astype(np.float32).reshape(A, 1, 1, 2)
        (wh,) = add("Mul", [wh, fixed("4 anchors", size)], "wh scaled")
        (p,) = add("Concat", [xy, wh, rest], "boxes", axis=-1)
        levels += add("Reshape", [p, fixed("flat", [1, A * H * W, E])], "flat boxes")
        total += A * H * W
    nodes.append(helper.make_node("Concat", levels, [head.name], axis=1))
    return 1, total, E


def constant(name: str, array: np.ndarray, constants: list[onnx.TensorProto]) -> str:
    constants.append(numpy_helper.from_array(array, name))
    return name


def conv(node: Node, nodes: list, constants: list) -> None:
    names = [
        constant(f"{node.name}.{key}", array_of(node.arrays[key]), constants)
        for key in ("weight", "bias")
        if key in node.arrays
    ]
    activation = node.attributes["activation"]
    y = node.name if activation == "linear" else f"{node.name}.linear"
    nodes.append(
        helper.make_node(
            "Conv",
            [*node.inputs, *names],
            [y],
            strides=[node.attributes["stride"]] * 2,
            pads=[node.attributes["padding"]] * 4,
        )
    )
    if activation == "silu":
        nodes.append(helper.make_node("Sigmoid", [y], [f"{node.name}.sigmoid"]))
        nodes.append(helper.make_node("Mul", [y, f"{node.name}.sigmoid"], [node.name]))
    elif activation == "leaky":
        nodes.append(helper.make_node("LeakyRelu", [y], [node.name], alpha=0.1))


def max_pool(node: Node, nodes: list, constants: list) -> None:
    kernel, stride, padding = (node.attributes[key] for key in ("kernel", "stride", "padding"))
    nodes.append(
        helper.make_node(
            "MaxPool",
            node.inputs,
            [node.name],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[padding] * 4,
        )
    )


def upsample(node: Node, nodes: list, constants: list) -> None:
    scale = np.array([1, 1, node.attributes["scale"], node.attributes["scale"]], np.float32)
    name = constant(f"{node.name}.scale", scale, constants)
    nodes.append(
        helper.make_node(
            "Resize",
            [node.inputs[0], "", name],
            [node.name],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    )


def concat(node: Node, nodes: list, constants: list) -> None:
    nodes.append(helper.make_node("Concat", node.inputs, [node.name], axis=1))


def add(node: Node, nodes: list, constants: list) -> None:
    nodes.append(helper.make_node("Add", node.inputs, [node.name]))


EXPORTERS = {
    "conv": conv,
    "max_pool": max_pool,
    "upsample": upsample,
    "concat": concat,
    "add": add,
}
