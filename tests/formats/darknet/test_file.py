"""Darknet models: what the published networks' files hold, and what lies in a file is refused."""

import os
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from darknet_writer import NET, TRAINING, cfg_of, files, write
from make_checkpoint import network
from shapes_only import shape_only

from refquant.arrays.errors import BadInput
from refquant.engine.walk import walk
from refquant.formats.catalogue import load_model
from refquant.formats.darknet import file as darknet
from refquant.formats.darknet.cfg import parse
from refquant.formats.darknet.layers import outline_of
from refquant.graph.architecture import ARCHITECTURES, layers_of
from refquant.graph.fold import fold
from refquant.graph.graph import Counts, Model, count
from refquant.graph.lower import lower

# Sections of the published cfg files: convolutional, route, maxpool, upsample, yolo; numbers in
# their weights files.
PUBLISHED = {
    "yolov7-tiny": (58, 30, 6, 2, 3, 6_241_885),
    "yolov7": (92, 38, 8, 2, 3, 36_974_557),
    "yolov7x": (108, 38, 8, 2, 3, 71_409_685),
}
SMALL = (
    NET + "[convolutional]\nfilters=6\nsize=8\nstride=8\npadding=0\nactivation=linear\n"
    "[yolo]\nmask=0\nanchors=10,20\nclasses=1\nnum=1\nscale_x_y=2.0\nnew_coords=1\n"
)


def model_of(layers) -> Model:
    """The unfolded graph of the layers."""
    nodes = lower(layers)
    return Model(nodes, (), False, count(nodes))


def raw_outputs(model: Model, x: np.ndarray) -> list[np.ndarray]:
    """The head's maps in float64."""
    found = {node.name: y for node, y in walk(model, x, arithmetic="math")}
    return [found[name] for name in model.head.inputs]


def test_a_worked_example(tmp_path):
    """One convolution of six filters of 3 x 8 x 8 numbers: 20 + 4 * (6 + 6 * 192) bytes."""
    (tmp_path / "x.cfg").write_text(SMALL)
    numbers = np.arange(6 + 6 * 192, dtype="<f4")
    path = tmp_path / "x.weights"
    path.write_bytes(bytes(4) + b"\2\0\0\0" + bytes(12) + numbers.tobytes())
    model = load_model(path)
    assert [node.name for node in model.nodes] == ["layer.0.conv", "decode"]
    assert model.nodes[0].arrays["bias"].tolist() == [0, 1, 2, 3, 4, 5]
    assert model.nodes[0].arrays["weight"].shape == (6, 3, 8, 8)
    assert model.nodes[0].arrays["weight"][0, 0, 0, :2].tolist() == [6, 7]
    assert model.head.attributes == {"strides": (8,)}
    assert model.head.arrays["anchors"].tolist() == [[[10, 20]]]
    assert model.counts == Counts(6 * 192, 6, 6, 0, 0)
    assert (model.class_names, model.source["eps"]) == (("class 0",), "1e-05")


@pytest.mark.parametrize("name", PUBLISHED)
def test_sections_and_numbers_are_those_of_the_published_files(name):
    layers = layers_of(ARCHITECTURES[name], 1.0, 80, False, shape_only)
    if name == "yolov7":  # its RepConvs would be folded, number by number
        layers = [replace(x, module=plain(x.module)) for x in layers]
    sections = parse(cfg_of(files(layers)).encode())
    kinds = Counter(section.kind for section in sections)
    found = [kinds[kind] for kind in ("convolutional", "route", "maxpool", "upsample", "yolo")]
    assert (*found, outline_of(sections).numbers) == PUBLISHED[name]


def plain(module):
    """A RepConv's dense branch as a Conv."""
    if module.kind != "RepConv":
        return module
    dense = module.children["rbr_dense"].children
    parts = {"conv": dense["0"], "bn": dense["1"], "act": module.children["act"]}
    return replace(module, kind="Conv", children=parts)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("head", ("Detect", "IDetect"))
def test_raw_outputs_are_those_of_the_checkpoint(tmp_path, name, head):
    """The statistics are PyTorch's, for eps = 1e-3. Folded branches and implicit layers were
    rounded to float32: 2**-24 relative per weight, amplified along a hundred layers."""
    layers = network(name, head=head)
    reverse = name == "yolov7-tiny"
    path = write(tmp_path / "x", files(layers, 1e-3, reverse=reverse))
    x = np.random.default_rng(0).random((1, 3, 64, 96))
    found = raw_outputs(load_model(path, fold=False, eps=1e-3), x)
    expected = raw_outputs(model_of(layers), x)
    exact = name != "yolov7" and head == "Detect"  # then all numbers are the checkpoint's
    for a, b in zip(found, expected, strict=True):
        scale = np.abs(b).max()
        assert np.abs(a - b).max() <= (1e-12 if exact else 1e-5) * scale
    wrong = raw_outputs(load_model(path, fold=False), x)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(wrong, expected, strict=True))


@pytest.mark.parametrize("name", ("yolov7x", "yolov7-tiny"))
def test_every_number_is_kept_where_nothing_is_folded(tmp_path, name):
    """Convolution by convolution, in the order of the file, as the checkpoint's fold has them."""
    layers = network(name)
    model = load_model(write(tmp_path / "x", files(layers, 1e-3)), eps=1e-3)
    expected = fold(model_of(layers)).nodes
    arrays = [node.arrays for node in expected if node.op == "conv"]
    keys = sorted(
        np.float32(a["weight"]).tobytes() + np.float32(a["bias"]).tobytes() for a in arrays
    )
    found = [node.arrays for node in model.nodes if node.op == "conv"]
    assert keys == sorted(a["weight"].tobytes() + a["bias"].tobytes() for a in found)


def test_activations_have_several_spellings(tmp_path):
    layers = network("yolov7x")
    models = [
        load_model(write(tmp_path / "x", files(layers, activation=last, silu=silu), long=long))
        for last, silu, long in (
            ("linear", "silu", True),
            ("logistic", "silu", False),
            ("linear", "swish", True),
        )
    ]
    for model in models[1:]:
        for a, b in zip(model.nodes, models[0].nodes, strict=True):
            assert (a.name, a.op, a.inputs) == (b.name, b.op, b.inputs)
            assert a.attributes == b.attributes
            assert all(np.array_equal(v, b.arrays[k]) for k, v in a.arrays.items())


def test_the_default_eps_is_darknets_and_matters(tmp_path):
    layers = network("yolov7-tiny")
    path = write(tmp_path / "x", files(layers))
    weights = [load_model(path, eps=e).nodes[0].arrays["weight"] for e in (None, 1e-5, 1e-3)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    for eps in (0.0, 1.0, -1e-5, float("nan")):
        with pytest.raises(BadInput, match=r"eps=.*choose a number between 0 and 1"):
            load_model(path, eps=eps)


def test_either_file_may_be_named(tmp_path):
    path = write(tmp_path / "x", files(network("yolov7-tiny", classes=5)))
    models = load_model(path), load_model(tmp_path / "x.cfg")
    assert models[0].source == models[1].source
    assert len(models[0].class_names) == 5


def test_keys_that_matter_to_training_are_passed_over():
    text = SMALL.replace("mask=0", TRAINING + "mask = 0")
    assert outline_of(parse(text.encode())).levels[0].anchors == [[10, 20]]
    assert parse(b"\xef\xbb\xbf;c\r\n" + SMALL.replace("\n", "\r\n").encode())


def lies(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new)


HEAD = bytes(4) + b"\2\0\0\0" + bytes(12)  # version 0.2
CONV = "[convolutional]\nfilters=6\nsize=8\nstride=8\n"
WRONG = {
    "no section": ("filters=3\n", "is no key=value"),
    "no [net]": (CONV + CONV, r"does not begin with \[net\]"),
    "[net] alone": (NET, r"does not begin with \[net\]"),
    "nothing": ("", r"does not begin with \[net\]"),
    "binary": (b"\xff\xfe\x00", "it is no text"),
    "no equals": (lies("size=8", "size"), "'size' is no key=value"),
    "four channels": (lies("channels=3", "channels=4"), "channels=4: only 3"),
    "an unknown layer": (lies("[yolo]", "[shortcut]"), "this layer is not known"),
    "an unknown key": (lies("size=8", "size=8\nxnor=1"), "the key 'xnor' is not known"),
    "groups": (lies("size=8", "size=8\ngroups=2"), "groups=2: only 1"),
    "a huge number": (lies("filters=6", "filters=" + "9" * 5000), "not a whole number"),
    "negative filters": (lies("filters=6", "filters=-6"), "filters=-6, not a whole number"),
    "a fraction": (lies("filters=6", "filters=6.5"), "filters=6.5, not a whole number"),
    "no filters": (lies("filters=6\n", ""), r"filters=\(absent\)"),
    "an activation": (lies("activation=linear", "activation=mish"), "activation=mish, not"),
    "silu before yolo": (lies("=linear", "=silu"), "neither linear nor logistic"),
    "too many strides": (
        lies("stride=8", "stride=64").replace(
            "[yolo]", "[convolutional]\nfilters=6\nsize=1\nstride=64\n[yolo]"
        ),
        "at stride 4096",
    ),
    "an old head": (lies("new_coords=1\n", ""), "older head"),
    "another scale": (lies("scale_x_y=2.0", "scale_x_y=1.05"), "scale_x_y=1.05: only 2"),
    "a mask beyond the anchors": (lies("mask=0", "mask=1"), "do not fit together"),
    "a negative mask": (lies("mask=0", "mask=-1"), "do not fit together"),
    "half an anchor": (lies("10,20", "10"), "do not fit together"),
    "anchors of text": (lies("10,20", "10,x"), "not up to 128 numbers"),
    "no anchors": (lies("anchors=10,20\n", ""), r"anchors=\(absent\)"),
    "another class count": (
        lies("classes=1", "classes=2"),
        r"6 filters instead of 1 x \(5 \+ 2\)",
    ),
    "no yolo layer": (SMALL[: SMALL.index("[yolo]")], "no yolo layers"),
    "two yolo layers of one stride": (SMALL + SMALL[SMALL.index("[yolo]") :], "the same stride"),
    "a route forwards": (lies("[yolo]", "[route]\nlayers=1\n[yolo]"), "1 is no layer before it"),
    "a route to itself": (lies("[yolo]", "[route]\nlayers=-2\n[yolo]"), "-2 is no layer before"),
    "a route of nothing": (lies("[yolo]", "[route]\nlayers=\n[yolo]"), "whole numbers"),
    "an endless route": (
        lies("[yolo]", "[route]\nlayers=" + ",".join(["-1"] * 65) + "\n[yolo]"),
        "whole numbers",
    ),
    "a pool of three and two": (
        lies("[yolo]", "[maxpool]\nsize=3\nstride=2\n[yolo]"),
        "only 2 and",
    ),
    "a padded pool": (lies("[yolo]", "[maxpool]\nsize=3\npadding=0\n[yolo]"), "padding=0: only 2"),
    "beyond the image": (lies("[yolo]", "[upsample]\nstride=16\n[yolo]"), "beyond the image"),
    "too many channels": (
        lies(
            "[yolo]",
            "[route]\nlayers="
            + ",".join(["-1"] * 64)
            + "\n"
            + 2 * ("[route]\nlayers=" + ",".join(["-1"] * 64) + "\n")
            + "[yolo]",
        ),
        "channels at stride",
    ),
    "a window that does not divide": (lies("padding=0", "padding=9"), "do not divide the map"),
    "a megabyte": (SMALL + "#" * 2**20, "bytes are more than"),
    "many sections": (NET + "[route]\nlayers=-1\n" * 2001, "no key=value|more than 2000"),
    "many empty sections": (NET + "[route]\n" * 2001, "more than 2000 sections"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_cfg_that_is_not_understood_is_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "x.cfg").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "x.weights").write_bytes(HEAD + bytes(4 * 1158))
    with pytest.raises(BadInput, match=words) as caught:
        load_model(tmp_path / "x.cfg")
    assert str(caught.value).startswith(f"{tmp_path / 'x'}.")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


LENGTHS = {
    "nothing": (b"", "0 bytes are no header"),
    "half a header": (HEAD[:15], "15 bytes are no header"),
    "a byte less": (HEAD + bytes(4 * 1158 - 1), "it has 4651 bytes, 4652 are those of the cfg"),
    "a byte more": (HEAD + bytes(4 * 1158 + 1), "more than 4652 bytes"),
    "a short header": (bytes(20) + bytes(4 * 1158), "4648 are those of the cfg"),
    "another version": (b"\xff\xff\xff\x7f" + bytes(4 * 1158 + 16), "version 2147483647.0"),
}


@pytest.mark.parametrize(("data", "words"), LENGTHS.values(), ids=LENGTHS.keys())
def test_a_weights_file_of_another_length_is_refused(tmp_path, data, words):
    (tmp_path / "x.cfg").write_text(SMALL)
    (tmp_path / "x.weights").write_bytes(data)
    with pytest.raises(BadInput, match=words):
        load_model(tmp_path / "x.cfg")


def test_a_negative_variance_is_refused_by_the_layer(tmp_path):
    made = files(network("yolov7-tiny"))
    made.numbers[3] = -made.numbers[3]
    with pytest.raises(BadInput, match=r"layer\.0\.bn: a variance is negative"):
        load_model(write(tmp_path / "x", made))


def test_files_that_are_not_there_are_told(tmp_path):
    path = write(tmp_path / "x", files(network("yolov7-tiny")))
    os.remove(tmp_path / "x.cfg")
    with pytest.raises(BadInput, match=r"x\.cfg: does not exist: NAME.cfg and NAME.weights"):
        load_model(path)
    with pytest.raises(BadInput, match=r"cannot be read \(File name too long\)"):
        darknet.bytes_of(tmp_path / ("x" * 300), 1)
