"""Folding: worked by hand, exact in float64, and what it must leave alone."""

import numpy as np
import pytest

from refquant.engine.walk import walk
from refquant.graph.architecture import build
from refquant.graph.fold import (
    activation,
    branches,
    computed,
    fold,
    implicit_add,
    implicit_multiply,
    norm,
    rewritten,
)
from refquant.graph.graph import Counts, Model, Node

LINEAR = {"stride": 1, "padding": 0, "activation": "linear"}


def after(rule, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes after one rule of folding, their arrays computed."""
    return tuple(computed(node) for node in rewritten(rule, nodes))


def scalar(value: float) -> np.ndarray:
    return np.full((1, 1, 1, 1), value)


def conv(name: str, source: str, weight: float, bias: float | None = None) -> Node:
    arrays = {"weight": scalar(weight)}
    if bias is not None:
        arrays["bias"] = np.array([bias])
    return Node(name, "conv", (source,), LINEAR, arrays)


def batch_norm(name: str, source: str, gamma, beta, mean, variance) -> Node:
    values = {"weight": gamma, "bias": beta, "mean": mean, "variance": variance}
    arrays = {key: np.array([value], np.float64) for key, value in values.items()}
    return Node(name, "batch_norm", (source,), {"eps": 1e-3}, arrays)


def test_batch_norm_folds_as_worked_by_hand():
    # s = 3 / sqrt(3.999 + 0.001) = 1.5: W' = 2 * 1.5 = 3, b' = 1 - 4 * 1.5 = -5,
    # and its magnitude |1| + |4 * 1.5| = 7.
    nodes = (conv("c", "images", 2.0), batch_norm("n", "c", 3, 1, 4, 3.999))
    (node,) = after(norm, nodes)
    assert node.name == "c"
    found = [node.arrays[key].item() for key in ("weight", "bias", "bias_magnitude")]
    assert found == pytest.approx([3, -5, 7], abs=1e-12)


def test_a_bias_in_front_of_a_batch_norm_is_scaled_with_it():
    # As above, and a bias of 2: b' = -5 + 2 * 1.5 = -2, magnitude 7 + 2 * 1.5 = 10.
    nodes = (conv("c", "images", 2.0, -2.0), batch_norm("n", "c", 3, 1, 4, 3.999))
    (node,) = after(norm, nodes)
    assert node.arrays["bias"].item() == pytest.approx(-5 - 3, abs=1e-12)
    assert node.arrays["bias_magnitude"].item() == pytest.approx(10, abs=1e-12)


def test_an_implicit_multiplication_scales_and_its_sign_leaves_the_magnitude():
    im = Node("m", "multiply_channel", ("c",), {}, {"implicit": np.array([-3.0])})
    (node,) = after(implicit_multiply, (conv("c", "images", 2.0, 5.0), im))
    found = [node.arrays[key].item() for key in ("weight", "bias", "bias_magnitude")]
    assert found == [-6, -15, 15]


def test_rep_conv_branches_add_up_in_the_centre():
    three = Node(
        "r.rbr_dense.0",
        "conv",
        ("images",),
        {**LINEAR, "padding": 1},
        {"weight": np.ones((1, 1, 3, 3)), "bias": np.array([1.0])},
    )
    one = conv("r.rbr_1x1.0", "images", -5.0, 2.0)
    total = Node("r.add", "add", ("r.rbr_dense.0", "r.rbr_1x1.0"))
    (node,) = after(branches, (three, one, total))
    assert node.name == "r.rbr_reparam"
    assert node.arrays["weight"][0, 0].tolist() == [[1, 1, 1], [1, -4, 1], [1, 1, 1]]
    assert node.arrays["weight_magnitude"][0, 0, 1, 1] == 6  # |1| + |-5|, which -4 hides
    assert node.arrays["bias"].item() == 3


def test_implicit_addition_goes_through_the_weight():
    ia = Node("a", "add_channel", ("images",), {}, {"implicit": np.array([10.0])})
    (node,) = after(implicit_add, (ia, conv("m", "a", -2.0, 5.0)))
    assert node.inputs == ("images",)
    assert node.arrays["bias"].item() == 5 - 20
    assert node.arrays["bias_magnitude"].item() == 5 + 20


def test_an_activation_becomes_the_convolutions_own():
    nodes = (conv("c", "images", 1.0), Node("s", "silu", ("c",)), conv("d", "s", 1.0))
    first, second = after(activation, nodes)
    assert first.attributes["activation"] == "silu"
    assert second.inputs == ("c",)


def test_a_convolution_with_two_readers_is_not_folded():
    nodes = (
        conv("c", "images", 1.0),
        Node("s", "silu", ("c",)),
        Node("sum", "add", ("c", "s")),
    )
    assert after(activation, nodes) == nodes


def test_an_addition_of_other_things_stays():
    nodes = (
        conv("a", "images", 1.0),
        conv("b", "a", 1.0),
        Node("skip", "add", ("a", "b")),
    )
    assert after(branches, nodes) == nodes


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("name", ["yolov7", "yolov7-tiny"])
def test_folding_changes_nothing_in_float64(name, implicit):
    unfolded = build(name, 1 / 8, classes=2, implicit=implicit, folded=False)
    folded = fold(unfolded)
    x = np.random.default_rng(0).random((1, 3, 64, 32))
    outputs = [
        [y for _, y in walk(model, x, arithmetic="math")][-1] for model in (unfolded, folded)
    ]
    assert abs(outputs[0] - outputs[1]).max() < 1e-10  # boxes up to 459 px: 1e-13 relative
    ops = {node.op for node in folded.nodes}
    assert ops == {"conv", "max_pool", "concat", "upsample", "decode"}


def test_an_identity_branch_folds_exactly():
    rng = np.random.default_rng(1)
    channels = 4

    def arrays(*keys):
        return {key: rng.random(channels) for key in keys}

    norm_keys = ("weight", "bias", "mean", "variance")
    nodes = (
        conv_of("x", "images", rng.standard_normal((channels, 3, 1, 1)), 0),
        Node("x.act", "silu", ("x",)),
        conv_of("r.d", "x.act", rng.standard_normal((channels, channels, 3, 3)), 1),
        Node("r.dn", "batch_norm", ("r.d",), {"eps": 1e-3}, arrays(*norm_keys)),
        Node("r.id", "batch_norm", ("x.act",), {"eps": 1e-3}, arrays(*norm_keys)),
        Node("r.add", "add", ("r.dn", "r.id")),
        Node("decode", "decode", ("r.add",), {"strides": (8,)}, {"anchors": np.ones((1, 1, 2))}),
    )
    model = Model(nodes, (), False, Counts(0, 0, 0, 0, 0))
    folded = fold(model)
    assert [node.op for node in folded.nodes] == ["conv", "conv", "decode"]
    x = rng.random((1, 3, 8, 8))
    raw = [{n.name: y for n, y in walk(m, x, arithmetic="math")} for m in (model, folded)]
    assert abs(raw[0]["r.add"] - raw[1]["r.rbr_reparam"]).max() < 1e-13


def conv_of(name: str, source: str, weight: np.ndarray, padding: int) -> Node:
    return Node(name, "conv", (source,), {**LINEAR, "padding": padding}, {"weight": weight})
