"""Faults in what a network is made from: batch norms, branches, implicit layers, codes.

As graphs.py: changes of an exported ONNX graph, here of one that was not folded, or of one
with quantized weights.
"""

from collections.abc import Callable

import numpy as np
from onnx import helper

from bench.faults.graphs import Change
from bench.faults.surgery import Proto, add_constant, attribute, conv_of, maker, put, read, write


def module_of(graph: Proto, name: str) -> list[Proto]:
    """The ONNX nodes of an unfolded convolution, back from its last tensor to its inputs."""
    constants = {item.name for item in graph.initializer}
    found: list[Proto] = []

    def walk(tensor: str, kinds: tuple[str, ...]) -> None:
        node = maker(graph, tensor)
        if node is None or node.op_type not in kinds or node in found:
            return
        has_constant = any(item in constants for item in node.input)
        if node.op_type == "Add" and not has_constant and not found:
            return  # a sum of its own, not a sum of branches
        found.append(node)
        after = {
            "Mul": ("Sigmoid", "BatchNormalization", "Conv", "Add"),
            "LeakyRelu": ("BatchNormalization", "Conv", "Add"),
            "Sigmoid": (),
            "Add": () if has_constant else ("BatchNormalization", "Conv"),
            "BatchNormalization": ("Conv",),
            "Conv": ("Add",),
        }[node.op_type]
        for item in node.input:
            if item not in constants:
                below = maker(graph, item)
                implicit = below is not None and any(i in constants for i in below.input)
                if node.op_type != "Conv" or implicit:
                    walk(item, after)

    walk(name, ("Mul", "LeakyRelu", "BatchNormalization", "Conv", "Add"))
    return found if any(node.op_type == "Conv" for node in found) else []


def of_kind(graph: Proto, name: str, kind: str) -> list[Proto]:
    """The module's nodes of a kind; Mul and Add only where they take a constant."""
    constants = {item.name for item in graph.initializer}
    nodes = [node for node in module_of(graph, name) if node.op_type == kind]
    if kind in ("Mul", "Add"):
        nodes = [node for node in nodes if any(item in constants for item in node.input)]
    return nodes


def wrong_eps(graph: Proto, name: str) -> bool:
    norms = of_kind(graph, name, "BatchNormalization")
    for norm in norms:
        attribute(norm, "epsilon").f = 1e-5
    return bool(norms)


def bypassed(kind: str) -> Change:
    """A node replaced by its own input."""

    def fault(graph: Proto, name: str) -> bool:
        nodes = of_kind(graph, name, kind)
        for node in nodes:
            put(graph, node, helper.make_node("Identity", [node.input[0]], [node.output[0]]))
            graph.node.remove(node)
        return bool(nodes)

    return fault


def twice(kind: str) -> Change:
    def fault(graph: Proto, name: str) -> bool:
        nodes = of_kind(graph, name, kind)
        for node in nodes:
            x, constant = node.input
            put(graph, node, helper.make_node(kind, [x, constant], [f"{node.output[0]}.once"]))
            node.input[0] = f"{node.output[0]}.once"
        return bool(nodes)

    return fault


def branch_missing(kind: str) -> Change:
    """A branch of a RepConv left out: "1x1" or "identity"."""

    def fault(graph: Proto, name: str) -> bool:
        for node in module_of(graph, name):
            if node.op_type != "Add" or of_kind(graph, name, "Add"):
                continue
            for position, item in enumerate(node.input):
                conv = maker(graph, maker(graph, item).input[0])
                is_conv = conv is not None and conv.op_type == "Conv"
                sort = "identity"
                if is_conv:
                    sort = "1x1" if read(graph, conv.input[1]).shape[2] == 1 else "3x3"
                if sort == kind and len(node.input) == 2:
                    other = node.input[1 - position]
                    put(graph, node, helper.make_node("Identity", [other], [node.output[0]]))
                    graph.node.remove(node)
                    return True
        return False

    return fault


def codes(change: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple]) -> Change:
    """Codes, scales and zero points of a quantized weight changed."""

    def fault(graph: Proto, name: str) -> bool:
        conv = conv_of(graph, name)
        decode = None if conv is None else maker(graph, conv.input[1])
        if decode is None or decode.op_type != "DequantizeLinear":
            return False
        old = [read(graph, item) for item in decode.input]
        new = change(*old)
        for item, array in zip(decode.input, new, strict=True):
            write(graph, item, array.astype(read(graph, item).dtype))
        return any(not np.array_equal(a, b) for a, b in zip(old, new, strict=True))

    return fault


def nibbles(q: np.ndarray, s: np.ndarray, z: np.ndarray) -> tuple:
    return q.reshape(-1, 2)[:, ::-1].reshape(q.shape), s, z


def decoded(change: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> Change:
    """Codes decoded otherwise: w of (codes, scale, zero point) in float32."""

    def fault(graph: Proto, name: str) -> bool:
        conv = conv_of(graph, name)
        decode = None if conv is None else maker(graph, conv.input[1])
        if decode is None or decode.op_type != "DequantizeLinear":
            return False
        q, s, z = (read(graph, item).astype(np.float32) for item in decode.input)
        shape = [-1 if i == attribute(decode, "axis").i else 1 for i in range(q.ndim)]
        wrong = change(q, s.reshape(shape), z.reshape(shape))
        graph.node.remove(decode)
        add_constant(graph, conv.input[1], wrong.astype(np.float32))
        return True

    return fault


def signed(q: np.ndarray, s: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Codes of 4 bits in two's complement."""
    return (np.where(q >= 8, q - 16, q) - z) * s
