"""Graphs made by hand, for tests of plans and of the engine."""

import numpy as np

from refquant.graph.graph import INPUT, Counts, Model, Node


def conv_node(name, source, channels, filters, kernel=1, stride=1, seed=0, activation="silu"):
    """A convolution with random weights and padding kernel // 2."""
    rng = np.random.default_rng([seed, channels, filters, kernel])
    weight = rng.standard_normal((filters, channels, kernel, kernel), dtype=np.float32)
    weight /= np.sqrt(np.float32(channels)) * kernel
    bias = rng.standard_normal(filters, dtype=np.float32)
    attributes = {"stride": stride, "padding": kernel // 2, "activation": activation}
    return Node(name, "conv", (source,), attributes, {"weight": weight, "bias": bias})


def pool_node(name, source, kernel, stride, padding):
    attributes = {"kernel": kernel, "stride": stride, "padding": padding}
    return Node(name, "max_pool", (source,), attributes)


def model_of(*nodes: Node) -> Model:
    """The nodes and a decode of the last one, one class and one anchor, at stride 8."""
    arrays = {"anchors": np.array([[[10, 13]]], np.float32)}
    decode = Node("decode", "decode", (nodes[-1].name,), {"strides": (8,)}, arrays)
    return Model((*nodes, decode), ("thing",), True, Counts(0, 0, 0, 0, 0))


def awkward() -> Model:
    """Everything that YOLOv7 and tiny do not have, and odd numbers of channels.

    Space-to-depth of the image, a shortcut, a concat within a concat, one map in two concats,
    inputs that do not begin a block, a 6x6 kernel, pooling with padding at stride 2.
    """
    return model_of(
        Node("s2d", "space_to_depth", (INPUT,)),
        conv_node("a", "s2d", 12, 24, 3),
        conv_node("b", "a", 24, 24, 3, seed=1),
        Node("sum", "add", ("a", "b", "a")),
        Node("inner", "concat", ("sum", "b")),
        Node("outer", "concat", ("inner", "sum", "a")),
        conv_node("c", "outer", 96, 40, 6, 2),
        pool_node("d", "c", 3, 2, 1),
        conv_node("e", "d", 40, 17, 1),
        Node("up", "upsample", ("e",), {"scale": 3}),
        pool_node("f", "up", 5, 1, 2),
        conv_node("g", "f", 17, 6, 3, 3, activation="linear"),
    )
