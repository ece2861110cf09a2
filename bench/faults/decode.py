"""Faults in the decode, for found.py.

As graphs.py: changes of an exported ONNX graph; the names of tensors inside the decode are
those that formats/onnx/export.py gives.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from bench.faults.surgery import Proto, maker, put, read, write


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
