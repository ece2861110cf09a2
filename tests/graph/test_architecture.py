"""The architectures' tables: their blocks, counts, wiring and strides are the published ones."""

import re
from math import prod
from pathlib import Path

import numpy as np
import pytest
from shapes_only import shape_only

import refquant
from refquant.arrays.errors import BadInput
from refquant.graph import yolov7
from refquant.graph.architecture import ARCHITECTURES, build, layers_of
from refquant.graph.blueprint import Blueprint
from refquant.graph.graph import Counts, count
from refquant.graph.lower import lower
from refquant.graph.module import Module

STATISTICS = ("running_mean", "running_var", "anchors")  # no parameters

# Layers in the released and in the training form; parameters unfolded in both, and folded: the
# public code's counts for 80 classes.
PUBLISHED = {
    "yolov7": (106, 106, 37_620_125, 37_622_682, 36_905_341),
    "yolov7-tiny": (78, 78, 6_227_101, 6_228_762, 6_219_709),
    "yolov7-tiny-silu": (78, 78, 6_227_101, 6_228_762, 6_219_709),
    "yolov7x": (122, 122, 71_344_389, 71_347_394, 71_311_741),
    "yolov7-w6": (119, 123, 70_426_236, 82_312_436, 70_394_300),
    "yolov7-e6": (141, 145, 97_246_652, 111_898_292, 97_202_940),
    "yolov7-d6": (163, 167, 133_810_044, 154_709_364, 133_757_052),
    "yolov7-e6e": (262, 266, 151_757_244, 166_408_884, 151_687_420),
}
# 1x1, 3x3 and strided 3x3 convolutions of the body, as executed.
CONVOLUTIONS = {
    "yolov7": (46, 39, 7),
    "yolov7-tiny": (35, 19, 4),
    "yolov7-tiny-silu": (35, 19, 4),
    "yolov7x": (46, 55, 7),
    "yolov7-w6": (48, 51, 8),
    "yolov7-e6": (64, 73, 8),
    "yolov7-d6": (64, 95, 8),
    "yolov7-e6e": (97, 139, 8),
}
# Multiply-adds in thousands of millions at 640 x 640, to three digits behind the point.
GMAC = {
    "yolov7": 52.256,
    "yolov7-tiny": 6.850,
    "yolov7-tiny-silu": 6.850,
    "yolov7x": 94.837,
    "yolov7-w6": 44.965,
    "yolov7-e6": 64.303,
    "yolov7-d6": 87.717,
    "yolov7-e6e": 105.273,
}
# (index, sources, kind, first argument) of layers in the released files.
RELEASED = {
    "yolov7": [
        (10, (9, 7, 5, 4), "Concat", None),
        (16, (15, 13), "Concat", None),
        (51, (50,), "SPPCSPC", 512),
        (54, (37,), "Conv", 256),
        (55, (54, 53), "Concat", None),
        (62, (61, 60, 59, 58, 57, 56), "Concat", None),
        (80, (79, 77, 63), "Concat", None),
        (93, (92, 90, 51), "Concat", None),
        (104, (101,), "RepConv", 1024),
        (105, (102, 103, 104), "Detect", None),
    ],
    "yolov7-tiny": [
        (6, (5, 4, 3, 2), "Concat", None),
        (33, (30,), "SP", 13),
        (34, (33, 32, 31, 30), "Concat", None),
        (36, (35, 29), "Concat", None),
        (41, (40, 39), "Concat", None),
        (59, (58, 47), "Concat", None),
        (67, (66, 37), "Concat", None),
        (77, (74, 75, 76), "Detect", None),
    ],
    "yolov7x": [
        (12, (11, 9, 7, 5, 4), "Concat", None),
        (59, (58,), "SPPCSPC", 640),
        (62, (43,), "Conv", 320),
        (72, (71, 69, 67, 65, 64), "Concat", None),
        (92, (91, 89, 73), "Concat", None),
        (107, (106, 104, 59), "Concat", None),
        (120, (117,), "Conv", 1280),
        (121, (118, 119, 120), "Detect", None),
    ],
    # of the training form: the taps of the auxiliary convolutions
    "yolov7-e6e": [
        (112, (111,), "SPPCSPC", 640),
        (137, (136, 126), "Shortcut", None),
        (261, (186,), "Conv", 320),
        (262, (161,), "Conv", 640),
        (263, (136,), "Conv", 960),
        (264, (112,), "Conv", 1280),
        (265, (257, 258, 259, 260, 261, 262, 263, 264), "Detect", None),
    ],
}


def layers(name, implicit=False, auxiliary=False):
    architecture = ARCHITECTURES[name]
    return layers_of(architecture, 1.0, 80, implicit, shape_only, auxiliary=auxiliary)


def parameters(module: Module) -> int:
    """Numbers in a module's parameters, its parts included."""
    own = sum(prod(a.shape) for key, a in module.arrays.items() if key not in STATISTICS)
    return own + sum(parameters(child) for child in module.children.values())


def test_e2_of_a_worked_example():
    net = Blueprint()
    net.conv(8, 3)  # layer 0 is p
    net.e2(4, 6, 2, 16, "even")
    assert [(row.sources, row.kind, row.arguments) for row in net.rows[1:]] == [
        ((0,), "Conv", (4, 1, 1)),
        ((0,), "Conv", (4, 1, 1)),
        ((2,), "Conv", (6, 3, 1)),
        ((3,), "Conv", (6, 3, 1)),
        ((4, 2, 1), "Concat", ()),
        ((5,), "Conv", (16, 1, 1)),
        ((0,), "Conv", (4, 1, 1)),
        ((0,), "Conv", (4, 1, 1)),
        ((8,), "Conv", (6, 3, 1)),
        ((9,), "Conv", (6, 3, 1)),
        ((10, 8, 7), "Concat", ()),
        ((11,), "Conv", (16, 1, 1)),
        ((12, 6), "Shortcut", ()),
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_and_parameters_are_as_published(name):
    released, training = layers(name), layers(name, implicit=True, auxiliary=True)
    found = [len(released), len(training)]
    found += [sum(parameters(layer.module) for layer in form) for form in (released, training)]
    assert found == list(PUBLISHED[name][:4])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folded_parameters_are_a_bias_per_filter_for_two_numbers_of_a_norm(name):
    """Without folding 150 million numbers: Conv + BN has W and 2 F numbers, folded W and F."""
    counts = count(lower(layers(name)))
    assert type(counts) is Counts
    norms = counts.norm_channels
    # RepConv: of two branches one 3x3 convolution is left, whose filters have one bias.
    points = [c * c // 2 + c for c in (256, 512, 1024)] if name == "yolov7" else []
    assert counts.parameters - norms - sum(points) == PUBLISHED[name][4]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_convolutions_and_multiply_adds_are_as_published(name):
    nodes = lower(layers(name))
    stride, kinds, macs = {"images": 1}, {}, 0
    for node in nodes:
        step = node.attributes.get("stride", 1)
        first = stride[node.inputs[0]]
        stride[node.name] = 2 * first if node.op == "space_to_depth" else first * step
        if node.op == "upsample":
            stride[node.name] = first // 2
        if node.op == "conv" and ".rbr_1x1" not in node.name:
            shape = node.arrays["weight"].shape
            macs += prod(shape) * (640 // stride[node.name]) ** 2
            if ".m." not in node.name:
                kinds[shape[2], step] = kinds.get((shape[2], step), 0) + 1
    levels = len(ARCHITECTURES[name].anchors)
    ones, threes, strided = kinds[1, 1], kinds[3, 1], kinds[3, 2]
    assert (ones + levels, threes, strided) == CONVOLUTIONS[name]
    assert round(macs / 1e9, 3) == GMAC[name]


@pytest.mark.parametrize("name", RELEASED)
def test_tables_are_wired_like_the_released_networks(name):
    rows = ARCHITECTURES[name].rows(auxiliary=True)
    for index, sources, kind, first in RELEASED[name]:
        row = rows[index]
        assert (row.sources, row.kind) == (sources, kind), index
        assert first is None or row.arguments[0] == first, index


# Layer indices of the head in the released and in the training form.
@pytest.mark.parametrize(
    ("name", "released", "training"),
    [("w6", 118, 122), ("e6", 140, 144), ("d6", 162, 166), ("e6e", 261, 265)],
)
def test_the_training_form_ends_with_four_auxiliary_layers(name, released, training):
    architecture = ARCHITECTURES[f"yolov7-{name}"]
    short, long = architecture.rows(), architecture.rows(auxiliary=True)
    assert (len(short) - 1, len(long) - 1) == (released, training)
    assert short[:-1] == long[: len(short) - 1]
    assert long[-1].sources[:4] == short[-1].sources


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("yolov7", [12, 16], [459, 401]),
        ("yolov7-tiny", [10, 13], [373, 326]),
        ("yolov7x", [12, 16], [459, 401]),
        ("yolov7-e6e", [19, 27], [925, 792]),
    ],
)
def test_anchors_are_those_of_the_released_networks(name, first, last):
    head = layers(name)[-1].module
    levels = 4 if "6" in name else 3
    assert head.arrays["anchors"].shape == (levels, 3, 2)
    assert head.arrays["anchors"].dtype == np.float32
    assert head.arrays["anchors"][0, 0].tolist() == first
    assert head.arrays["anchors"][-1, 2].tolist() == last


@pytest.mark.parametrize("options", [{"width": 0}, {"width": 5}, {"classes": 0}])
def test_a_network_that_cannot_be_is_refused(options):
    with pytest.raises(BadInput, match="choose"):
        build("yolov7", **options)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_name_builds_and_its_sides_are_multiples_of_the_coarsest_stride(name):
    model = build(name, 1 / 8, classes=1)
    assert model.head.attributes["strides"] == ((8, 16, 32, 64) if "6" in name else (8, 16, 32))
    assert model.stride == (64 if "6" in name else 32)
    assert len(model.class_names) == 1


def test_only_tiny_has_leaky_activations():
    for name in ARCHITECTURES:
        nodes = build(name, 1 / 8, classes=1).nodes
        found = {node.attributes["activation"] for node in nodes if node.op == "conv"}
        assert found == {"leaky" if name == "yolov7-tiny" else "silu", "linear"}


def test_the_chain_at_the_top_of_yolov7_is_true():
    """Its files exist, the row and the nodes that it shows are those of the table."""
    chain, package = yolov7.__doc__.split("In the table")[0], Path(refquant.__file__).parent
    files = re.findall(r"[\w/]+\.py", chain)
    assert {"blueprint.py", "blocks.py", "lower.py", "fold.py", "engine/plan.py"} <= set(files)
    assert all((package / f).is_file() or (package / "graph" / f).is_file() for f in files)
    row = ARCHITECTURES["yolov7"].rows()[51]
    assert f'Row({row.sources}, "{row.kind}", {row.arguments})' in chain
    for folded, names in ((False, (".conv", ".bn", ".act")), (True, (".conv",))):
        nodes = build("yolov7", 1 / 8, classes=1, folded=folded).nodes
        found = [n.name for n in nodes if n.name.startswith("model.51.cv1.")]
        assert found == [f"model.51.cv1{name}" for name in names]
