"""Lowering: every composed module on one pixel, where a convolution is a multiplication.

A convolution with weight w and no bias multiplies a single pixel by w, max pooling leaves it as
it is, and a concatenation with a convolution after it becomes a sum of products. So each result
can be worked out on paper, and exchanging two inputs changes it.
"""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.engine.walk import walk_node_by_node
from refquant.graph.graph import Counts, Model
from refquant.graph.lower import lower
from refquant.graph.module import Layer, Module


def conv2d(*weights: float) -> Module:
    """A 1x1 convolution to one filter, one weight per input channel."""
    array = np.array(weights, np.float64).reshape(1, -1, 1, 1)
    return Module("Conv2d", {"stride": 1, "padding": 0}, {"weight": array})


def conv(*weights: float) -> Module:
    return Module("Conv", children={"conv": conv2d(*weights), "act": Module("Identity")})


def pool(kernel: int) -> Module:
    return Module("MaxPool2d", {"kernel": kernel, "stride": 1, "padding": kernel // 2})


def listed(*modules: Module) -> Module:
    children = {str(i): module for i, module in enumerate(modules)}
    return Module("ModuleList", children=children)


def value(module: Module, x: float, size: int = 1) -> float:
    """The module's output for a map of one channel that is x everywhere."""
    nodes = lower([Layer((-1,), module)])
    model = Model(nodes, (), False, Counts(0, 0, 0, 0, 0))
    image = np.full((1, 1, size, size), x)
    *_, (_, y) = walk_node_by_node(model, image, "math", 1)
    return y.ravel()[0]


def test_down_c_puts_the_strided_branch_first():
    parts = {"cv1": conv(2), "cv2": conv(3), "cv3": conv(5), "mp": pool(1)}
    down = Module("DownC", children=parts)
    after = Module("Sequential", children={"0": down, "1": conv2d(10, 1)})
    assert value(after, 1.0) == 10 * (2 * 3) + 1 * 5


def test_sppcspc_joins_as_published():
    # a = 7 * 5 * 2 = 70; b = cv6(cv5([a, a, a, a])) = 11 * (1 + 2 + 3 + 4) * 70; then [b, cv2(x)].
    parts = {
        "cv1": conv(2),
        "cv2": conv(3),
        "cv3": conv(5),
        "cv4": conv(7),
        "cv5": conv(1, 2, 3, 4),
        "cv6": conv(11),
        "cv7": conv(100, 1),
        "m": listed(pool(5), pool(9), pool(13)),
    }
    assert value(Module("SPPCSPC", children=parts), 1.0) == 100 * 11 * 10 * 70 + 3


def test_the_pools_of_sppcspc_are_concatenated_in_their_order():
    # A map with one bright pixel in a corner: pool 1 and 3 keep or spread it differently.
    parts = {f"cv{i}": conv(1) for i in (1, 3, 4, 6)}
    parts |= {"cv2": conv(0), "cv5": conv(1000, 100, 10, 1), "cv7": conv(1, 0)}
    parts["m"] = listed(pool(1), pool(3), pool(5))
    nodes = lower([Layer((-1,), Module("SPPCSPC", children=parts))])
    image = np.zeros((1, 1, 3, 3))
    image[0, 0, 0, 0] = 1
    model = Model(nodes, (), False, Counts(0, 0, 0, 0, 0))
    *_, (_, y) = walk_node_by_node(model, image, "math", 1)
    assert y[0, 0].tolist() == [[1111, 11, 1], [11, 11, 1], [1, 1, 1]]


def test_sppf_pools_the_pooled():
    parts = {"cv1": conv(2), "cv2": conv(1000, 100, 10, 1), "m": pool(3)}
    image = np.zeros((1, 1, 1, 4))
    image[0, 0, 0, 0] = 1
    nodes = lower([Layer((-1,), Module("SPPF", children=parts))])
    model = Model(nodes, (), False, Counts(0, 0, 0, 0, 0))
    *_, (_, y) = walk_node_by_node(model, image, "math", 1)
    assert y.ravel().tolist() == [2222, 222, 22, 2]


def test_spp_keeps_its_input_first():
    parts = {"cv1": conv(2), "cv2": conv(100, 10), "m": listed(pool(1))}
    assert value(Module("SPP", children=parts), 1.0) == 220


@pytest.mark.parametrize(("add", "expected"), [(True, 1 + 6), (False, 6)])
def test_a_bottleneck_adds_its_input_where_it_says_so(add, expected):
    parts = {"cv1": conv(2), "cv2": conv(3)}
    assert value(Module("Bottleneck", {"add": add}, children=parts), 1.0) == expected


def test_c3_joins_the_chain_first():
    parts = {"cv1": conv(2), "cv2": conv(3), "cv3": conv(10, 1), "m": listed(conv(5))}
    parts["m"] = Module("Sequential", children=parts["m"].children)
    assert value(Module("C3", children=parts), 1.0) == 10 * (2 * 5) + 3


def test_rep_conv_adds_its_branches():
    def branch(weight: float) -> Module:
        return Module("Sequential", children={"0": conv2d(weight)})

    parts = {"act": Module("Identity"), "rbr_dense": branch(2), "rbr_1x1": branch(3)}
    assert value(Module("RepConv", children=parts), 1.0) == 5


def test_a_head_adds_before_and_multiplies_behind_the_convolution():
    # ((4 + 1) * 2) * 3 = 30 as a logit in all six channels of one anchor and one class.
    weight = np.full((6, 1, 1, 1), 2.0)
    convolution = Module("Conv2d", {"stride": 1, "padding": 0}, {"weight": weight})
    parts = {
        "m": listed(convolution),
        "ia": listed(Module("Implicit", arrays={"implicit": np.array([1.0])})),
        "im": listed(Module("Implicit", arrays={"implicit": np.full(6, 3.0)})),
    }
    arrays = {"anchors": np.ones((1, 1, 2))}
    nodes = lower([Layer((-1,), Module("Detect", {"strides": (8,)}, arrays, parts))])
    assert [node.name for node in nodes] == [
        *("model.0.ia.0", "model.0.m.0", "model.0.im.0", "model.0.decode")
    ]
    model = Model(nodes, (), False, Counts(0, 0, 0, 0, 0))
    outputs = {
        node.name: y for node, y in walk_node_by_node(model, np.full((1, 1, 1, 1), 4.0), "math", 1)
    }
    assert outputs["model.0.im.0"].ravel().tolist() == [30.0] * 6


def test_more_inputs_than_levels_are_auxiliary_and_drop_out():
    head = Module(
        "Detect",
        {"strides": (8,)},
        {"anchors": np.ones((1, 1, 2))},
        {"m": listed(conv2d(1))},
    )
    layers = [Layer((-1,), conv(1)), Layer((-1,), conv(2)), Layer((0, 1), head)]
    assert [node.name for node in lower(layers)] == [
        *("model.0.conv", "model.2.m.0", "model.2.decode")
    ]


def test_an_unknown_module_is_refused_by_name():
    with pytest.raises(BadInput, match=r"model\.0: module Swin is not known"):
        lower([Layer((-1,), Module("Swin"))])
