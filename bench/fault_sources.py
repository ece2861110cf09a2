"""Faults in what a network is made from: batch norms, branches, codes, narrow types.

As fault_graphs.py: changes of an exported ONNX graph, here of one that was not folded, of one with
quantized weights, or of types. The last ones are no usual mistake: nobody could name them.
"""

from collections.abc import Callable, Iterator

import numpy as np
from fault_graphs import Change, reweighted
from graph_surgery import Proto, add_constant, attribute, conv_of, maker, put, read, write
from onnx import TensorProto, helper

PIECE = 4  # input channels that are summed before a float16 accumulator takes them


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


def plus_zero_point(graph: Proto, name: str) -> bool:
    """w = (code + zero_point) * scale."""
    conv = conv_of(graph, name)
    decode = None if conv is None else maker(graph, conv.input[1])
    if decode is None or decode.op_type != "DequantizeLinear":
        return False
    q, s, z = (read(graph, item) for item in decode.input)
    shape = [-1 if i == attribute(decode, "axis").i else 1 for i in range(q.ndim)]
    wrong = (q.astype(np.float32) + z.astype(np.float32).reshape(shape)) * s.reshape(shape)
    graph.node.remove(decode)
    add_constant(graph, conv.input[1], wrong.astype(np.float32))
    return True


def through(graph: Proto, x: str, y: str, kind: int) -> Iterator[Proto]:
    """The nodes that round x to a type and give y in float32."""
    yield helper.make_node("Cast", [x], [f"{y}.narrow"], to=kind)
    yield helper.make_node("Cast", [f"{y}.narrow"], [y], to=TensorProto.FLOAT)


def half_stored(graph: Proto, name: str) -> bool:
    """Weight, bias, input and output in float16, sums in float32."""
    conv, last = conv_of(graph, name), maker(graph, name)
    if conv is None:
        return False
    for item in conv.input[1:]:
        write(graph, item, read(graph, item).astype(np.float16).astype(np.float32))
    put(graph, conv, *through(graph, conv.input[0], f"{name}.in", TensorProto.FLOAT16))
    conv.input[0] = f"{name}.in"
    index = list(graph.node).index(last)
    last.output[0] = f"{name}.wide"
    for offset, item in enumerate(through(graph, f"{name}.wide", name, TensorProto.FLOAT16), 1):
        graph.node.insert(index + offset, item)
    return True


def bfloat_cores(graph: Proto, name: str) -> bool:
    """Weight and input rounded to bfloat16, the rest in float32."""
    conv = conv_of(graph, name)
    if conv is None:
        return False
    for i in (0, 1):
        put(graph, conv, *through(graph, conv.input[i], f"{name}.in{i}", TensorProto.BFLOAT16))
        conv.input[i] = f"{name}.in{i}"
    return True


def half_sums(graph: Proto, name: str) -> bool:
    """Sums in float16, PIECE input channels at a time; where the bound can decide anything."""
    conv, last = conv_of(graph, name), maker(graph, name)
    if conv is None or len(conv.input) < 3:
        return False
    weight, bias = (read(graph, item) for item in conv.input[1:])
    if weight[0].size > 500:
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
    if last is conv or last.output[0] == total:
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
