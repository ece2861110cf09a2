"""Checkpoints as a whole: the network that was written is the network that is read."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from fuse_checkpoint import fuse
from make_checkpoint import HEADS, network, stripped, write
from torch_objects import Objects, save
from zoo import CLASSES, at, write_zoo, zoo

from refquant.engine.walk import walk
from refquant.formats.torch import head as torch_head
from refquant.formats.torch import leaves as torch_leaves
from refquant.formats.torch.checkpoint import LICENCE, read
from refquant.graph.architecture import ARCHITECTURES, build, layers_of
from refquant.graph.blocks import BLOCKS
from refquant.graph.fold import fold
from refquant.graph.graph import Counts, cast, count
from refquant.graph.lower import KINDS, lower
from refquant.graph.module import Module


def differences(nodes, others) -> list[str]:
    """How two graphs differ: nothing if names, wiring, attributes and all numbers are equal."""
    found = [] if len(nodes) == len(others) else [f"{len(nodes)} nodes, {len(others)} nodes"]
    for node, other in zip(nodes, others):
        for key in ("name", "op", "inputs"):
            if getattr(node, key) != getattr(other, key):
                found.append(f"{node.name}: {key}")
        if dict(node.attributes) != dict(other.attributes) or set(node.arrays) != set(
            other.arrays
        ):
            found.append(f"{node.name}: attributes or arrays")
            continue
        for key, value in node.arrays.items():
            if not np.array_equal(value, other.arrays[key]):
                found.append(f"{node.name}: {key}")
    return found


# What is written is read.


def test_a_worked_example(tmp_path):
    """One 1x1 convolution of 3 channels with known weights, then a head: the numbers come back."""
    objects = Objects()
    layers = zoo()
    model = objects.model(layers, "Detect")
    weight = layers[4].module.children["conv"].arrays["weight"]
    found = read(save(tmp_path / "x.pt", {"model": model}, objects.storages), fold=False)
    node = found["model.4.conv"]
    assert (node.op, node.inputs) == ("conv", ("model.3.cat",))
    assert node.attributes == {"stride": 1, "padding": 0, "activation": "linear"}
    assert node.arrays["weight"].dtype == np.float32
    assert node.arrays["weight"].tolist() == weight.tolist()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_graph_of_the_file_is_that_of_the_table(tmp_path, architecture, head):
    layers = network(architecture, head=head)
    found = read(write(tmp_path / "x.pt", architecture, head=head), fold=False, dtype=np.float64)
    expected = tuple(cast(node, np.float64) for node in lower(layers))
    assert differences(found.nodes, expected) == []
    folded = read(tmp_path / "x.pt", dtype=np.float64)
    assert differences(folded.nodes, fold(replace(found, nodes=expected)).nodes) == []
    training, last = head == "IAuxDetect", "6" in architecture
    wiring = build(
        architecture, 0.125, classes=3, implicit=head != "Detect", auxiliary=training, folded=False
    )
    if not training or last:  # three levels have no auxiliary layers of their own
        for node, other in zip(found.nodes, wiring.nodes, strict=True):
            assert (node.name, node.op, node.inputs) == (other.name, other.op, other.inputs)
            assert dict(node.attributes) == dict(other.attributes)
            shapes = [{k: a.shape for k, a in n.arrays.items()} for n in (node, other)]
            assert shapes[0] == shapes[1]


def test_the_comparison_notices_every_kind_of_difference():
    nodes = lower(zoo())
    some = next(node for node in nodes if node.op == "conv")
    place = nodes.index(some)
    weight = some.arrays["weight"].copy()
    weight[0, 0, 0, 0] = np.nextafter(weight[0, 0, 0, 0], np.float16(9))
    for change in (
        {"name": "x"},
        {"op": "silu"},
        {"inputs": ("x",)},
        {"attributes": {**some.attributes, "stride": 2}},
        {"arrays": {"weight": weight}},
        {"arrays": {}},
    ):
        other = (*nodes[:place], replace(some, **change), *nodes[place + 1 :])
        assert differences(nodes, other) != []
    assert differences(nodes, nodes[:-1]) != []
    assert differences(nodes, nodes) == []


@pytest.mark.parametrize("anchor_grid", (True, False))
def test_every_kind_of_module_is_read(tmp_path, anchor_grid):
    """Without anchor_grid (YOLOv5 v6) the anchors are told in units of the stride."""
    path = write_zoo(tmp_path / "x.pt", anchor_grid=anchor_grid)
    found = read(path, fold=False, dtype=np.float64)
    expected = tuple(cast(node, np.float64) for node in lower(zoo()))
    assert differences(found.nodes, expected) == []
    assert found["model.17.decode"].arrays["anchors"][1, 1].tolist() == [62.5, 45]


def test_the_zoo_has_every_kind_of_module():
    seen = set()

    def visit(module: Module) -> None:
        seen.add(module.kind)
        for child in module.children.values():
            visit(child)

    for layer in zoo():
        visit(layer.module)
    assert seen - {"ModuleList"} == set(KINDS)
    known = set(torch_leaves.LEAVES) | {*BLOCKS, "ModuleList"} | set(torch_head.HEADS)
    assert seen <= known


def test_a_bottleneck_adds_where_it_says_so(tmp_path):
    found = read(write_zoo(tmp_path / "x.pt"), fold=False)
    adds = [node.name for node in found.nodes if node.op == "add"]
    assert adds == ["model.5", "model.6.m.0.add", "model.6.m.1.add", "model.11.add"]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_fused_file_is_the_folded_network(tmp_path, architecture, head):
    """To one unit in the last place of float32: two float64 computations round to neighbours.

    A fused IDetect still has its implicit tensors; they are in the convolutions already.
    """
    fused = read(write(tmp_path / "fused.pt", architecture, head=head, fused=True))
    folded = read(write(tmp_path / "unfused.pt", architecture, head=head))
    assert (fused.source["form"], fused.source["head"]) == ("fused", head)
    for node, other in zip(fused.nodes, folded.nodes, strict=True):
        assert (node.name, node.op, node.inputs) == (other.name, other.op, other.inputs)
        assert dict(node.attributes) == dict(other.attributes)
        for key, value in node.arrays.items():
            np.testing.assert_array_max_ulp(value, other.arrays[key], maxulp=1)


def test_a_file_fused_without_its_head_gets_its_implicit_layers_folded(tmp_path):
    """As early versions of the public code left it: convolutions marked, the head not."""
    path = write(tmp_path / "x.pt", "yolov7-tiny", head="IDetect")
    expected = read(path)["model.77.m.0"].arrays
    objects = Objects()
    layers = network("yolov7-tiny", head="IDetect")
    model = objects.model([*fuse(layers[:-1]), layers[-1]], "IDetect", fused=True)
    del at(model, "model.77").attributes["forward"]
    found = read(save(path, stripped(model), objects.storages))["model.77.m.0"].arrays
    assert np.array_equal(found["bias"], expected["bias"])


def test_a_file_fused_by_other_means_keeps_its_head(tmp_path):
    """No batch norms and no marks: ia and im are taken to be folded."""
    path = write(tmp_path / "x.pt", "yolov7-tiny", head="IDetect", fused=True)
    expected = read(path)["model.77.m.0"].arrays
    objects = Objects()
    model = objects.model(fuse(network("yolov7-tiny", head="IDetect")), "IDetect")
    found = read(save(path, stripped(model), objects.storages))["model.77.m.0"].arrays
    assert np.array_equal(found["bias"], expected["bias"])


def test_auxiliary_heads_are_left_out(tmp_path):
    path = write(tmp_path / "x.pt", head="IAuxDetect")
    names = [node.name for node in read(path, fold=False).nodes]
    assert not [name for name in names if ".m2." in name or name.startswith(("model.105.",))]
    assert "model.108.m.0" in names


def test_the_model_runs_as_the_layers_do(tmp_path):
    found = read(write_zoo(tmp_path / "x.pt", head="IDetect"), dtype=np.float64)
    unfolded = read(tmp_path / "x.pt", fold=False, dtype=np.float64)
    x = np.random.default_rng(1).random((1, 3, 32, 48))
    outputs = [list(walk(m, x, arithmetic="math"))[-1][1] for m in (found, unfolded)]
    assert outputs[0].shape == (1, 3 * (4 * 6 + 2 * 3), 5 + CLASSES)
    # Float64 has 53 bits; boxes reach hundreds of pixels through a few hundred additions each.
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-12, atol=1e-12)


def test_subnormal_weights_are_kept(tmp_path):
    """fp16 has numbers down to 2**-24, and variances of trained files are among them."""

    def shrink(model, objects):
        bn = at(model, "model.4.bn").attributes["_buffers"]
        bn["running_var"] = objects.tensor(np.full(8, 2.0**-24, np.float16))

    found = read(write_zoo(tmp_path / "x.pt", shrink), fold=False)
    assert found["model.4.bn"].arrays["variance"].tolist() == [2.0**-24] * 8


def test_weights_of_every_precision_are_read(tmp_path):
    for dtype in (np.float16, np.float32, np.float64):
        values = np.arange(64, dtype=dtype).reshape(8, 8, 1, 1)

        def store(model, objects, values=values):
            conv = at(model, "model.4.conv")
            conv.attributes["_parameters"] = objects.parameters(weight=values, bias=None)

        found = read(write_zoo(tmp_path / "x.pt", store), fold=False)
        assert np.array_equal(found["model.4.conv"].arrays["weight"], values)


# What is around the network.


def test_the_source_is_told(tmp_path):
    path = write(tmp_path / "best.pt", "yolov7-tiny", head="IDetect")
    found = read(path)
    assert found.source == {
        "name": "best.pt",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "selected": "model",
        "form": "training",
        "head": "IDetect",
    }
    assert found.licence == LICENCE
    assert (found.folded, read(path, fold=False).folded) == (True, False)
    assert read(write(path, "yolov7-tiny")).source["form"] == "deploy"


# Parameters of the published networks with 80 classes, as the public code counts them.
PUBLISHED = {
    ("yolov7", False): 37_620_125,
    ("yolov7", True): 37_622_682,
    ("yolov7-tiny", False): 6_227_101,
    ("yolov7-tiny", True): 6_228_762,
}


@pytest.mark.parametrize(("architecture", "implicit"), PUBLISHED)
def test_parameters_are_counted_as_published(tmp_path, architecture, implicit):
    """At an eighth of the width the table's count; at full width the table's is the published."""
    head = "IDetect" if implicit else "Detect"
    found = read(write(tmp_path / "x.pt", architecture, head=head, classes=80))
    small = build(architecture, 0.125, implicit=implicit)
    assert found.counts == small.counts
    assert type(found.counts) is Counts
    nothing = np.broadcast_to(np.float32(0), (1,))

    def shape_only(name, shape):
        return np.broadcast_to(nothing, shape)

    full = lower(layers_of(ARCHITECTURES[architecture], 1.0, 80, implicit, shape_only))
    assert count(full).parameters == PUBLISHED[architecture, implicit]


def test_names_come_from_a_list_or_a_dictionary(tmp_path):
    for names, expected in (
        (["cat", "dog"], ("cat", "dog")),
        ({0: "cat", 1: "dog"}, ("cat", "dog")),
        ({1: "dog", 7: "bird"}, ("class 0", "dog")),
        (["cat", "dog", "bird"], ("cat", "dog")),
        (["cat"], ("cat", "class 1")),
        ([3, None], ("3", "?")),
        (["a\nb\x1b[31m", "x" * 1000], ("a?b?[31m", "x" * 100)),
        (None, ("class 0", "class 1")),
    ):

        def rename(model, objects, names=names):
            model.attributes["names"] = names

        assert read(write_zoo(tmp_path / "x.pt", rename)).class_names == expected


def test_the_average_is_preferred_and_a_bare_model_is_read(tmp_path):
    objects = Objects()
    model, average = objects.model(zoo(0), "Detect"), objects.model(zoo(1), "Detect")
    path = tmp_path / "x.pt"
    for value, key, seed in (
        ({"model": model, "ema": average}, "ema", 1),
        ({"model": model, "ema": None}, "model", 0),
        ({"model": model}, "model", 0),
        (average, "", 1),
    ):
        found = read(save(path, value, objects.storages), fold=False)
        expected = zoo(seed)[4].module.children["conv"].arrays["weight"]
        assert found.source["selected"] == key
        assert np.array_equal(found["model.4.conv"].arrays["weight"], expected)


def test_a_folder_of_any_name_is_read(tmp_path):
    objects = Objects()
    value = stripped(objects.model(zoo(), "Detect"))
    straight = read(save(tmp_path / "x.pt", value, objects.storages))
    moved = read(save(tmp_path / "y.pt", value, objects.storages, top="some/where"))
    assert differences(straight.nodes, moved.nodes) == []
