"""Reading and changing exported ONNX graphs, for the fault harness (found.py)."""

from typing import Any

import numpy as np
from onnx import numpy_helper

Proto = Any


def maker(graph: Proto, name: str) -> Proto | None:
    """The ONNX node that makes a tensor."""
    return next((node for node in graph.node if name in node.output), None)


def conv_of(graph: Proto, name: str) -> Proto | None:
    """The Conv behind a node of ours, with or without its activation."""
    node = maker(graph, f"{name}.linear") or maker(graph, name)
    return node if node is not None and node.op_type == "Conv" else None


def read(graph: Proto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(item for item in graph.initializer if item.name == name))


def write(graph: Proto, name: str, array: np.ndarray) -> None:
    for item in graph.initializer:
        if item.name == name:
            item.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))


def put(graph: Proto, before: Proto, *nodes: Proto) -> None:
    """Insert nodes in front of another one."""
    index = list(graph.node).index(before)
    for offset, node in enumerate(nodes):
        graph.node.insert(index + offset, node)


def attribute(node: Proto, name: str) -> Proto:
    return next(item for item in node.attribute if item.name == name)


def add_constant(graph: Proto, name: str, array: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return name
