"""Faults put into an exported ONNX graph: found.py sees whether they are found.

Each function takes a copy of the graph and the name of a node of ours, changes the graph so that
this node's tensor is faulty, and returns whether it could. Nothing here knows the catalogue of
causes (refquant/verification/blame): the faults are written in terms of ONNX.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper

from bench.faults.surgery import Proto, add_constant, attribute, conv_of, maker, put, read, write

Change = Callable[[Proto, str], bool]


def reweighted(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def fault(graph: Proto, name: str) -> bool:
        conv = conv_of(graph, name)
        if conv is None:
            return False
        weight = read(graph, conv.input[1])
        other = change(weight)
        if other.shape != weight.shape or np.array_equal(other, weight):
            return False
        write(graph, conv.input[1], other)
        return True

    return fault


def hwio(weight: np.ndarray) -> np.ndarray:
    """Kept as (R, S, C, F) and read as (F, C, R, S); of square 1x1 kernels a mere transpose."""
    if weight.shape[0] == weight.shape[1] and weight.shape[2:] == (1, 1):
        return weight
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(weight.shape)


def bias(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def fault(graph: Proto, name: str) -> bool:
        conv = conv_of(graph, name)
        if conv is None or len(conv.input) < 3:
            return False
        write(graph, conv.input[2], change(read(graph, conv.input[2])).astype(np.float32))
        return True

    return fault


def activation(make: Callable[[str, str], list[Proto]]) -> Change:
    """Another way from NAME.linear to NAME."""

    def fault(graph: Proto, name: str) -> bool:
        last = maker(graph, name)
        if (
            last is None
            or last.op_type not in ("Mul", "LeakyRelu")
            or conv_of(graph, name) is None
        ):
            return False
        if f"{name}.linear" not in last.input:
            return False
        put(graph, last, *make(f"{name}.linear", name))
        graph.node.remove(last)
        return True

    return fault


def node(kind: str, **more: Any) -> Callable[[str, str], list[Proto]]:
    return lambda x, y: [helper.make_node(kind, [x], [y], **more)]


def leaky_for_silu(graph: Proto, name: str) -> bool:
    last = maker(graph, name)
    if last is None or last.op_type != "Mul":
        return False
    return activation(node("LeakyRelu", alpha=0.1))(graph, name)


def other_slope(graph: Proto, name: str) -> bool:
    last = maker(graph, name)
    if last is None or last.op_type != "LeakyRelu":
        return False
    attribute(last, "alpha").f = 0.2
    return True


def twice(graph: Proto, name: str) -> bool:
    """SiLU once more behind itself; LeakyRelu 0.1 twice is LeakyRelu 0.01, the usual slope."""
    last = maker(graph, name)
    if last is None or conv_of(graph, name) is None or f"{name}.linear" not in last.input:
        return False
    if last.op_type != "Mul":
        return False
    again = [helper.make_node("Sigmoid", [f"{name}.once"], [f"{name}.s"])]
    again += [helper.make_node("Mul", [f"{name}.once", f"{name}.s"], [name])]
    index = list(graph.node).index(last)
    last.output[0] = f"{name}.once"
    for offset, item in enumerate(again, 1):
        graph.node.insert(index + offset, item)
    return True


def pads(change: Callable[[list[int]], list[int]], stride: int) -> Change:
    def fault(graph: Proto, name: str) -> bool:
        conv = conv_of(graph, name)
        if conv is None or attribute(conv, "strides").ints[0] != stride:
            return False
        old = list(attribute(conv, "pads").ints)
        if sum(old) == 0:
            return False
        del attribute(conv, "pads").ints[:]
        attribute(conv, "pads").ints.extend(change(old))
        return True

    return fault


def edge_padding(graph: Proto, name: str) -> bool:
    conv = conv_of(graph, name)
    if conv is None or sum(attribute(conv, "pads").ints) == 0:
        return False
    old = list(attribute(conv, "pads").ints)
    sizes = np.array([0, 0, old[0], old[1], 0, 0, old[2], old[3]], np.int64)
    add_constant(graph, f"{name}.fault", sizes)
    padded = f"{name}.padded"
    inputs = [conv.input[0], f"{name}.fault"]
    put(graph, conv, helper.make_node("Pad", inputs, [padded], mode="edge"))
    conv.input[0] = padded
    del attribute(conv, "pads").ints[:]
    attribute(conv, "pads").ints.extend([0, 0, 0, 0])
    return True


def concat_swapped(graph: Proto, name: str) -> bool:
    join = maker(graph, name)
    if join is None or join.op_type != "Concat" or len(set(join.input)) < 2:
        return False
    if ".decode" in name:  # rows of levels, not channels
        return False
    names = list(join.input)
    names[0], names[1] = names[1], names[0]
    del join.input[:]
    join.input.extend(names)
    return True


def resize(**how: str) -> Change:
    def fault(graph: Proto, name: str) -> bool:
        node = maker(graph, name)
        if node is None or node.op_type != "Resize":
            return False
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(key, value) for key, value in how.items())
        return True

    return fault


def pool_zero(graph: Proto, name: str) -> bool:
    """Pooling of a map that was padded with zeros before, pulled below zero to matter."""
    pool = maker(graph, name)
    if pool is None or pool.op_type != "MaxPool" or sum(attribute(pool, "pads").ints) == 0:
        return False
    size = attribute(pool, "pads").ints[0]
    sizes = np.array([0, 0, size, size, 0, 0, size, size], np.int64)
    add_constant(graph, f"{name}.fault", sizes)
    put(graph, pool, helper.make_node("Pad", [pool.input[0], f"{name}.fault"], [f"{name}.padded"]))
    pool.input[0] = f"{name}.padded"
    del attribute(pool, "pads").ints[:]
    attribute(pool, "pads").ints.extend([0, 0, 0, 0])
    return True


def pool_average(padding_counts: int) -> Change:
    def fault(graph: Proto, name: str) -> bool:
        pool = maker(graph, name)
        if pool is None or pool.op_type != "MaxPool":
            return False
        pool.op_type = "AveragePool"
        pool.attribute.append(helper.make_attribute("count_include_pad", padding_counts))
        return True

    return fault


def pool_late(graph: Proto, name: str) -> bool:
    """All padding below and to the right."""
    pool = maker(graph, name)
    if pool is None or pool.op_type != "MaxPool" or sum(attribute(pool, "pads").ints) == 0:
        return False
    sizes = attribute(pool, "pads").ints
    sizes[:] = [0, 0, sizes[0] + sizes[2], sizes[1] + sizes[3]]
    return True


def summand_missing(graph: Proto, name: str) -> bool:
    add = maker(graph, name)
    if add is None or add.op_type != "Add":
        return False
    put(graph, add, helper.make_node("Identity", [add.input[1]], [name]))
    graph.node.remove(add)
    return True


def summand_twice(graph: Proto, name: str) -> bool:
    add = maker(graph, name)
    if add is None or add.op_type != "Add":
        return False
    put(graph, add, helper.make_node("Add", [add.input[0], add.input[1]], [f"{name}.once"]))
    add.input[0] = f"{name}.once"
    return True


def input_twice(graph: Proto, name: str) -> bool:
    """The second input of a concat in the place of the first; of other shapes it does not run."""
    join = maker(graph, name)
    if join is None or join.op_type != "Concat" or ".decode" in name:
        return False
    if len(join.input) < 2 or join.input[0] == join.input[1]:
        return False
    join.input[0] = join.input[1]
    return True


def pool_smaller(graph: Proto, name: str) -> bool:
    """A window of 3 where there are wider ones of stride 1."""
    pool = maker(graph, name)
    if pool is None or pool.op_type != "MaxPool" or attribute(pool, "strides").ints[0] != 1:
        return False
    if attribute(pool, "kernel_shape").ints[0] <= 3:
        return False
    attribute(pool, "kernel_shape").ints[:] = [3, 3]
    attribute(pool, "pads").ints[:] = [1, 1, 1, 1]
    return True


def pool_left_out(graph: Proto, name: str) -> bool:
    pool = maker(graph, name)
    if pool is None or pool.op_type != "MaxPool" or attribute(pool, "strides").ints[0] != 1:
        return False
    put(graph, pool, helper.make_node("Identity", [pool.input[0]], [name]))
    graph.node.remove(pool)
    return True


def filters_reversed(graph: Proto, name: str) -> bool:
    """Weights and biases of the filters in reverse order."""
    conv = conv_of(graph, name)
    if conv is None:
        return False
    for item in conv.input[1:]:
        write(graph, item, read(graph, item)[::-1])
    return True
