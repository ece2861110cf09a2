"""Faults in the preparation of the image, for found.py: nodes between it and the network.

As graphs.py: changes of an exported ONNX graph.
"""

from collections.abc import Callable

import numpy as np
from onnx import helper

from bench.faults.graphs import Change
from bench.faults.surgery import Proto, add_constant, conv_of, maker, put

WRONG = "wrong image"


def image(make: Callable[[Proto], list[Proto]]) -> Change:
    """A wrong preparation between the image and the first node."""

    def fault(graph: Proto, name: str) -> bool:
        readers = [n for n in graph.node if graph.input[0].name in n.input]
        first = maker(graph, name)
        conv = conv_of(graph, name)
        if first is None or not any(r in (first, conv) for r in readers):
            return False
        nodes = make(graph)
        for reader in readers:
            for i, item in enumerate(reader.input):
                if item == graph.input[0].name:
                    reader.input[i] = WRONG
        put(graph, graph.node[0], *nodes)
        return True

    return fault


def bgr(graph: Proto) -> list[Proto]:
    add_constant(graph, "bgr", np.array([2, 1, 0], np.int64))
    inputs = [graph.input[0].name, "bgr"]
    return [helper.make_node("Gather", inputs, [WRONG], axis=1)]


def undivided(graph: Proto) -> list[Proto]:
    add_constant(graph, "255", np.array(255, np.float32))
    return [helper.make_node("Mul", [graph.input[0].name, "255"], [WRONG])]


def undivided_bgr(graph: Proto) -> list[Proto]:
    first, second = bgr(graph), undivided(graph)
    first[0].output[0] = second[0].input[0] = "bgr image"
    return first + second


def scaled(number: float, offset: float) -> Callable[[Proto], list[Proto]]:
    """x * number + offset."""

    def make(graph: Proto) -> list[Proto]:
        add_constant(graph, "number", np.array(number, np.float32))
        add_constant(graph, "offset", np.array(offset, np.float32))
        inputs = [graph.input[0].name, "number"]
        return [
            helper.make_node("Mul", inputs, ["scaled image"]),
            helper.make_node("Add", ["scaled image", "offset"], [WRONG]),
        ]

    return make


def normalized(graph: Proto) -> list[Proto]:
    """As networks for ImageNet want it."""
    mean = np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1)
    deviation = np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1)
    names = add_constant(graph, "mean", mean), add_constant(graph, "deviation", deviation)
    return [
        helper.make_node("Sub", [graph.input[0].name, names[0]], ["centred image"]),
        helper.make_node("Div", ["centred image", names[1]], [WRONG]),
    ]


def mirrored(graph: Proto) -> list[Proto]:
    numbers = {"from": -1, "to": -(2**31), "axis": 3, "step": -1}
    cut = [add_constant(graph, key, np.array([v], np.int64)) for key, v in numbers.items()]
    return [helper.make_node("Slice", [graph.input[0].name, *cut], [WRONG])]


def channels_last(graph: Proto) -> list[Proto]:
    """(N, H, W, 3) in memory, taken as (N, 3, H, W)."""
    x = graph.input[0]
    sizes = [item.dim_value for item in x.type.tensor_type.shape.dim]
    add_constant(graph, "sizes", np.array(sizes, np.int64))
    return [
        helper.make_node("Transpose", [x.name], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["last", "sizes"], [WRONG]),
    ]
