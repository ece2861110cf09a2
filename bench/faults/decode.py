"""Faults in the decode, for found.py.

As graphs.py: changes of an exported ONNX graph; the names of tensors inside the decode are
those that formats/onnx/export.py gives.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from bench.faults.surgery import Proto, add_constant, maker, put, read, write


def at_levels(suffix: str, change: Callable[[np.ndarray, int], np.ndarray]) -> Any:
    """A constant of the decode changed at every level."""

    def fault(graph: Proto, name: str) -> bool:
        names = [i.name for i in graph.initializer if i.name.startswith(f"{name}.")]
        chosen = [n for n in names if n.endswith(suffix)]
        for level, item in enumerate(chosen):
            write(graph, item, change(read(graph, item), level).astype(np.float32))
        return bool(chosen)

    return fault


def without_sigmoid(graph: Proto, name: str) -> bool:
    found = [
        n for n in graph.node if n.op_type == "Sigmoid" and n.output[0].startswith(f"{name}.")
    ]
    found = [n for n in found if n.output[0].endswith(".sigmoid")] if found else []
    for item in found:
        if ".decode" in name:
            item.op_type = "Identity"
    return bool(found) and ".decode" in name


def levels_of(graph: Proto, name: str) -> list[str]:
    """NAME.0, NAME.1 ... of a decode; none elsewhere."""
    names = [item.name for item in graph.initializer if item.name.endswith(".anchors")]
    return sorted(n.removesuffix(".anchors") for n in names if n.startswith(f"{name}."))


def in_cells(graph: Proto, name: str) -> bool:
    """Places of boxes in cells, not in pixels."""
    levels = levels_of(graph, name)
    for level in levels:
        doubled = read(graph, f"{level}.doubled")
        write(graph, f"{level}.doubled", np.array(2, np.float32))
        write(graph, f"{level}.cell", 2 * read(graph, f"{level}.cell") / doubled)
    return bool(levels)


def anchors_rotated(graph: Proto, name: str) -> bool:
    """Each level with the anchors of the next."""
    levels = levels_of(graph, name)
    anchors = [read(graph, f"{level}.anchors") for level in levels]
    for level, other in zip(levels, anchors[1:] + anchors[:1], strict=True):
        write(graph, f"{level}.anchors", other)
    return bool(levels)


def not_squared(graph: Proto, name: str) -> bool:
    """2 p * anchor for (2 p)**2 * anchor."""
    levels = levels_of(graph, name)
    for level in levels:
        square = maker(graph, f"{level}.squared")
        put(graph, square, helper.make_node("Identity", [square.input[0]], [square.output[0]]))
        graph.node.remove(square)
        write(graph, f"{level}.anchors", read(graph, f"{level}.anchors") / 2)
    return bool(levels)


def levels_reversed(graph: Proto, name: str) -> bool:
    join = maker(graph, name)
    if not levels_of(graph, name):
        return False
    names = list(join.input)[::-1]
    del join.input[:]
    join.input.extend(names)
    return True


def anchors_last(graph: Proto, name: str) -> bool:
    """Rows by cell and then by anchor."""
    levels = levels_of(graph, name)
    for level in levels:
        rows = maker(graph, f"{level}.rows")
        turned = f"{level}.turned"
        node = helper.make_node("Transpose", [rows.input[0]], [turned], perm=[0, 2, 3, 1, 4])
        put(graph, rows, node)
        rows.input[0] = turned
    return bool(levels)


Size = tuple[int, int]


def after(make: Callable[[int, Size], np.ndarray]) -> Any:
    """The predictions (N, rows, E) times a matrix (E, E), which make(E, (height, width)) gives."""

    def fault(graph: Proto, name: str) -> bool:
        if not levels_of(graph, name):
            return False
        dims = [item.dim_value for item in graph.output[0].type.tensor_type.shape.dim]
        size = [item.dim_value for item in graph.input[0].type.tensor_type.shape.dim][2:]
        matrix = make(dims[2], (size[0], size[1])).astype(np.float32)
        behind(graph, name, helper.make_node("MatMul", [f"{name}.right", "matrix"], [name]))
        add_constant(graph, "matrix", matrix)
        return True

    return fault


def behind(graph: Proto, name: str, *nodes: Proto) -> None:
    """Nodes that make NAME of NAME.right, the right predictions."""
    last = maker(graph, name)
    index = list(graph.node).index(last)
    last.output[0] = f"{name}.right"
    for offset, item in enumerate(nodes, 1):
        graph.node.insert(index + offset, item)


def divided(E: int, size: Size) -> np.ndarray:
    return np.diag([1 / size[1], 1 / size[0]] * 2 + [1] * (E - 4))


def corners(E: int, size: Size) -> np.ndarray:
    matrix = np.eye(E)
    matrix[:4, :4] = [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]]
    return matrix


def y_first(E: int, size: Size) -> np.ndarray:
    return np.eye(E)[:, [1, 0, 3, 2, *range(4, E)]]


def objectness_last(E: int, size: Size) -> np.ndarray:
    return np.eye(E)[:, [*range(4), *range(5, E), 4]]


def multiplied(graph: Proto, name: str) -> bool:
    """Class scores times objectness."""
    if not levels_of(graph, name):
        return False
    E = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    add_constant(graph, "parts", np.array([4, 1, E - 5], np.int64))
    parts = ["the box", "objectness", "classes"]
    behind(
        graph,
        name,
        helper.make_node("Split", [f"{name}.right", "parts"], parts, axis=2),
        helper.make_node("Mul", ["classes", "objectness"], ["products"]),
        helper.make_node("Concat", ["the box", "objectness", "products"], [name], axis=2),
    )
    return True


def logits(graph: Proto, name: str) -> bool:
    """Objectness and classes without a sigmoid: each level (N, A, E, H, W) or as its map is."""
    E = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    for level in levels_of(graph, name):
        sigmoid = maker(graph, f"{level}.sigmoid")
        A = read(graph, f"{level}.anchors").size // 2
        mask = np.tile(np.arange(E) < 4, A).reshape(1, A * E, 1, 1)
        add_constant(graph, f"{level}.mask", mask)
        raw = sigmoid.input[0]
        put(
            graph, sigmoid, helper.make_node("Sigmoid", [raw], [f"{level}.all"]),
            helper.make_node(
                "Where", [f"{level}.mask", f"{level}.all", raw], [f"{level}.sigmoid"]
            ),
        )  # fmt: skip
        graph.node.remove(sigmoid)
    return bool(levels_of(graph, name))


def entries_first(graph: Proto, name: str) -> bool:
    """(N, E, rows) in memory, taken as (N, rows, E)."""
    if not levels_of(graph, name):
        return False
    dims = [item.dim_value for item in graph.output[0].type.tensor_type.shape.dim]
    add_constant(graph, "sizes", np.array(dims, np.int64))
    behind(
        graph,
        name,
        helper.make_node("Transpose", [f"{name}.right"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Reshape", ["turned", "sizes"], [name]),
    )
    return True
