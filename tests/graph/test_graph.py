"""The architectures, and walking them."""

from dataclasses import replace

import numpy as np
import pytest
from arrays_of_interest import same_bits

from refquant.arrays.errors import BadInput
from refquant.engine.walk import walk
from refquant.graph.architecture import ARCHITECTURES, build
from refquant.graph.blueprint import Blueprint


@pytest.mark.parametrize(
    ("name", "implicit", "unfolded", "folded", "filters"),
    [
        # yolov7: published totals of the released and the training form, and the study's filters
        ("yolov7", False, 37_620_125, 36_905_341, 25_629),
        ("yolov7", True, 37_622_682, 36_905_341, 25_629),
        ("yolov7-tiny", False, 6_227_101, 6_219_709, 8_157),
        ("yolov7-tiny", True, 6_228_762, 6_219_709, 8_157),
    ],
)
def test_parameters_are_those_of_the_published_networks(name, implicit, unfolded, folded, filters):
    model = build(name, implicit=implicit)
    assert model.counts.parameters == unfolded
    assert model.counts.filters == filters
    assert model.parameters == folded


def test_an_elan_block_of_a_worked_example():
    net = Blueprint()
    net.conv(8, 3)  # layer 0 is p
    net.elan(4, 6, 2, 16, "all")
    assert [(row.sources, row.kind, row.arguments) for row in net.rows[1:]] == [
        ((0,), "Conv", (4, 1, 1)),
        ((0,), "Conv", (4, 1, 1)),
        ((2,), "Conv", (6, 3, 1)),
        ((3,), "Conv", (6, 3, 1)),
        ((4, 3, 2, 1), "Concat", ()),
        ((5,), "Conv", (16, 1, 1)),
    ]


def test_up_concatenates_the_lateral_branch_first():
    net = Blueprint()
    skip = net.conv(8, 3)
    net.conv(8, 3, 2)
    net.up(4, skip)
    assert [(row.sources, row.kind) for row in net.rows[2:]] == [
        ((1,), "Conv"),
        ((2,), "Upsample"),
        ((0,), "Conv"),
        ((4, 3), "Concat"),
    ]


def test_batch_norms_of_the_family_have_an_eps_of_a_thousandth():
    nodes = build("yolov7-tiny", 1 / 8, classes=1, folded=False).nodes
    assert {node.attributes["eps"] for node in nodes if node.op == "batch_norm"} == {1e-3}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_same_seed_gives_the_same_network_and_another_seed_another(name):
    models = (build(name, 1 / 8, seed, classes=2) for seed in (0, 0, 1))
    first, again, other = (
        next(node.arrays["weight"] for node in model.nodes if node.op == "conv")
        for model in models
    )
    assert same_bits(first, again)
    assert not same_bits(first, other)


def test_a_walk_yields_every_node_in_order():
    model = build("yolov7-tiny", 1 / 8, classes=2)
    x = np.zeros((2, 3, 64, 96), np.float32)
    seen = [(node.name, y.shape) for node, y in walk(model, x)]
    assert [name for name, _ in seen] == [node.name for node in model.nodes]
    assert seen[0] == ("model.0.conv", (2, 8, 32, 48))
    assert seen[-1] == ("model.77.decode", (2, 3 * (8 * 12 + 4 * 6 + 2 * 3), 7))


@pytest.mark.parametrize("name", ["yolov7", "yolov7-tiny", "yolov7-w6", "yolov7-e6e"])
def test_fast_arithmetic_has_the_bits_of_ref_at_every_node(name):
    model = build(name, 1 / 8, classes=2)
    x = np.random.default_rng(0).random((1, 3, 64, 128), dtype=np.float32)
    fast = walk(model, x, threads=2)
    ref = walk(model, x, arithmetic="ref")
    for (node, a), (_, b) in zip(fast, ref, strict=True):
        assert same_bits(a, b), node.name


def test_a_network_with_one_changed_bit_is_noticed():
    model = build("yolov7-tiny", 1 / 8, classes=2)
    x = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    before = [y for _, y in walk(model, x)][-1]
    first, *others = model.nodes
    weight = first.arrays["weight"].copy()
    weight.view(np.uint32)[0, 0, 0, 0] ^= 1 << 16
    changed = replace(first, arrays={**first.arrays, "weight": weight})
    changed_model = model.with_nodes((changed, *others))
    assert not same_bits([y for _, y in walk(changed_model, x)][-1], before)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 60), (1, 3, 0, 64)])
def test_an_input_of_a_wrong_shape_is_refused(shape):
    model = build("yolov7-tiny", 1 / 8, classes=2)
    with pytest.raises(BadInput, match=r"shape|multiples of 32"):
        next(walk(model, np.zeros(shape, np.float32)))


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(BadInput, match=r"choose yolov7 \| yolov7-tiny"):
        build("yolov8")
