"""A folded model as an ONNX graph, so that other runtimes can be compared with ours.

The graph has the operations that a good exporter emits for these networks: Conv, Sigmoid and Mul
for SiLU (onnxruntime fuses them), LeakyRelu, MaxPool, Resize, Concat, Add. Its outputs are the
raw maps of the head: the decode is ours to do on top, and costs us about one percent.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refquant.graph.graph import INPUT, Model, Node, array_of
from refquant.graph.plan import shapes_of

OPSET = 17


def onnx_model(model: Model, rows: int, columns: int) -> onnx.ModelProto:
    """The model for images (1, 3, rows, columns), up to the inputs of its decode."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for node in model.nodes[:-1]:
        EXPORTERS[node.op](node, nodes, constants)
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, (1, 3, rows, columns))
    shapes = shapes_of(model.nodes, (3, rows, columns))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, *shapes[name]))
        for name in model.head.inputs
    ]
    graph = helper.make_graph(nodes, "refquant", [image], outputs, constants)
    opset = [helper.make_opsetid("", OPSET)]
    exported = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(exported)
    return exported


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
