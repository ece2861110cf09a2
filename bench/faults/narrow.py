"""Faults of narrow types, and those that nobody could name (NAMELESS), for found.py.

As graphs.py: changes of an exported ONNX graph.
"""

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, helper

from bench.faults.graphs import Change, reweighted
from bench.faults.surgery import Proto, add_constant, attribute, conv_of, maker, put, read, write

PIECE = 4  # input channels that are summed before a float16 accumulator takes them


def through(graph: Proto, x: str, y: str, kind: int) -> Iterator[Proto]:
    """The nodes that round x to a type and give y in float32."""
    yield helper.make_node("Cast", [x], [f"{y}.narrow"], to=kind)
    yield helper.make_node("Cast", [f"{y}.narrow"], [y], to=TensorProto.FLOAT)


def stored(kind: int) -> Change:
    """Weight, bias, input and output in a narrow type, sums in float32."""

    def fault(graph: Proto, name: str) -> bool:
        conv, last = conv_of(graph, name), maker(graph, name)
        if conv is None:
            return False
        for i, item in enumerate(list(conv.input)):
            put(graph, conv, *through(graph, item, f"{name}.in{i}", kind))
            conv.input[i] = f"{name}.in{i}"
        index = list(graph.node).index(last)
        last.output[0] = f"{name}.wide"
        for offset, item in enumerate(through(graph, f"{name}.wide", name, kind), 1):
            graph.node.insert(index + offset, item)
        return True

    return fault


def cores(kind: int) -> Change:
    """Weight and input rounded to a narrow type, the rest in float32."""

    def fault(graph: Proto, name: str) -> bool:
        conv = conv_of(graph, name)
        if conv is None:
            return False
        for i in (0, 1):
            put(graph, conv, *through(graph, conv.input[i], f"{name}.in{i}", kind))
            conv.input[i] = f"{name}.in{i}"
        return True

    return fault


def half_sums(most: int, narrow: bool) -> Change:
    """Sums in float16, PIECE input channels at a time, of at most `most` products; the output in
    float16 as well, or in float32."""
    return lambda graph, name: summed(graph, name, most, narrow)


def summed(graph: Proto, name: str, most: int, narrow: bool) -> bool:
    conv, last = conv_of(graph, name), maker(graph, name)
    if conv is None or len(conv.input) < 3:
        return False
    weight, bias = (read(graph, item) for item in conv.input[1:])
    if weight[0].size > most:
        return False
    how = {item.name: helper.get_attribute_value(item) for item in conv.attribute}
    parts = [add_constant(graph, f"{name}.start", bias.reshape(1, -1, 1, 1))]
    nodes, axes = [], add_constant(graph, f"{name}.axes", np.array([1], np.int64))
    for k in range(0, weight.shape[1], PIECE):
        cut = add_constant(graph, f"{name}.w{k}", weight[:, k : k + PIECE])
        ends = [
            add_constant(graph, f"{name}.{side}{k}", np.array([end], np.int64))
            for side, end in (("from", k), ("to", k + PIECE))
        ]
        slab = f"{name}.x{k}"
        nodes.append(helper.make_node("Slice", [conv.input[0], *ends, axes], [slab]))
        nodes.append(helper.make_node("Conv", [slab, cut], [f"{name}.y{k}"], **how))
        parts.append(f"{name}.y{k}")
    total = parts[0]
    for k, part in enumerate(parts[1:]):
        nodes.append(helper.make_node("Add", [total, part], [f"{name}.sum{k}"]))
        total = conv.output[0] if k == len(parts) - 2 else f"{name}.total{k}"
        nodes += through(graph, f"{name}.sum{k}", total, TensorProto.FLOAT16)
    put(graph, conv, *nodes)
    graph.node.remove(conv)
    if last is conv or last.output[0] == total or not narrow:
        return True
    index = list(graph.node).index(last)
    last.output[0] = f"{name}.wide"
    for offset, item in enumerate(through(graph, f"{name}.wide", name, TensorProto.FLOAT16), 1):
        graph.node.insert(index + offset, item)
    return True


def another_layer(graph: Proto, name: str) -> bool:
    """The weight of another layer of the same shape."""
    conv = conv_of(graph, name)
    if conv is None:
        return False
    own = read(graph, conv.input[1])
    for item in graph.initializer:
        if list(item.dims) == list(own.shape) and item.name != conv.input[1]:
            write(graph, conv.input[1], read(graph, item.name))
            return True
    return False


def dilated(graph: Proto, name: str) -> bool:
    conv = conv_of(graph, name)
    if conv is None or list(attribute(conv, "pads").ints) != [1, 1, 1, 1]:
        return False
    conv.attribute.append(helper.make_attribute("dilations", [2, 2]))
    attribute(conv, "pads").ints[:] = [2, 2, 2, 2]
    return True


def clipped(graph: Proto, name: str) -> bool:
    """Outputs above 1 cut off, as by a saturated narrow type."""
    last = maker(graph, name)
    if last is None or conv_of(graph, name) is None:
        return False
    one = add_constant(graph, f"{name}.one", np.array(1, np.float32))
    index = list(graph.node).index(last)
    last.output[0] = f"{name}.wide"
    graph.node.insert(index + 1, helper.make_node("Min", [f"{name}.wide", one], [name]))
    return True


def last_row(graph: Proto, name: str) -> bool:
    """The last row never written: zeros."""
    last = maker(graph, name)
    if last is None or conv_of(graph, name) is None:
        return False
    cut = [add_constant(graph, f"{name}.{k}", np.array([v], np.int64))
           for k, v in (("from", 0), ("to", -1), ("axis", 2))]  # fmt: skip
    sides = add_constant(graph, f"{name}.sides", np.array([0, 0, 0, 0, 0, 0, 1, 0], np.int64))
    index = list(graph.node).index(last)
    last.output[0] = f"{name}.wide"
    graph.node.insert(index + 1, helper.make_node("Slice", [f"{name}.wide", *cut], [f"{name}.s"]))
    graph.node.insert(index + 2, helper.make_node("Pad", [f"{name}.s", sides], [name]))
    return True


def noisy(w: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(w.shape)
    return (w * (1 + 0.01 * noise)).astype(np.float32)


def eight_bits(w: np.ndarray) -> np.ndarray:
    scale = abs(w).max() / 127
    return (np.rint(w / scale) * scale).astype(np.float32)


def one_filter(w: np.ndarray) -> np.ndarray:
    w = w.copy()
    w[len(w) // 2] = 0
    return w


def one_channel(w: np.ndarray) -> np.ndarray:
    w = w.copy()
    w[:, w.shape[1] // 2] = 0
    return w


NAMELESS: tuple[tuple[str, Change], ...] = (
    ("1 % of noise on the weights", reweighted(noisy)),
    ("weights rounded to 8 bits", reweighted(eight_bits)),
    ("one filter of zeros", reweighted(one_filter)),
    ("one input channel left out", reweighted(one_channel)),
    ("weights of another layer", another_layer),
    ("dilation 2", dilated),
    ("outputs cut off at 1", clipped),
    ("last row not written", last_row),
)
