"""HDF5 files from strangers: JSON, graphs and codes that do not make a model."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hostile_hdf5 import (
    Change,
    changed,
    extra,
    message,
    set_array,
    set_json,
    set_quantized,
    set_text,
)
from small_model import DECODE, HEAD, JOINED, STEM, quantized, small_model

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model, save_model
from refquant.graph.graph import Model, Node
from refquant.quant.recipe import quantize_model, uniform

# JSON


JSON: dict[str, tuple[bytes, str]] = {
    "NaN": (b'{"x":NaN}', "NaN is not a number of JSON"),
    "Infinity": (b'{"x":-Infinity}', "-Infinity is not a number of JSON"),
    "a number beyond float64": (b'{"x":1e999}', "1e999 is too large"),
    "a long whole number": (b'{"x":' + b"9" * 5000 + b"}", "is too large"),
    "a key twice": (b'{"op":"conv","op":"add"}', "a key occurs twice"),
    "deep nesting": (b"[" * 500_000, "is not JSON as refquant reads it"),
    "a list": (b"[]", "is not of type dict"),
    "half of it": (b'{"op":', "is not JSON as refquant reads it"),
    "nothing": (b" ", "is not JSON as refquant reads it"),
    "other characters": ('{"op":"é"}'.encode(), "is not JSON as refquant reads it"),
    "no keys": (b"{}", "has the keys"),
}


@pytest.mark.parametrize("case", JSON)
def test_json_that_has_no_one_meaning_is_refused(case, tmp_path):
    text, expected = JSON[case]
    path = changed(tmp_path, small_model(), lambda file: set_text(file[STEM], text), fit=True)
    assert f": {STEM}: " in message(path) and expected in message(path)


def node(name: str, **changes: Any) -> Change:
    return lambda file: set_json(file[name], **changes)


def root(**changes: Any) -> Change:
    return lambda file: set_json(file, **changes)


CONV = {"stride": 8, "padding": 0, "activation": "silu"}
COUNTS = {"weights": 1, "filters": 1, "biases": 1, "norm_channels": 0, "implicit": 0}
NODES: dict[str, tuple[Change, str]] = {
    "a missing key": (node(STEM, op=None), f"{STEM}: has the keys"),
    "a key too many": (node(STEM, run="rm"), f"{STEM}: has the keys"),
    "an index that is no number": (node(STEM, index=True), "index: True is not of type int"),
    "an index twice": (node(STEM, index=1), "the indices of the nodes are not 0, 1, 2"),
    "an index too high": (node(DECODE, index=9), "the indices of the nodes are not 0, 1, 2"),
    "an unknown operation": (node(STEM, op="eval"), "operation 'eval' is not known"),
    "an operation of no name": (node(STEM, op=7), "op: 7 is not of type str"),
    "no inputs": (node(STEM, inputs=[]), "takes 0 inputs instead of 1"),
    "two inputs": (node(STEM, inputs=["images"] * 2), "takes 2 inputs instead of 1"),
    "an unknown input": (node(STEM, inputs=["x"]), "takes 'x', which no node before it"),
    "a later input": (node(STEM, inputs=[HEAD]), "which no node before it gives"),
    "its own output": (node(JOINED, inputs=[JOINED]), "which no node before it gives"),
    "an input that is no name": (node(STEM, inputs=[1]), "1 is not of type str"),
    "an unknown attribute": (node(STEM, attributes={**CONV, "x": 1}), "should be stride, padding"),
    "a missing attribute": (node(STEM, attributes={"stride": 8}), "should be stride, padding"),
    "a stride of 0": (node(STEM, attributes={**CONV, "stride": 0}), "a whole number 1..64"),
    "a stride of 1.0": (node(STEM, attributes={**CONV, "stride": 8.0}), "a whole number 1..64"),
    "a stride of true": (node(STEM, attributes={**CONV, "stride": True}), "a whole number 1..64"),
    "a huge padding": (node(STEM, attributes={**CONV, "padding": 2**40}), "a whole number 0..64"),
    "an unknown activation": (node(STEM, attributes={**CONV, "activation": "relu"}), "linear or"),
    "an activation that is a list": (
        node(STEM, attributes={**CONV, "activation": ["silu"]}),
        "linear or silu",
    ),
    "no strides": (node(DECODE, attributes={"strides": []}), "powers of two"),
    "strange strides": (node(DECODE, attributes={"strides": [7]}), "powers of two"),
    "nested strides": (node(DECODE, attributes={"strides": [[8]]}), "powers of two"),
    "a window that does not divide": (
        node(STEM, attributes={**CONV, "padding": 9}),
        "kernel 8, stride 8, padding 9 do not divide the map",
    ),
    "another stride": (
        node(STEM, attributes={**CONV, "stride": 4, "padding": 2}),
        "has strides (8,), anchors for 1 levels and maps of strides (4,)",
    ),
    "a stride beyond the model's": (
        node(STEM, attributes={**CONV, "stride": 64, "padding": 0}),
        "a stride that divides 8",
    ),
    "no decode": (node(DECODE, op="concat", attributes={}), "does not fit op concat"),
    "a bias of another length": (
        set_array(f"{STEM}/bias", lambda x: x[:3]),
        "weight has F=4, elsewhere F=3",
    ),
    "a weight of three dimensions": (
        set_array(f"{STEM}/weight", lambda x: x[0]),
        "weight has shape (3, 8, 8), not (F, C, R, S)",
    ),
    "a weight of other channels": (
        set_array(f"{STEM}/weight", lambda x: x[:, :2]),
        f"{STEM}: has weights for 2 channels and is given 3",
    ),
    "a head of other channels": (
        set_array(f"{HEAD}/weight", lambda x: x[:, :7]),
        f"{HEAD}: has weights for 7 channels and is given 8",
    ),
    "whole numbers as a weight": (
        set_array(f"{STEM}/weight", lambda x: x.astype(np.int8)),
        "weight is int8: cast it",
    ),
    "anchors of three numbers": (
        set_array(f"{DECODE}/anchors", lambda x: np.zeros((1, 1, 3), "f4")),
        "anchors has 2=3, elsewhere 2=2",
    ),
    "anchors that do not divide the channels": (
        set_array(f"{DECODE}/anchors", lambda x: np.zeros((1, 4, 2), "f4")),
        "has 4 anchors and maps of [6] channels",
    ),
    "an array too many": (
        extra(data=np.zeros(4, "f4")),
        "has 'extra', which does not fit op conv",
    ),
    "an array too few": (lambda file: file[STEM].__delitem__("weight"), "lacks weight"),
    "an array of an operation that has none": (
        lambda file: file[JOINED].create_dataset("weight", data=np.zeros(4, "f4")),
        "has 'weight', which does not fit op concat",
    ),
    "class names of another number": (root(class_names=[]), "has 0 class names and a head of 6"),
    "a class name that is none": (root(class_names=[1]), "class_names: 1 is not of type str"),
    "another format": (root(format="onnx"), "is an HDF5 file, not one of refquant's"),
    "a later version": (root(format_version=2), "format_version is 2, known is 1"),
    "another arithmetic": (root(arithmetic="2"), "arithmetic is '2', known is 1"),
    "a root key too many": (root(x=1), "root: has the keys"),
    "a root key too few": (root(licence=None), "root: has the keys"),
    "other strides": (root(strides=[16]), "strides [16] are not those of the head"),
    "strides that are none": (root(strides=[{"a": "b"}]), "are not those of the head"),
    "counts below 0": (root(counts={**COUNTS, "biases": -1}), "counts are below 0"),
    "counts of other things": (root(counts={"x": 1}), "counts: has the keys x"),
    "fractions as counts": (root(counts={**COUNTS, "biases": 0.5}), "0.5 is not of type int"),
    "folded or not": (root(folded=1), "folded: 1 is not of type bool"),
    "a name that a terminal obeys": (root(class_names=["\x1b[2J"]), "'\\x1b[2J' (class name"),
    "a licence that does": (root(licence="\x07"), "'\\x07' (class name, licence or source)"),
    "a source that is no text": (root(source={"name": []}), "name: [] is not of type str"),
}


@pytest.mark.parametrize("case", NODES)
def test_graphs_that_cannot_run_are_refused(case, tmp_path):
    change, expected = NODES[case]
    assert expected in message(changed(tmp_path, small_model(), change, fit=True))


CODES = f"{STEM}/codes"
QUANTIZED: dict[str, tuple[Change, str]] = {
    "a key too many": (set_quantized(x=1), "has the keys"),
    "an unknown scheme": (set_quantized(scheme="magic"), "choose affine"),
    "another scheme": (set_quantized(scheme="symmetric"), "should be ['scale']"),
    "an endless scheme": (set_quantized(scheme="affine" + "+bc" * 10_000), "too long a name"),
    "an unknown granularity": (set_quantized(granularity="cell"), "choose layer"),
    "another granularity": (set_quantized(granularity="layer"), f"{STEM}: "),
    "bits beyond 8": (set_quantized(bits=9), "choose 2..8"),
    "bits of 0": (set_quantized(bits=0), "choose 2..8"),
    "other bits": (set_quantized(bits=3), "384 bytes are not 4 x 192 codes of 3 bits"),
    "code_bits of its own": (set_quantized(code_bits=5), "code_bits is 5 and must be 4"),
    "another rounding": (set_quantized(rounding="up"), "rounding is 'up' and must be"),
    "other rows": (set_quantized(rows=[1, 768]), "rows is [1, 768] and must be [4, 192]"),
    "other axes": (set_quantized(axes="C"), "axes is 'C' and must be 'F'"),
    "a shape of three sizes": (set_quantized(shape=[4, 3, 64]), "is not F, C, R, S"),
    "a shape with a 0": (set_quantized(shape=[4, 3, 8, 0]), "is not F, C, R, S"),
    "a negative shape": (set_quantized(shape=[-4, -3, 8, 8]), "is not F, C, R, S"),
    "a huge shape": (set_quantized(shape=[2**59, 2**59, 1, 1]), "of at most 3072 weights"),
    "a shape that is none": (set_quantized(shape=["4", 3, 8, 8]), "'4' is not of type int"),
    "codes too short": (set_array(CODES, lambda x: x[:-1]), "383 bytes are not 4 x 192 codes"),
    "codes too long": (set_array(CODES, lambda x: np.append(x, x)), "768 bytes are not"),
    "codes in rows": (set_array(CODES, lambda x: x.reshape(4, 96)), "should be one row of bytes"),
    "codes of 16 bits": (set_array(CODES, lambda x: x.view("u2")), "should be one row of bytes"),
    "no codes": (lambda file: file.__delitem__(CODES), "a quantized weight has codes"),
    "a weight too": (
        lambda file: file[STEM].create_dataset("weight", data=np.zeros((4, 3, 8, 8), "f4")),
        "a quantized weight has codes, and no weight beside them",
    ),
    "no scale": (lambda file: file.__delitem__(f"{STEM}/scale"), "params: ['zero_point'] should"),
    "a parameter too many": (extra(data=np.zeros((4, 1), "f4")), "should be ['scale', 'zero_"),
    "a scale too few": (set_array(f"{STEM}/scale", lambda x: x[:3]), "scale: float32 (3, 1)"),
    "a scale of 0": (set_array(f"{STEM}/scale", lambda x: x * 0), "not finite and positive"),
    "a scale of NaN": (set_array(f"{STEM}/scale", lambda x: x * np.nan), "not finite and posi"),
    "a zero point of float32": (
        set_array(f"{STEM}/zero_point", lambda x: x.astype("f4")),
        "zero_point: float32 (4, 1) should be uint8",
    ),
    "quantized, and no convolution": (
        lambda file: set_json(
            file[JOINED], quantized=json.loads(file[STEM].attrs["node"])["quantized"]
        ),
        "a quantized weight has codes",
    ),
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_codes_that_do_not_fit_their_description_are_refused(case, tmp_path):
    change, expected = QUANTIZED[case]
    assert expected in message(changed(tmp_path, quantized(), change, fit=True))


def test_bits_after_the_last_code_are_refused(tmp_path):
    # The head has 6 * 2 weights: 36 bits in 5 bytes.
    model = quantize_model(small_model(np.ones((1, 3, 8, 8), np.float32)), uniform(bits=3))
    change = set_array(f"{HEAD}/codes", lambda x: np.append(x[:-1], x[-1] | np.uint8(0x80)))
    assert "the bits after the last of 12 codes are not 0" in message(
        changed(tmp_path, model, change, fit=True)
    )


# Graphs that would not end or not fit into memory. `save_model` makes the same checks.


def refused(model: Model, tmp_path) -> str:
    with pytest.raises(BadInput) as error:
        save_model(model, tmp_path / "model.h5")
    assert list(tmp_path.iterdir()) == []
    return str(error.value)


def with_first(*nodes: Node) -> Model:
    """The small model with nodes before its own."""
    model = small_model()
    return model.with_nodes((*nodes, *model.nodes))


def test_channels_that_double_with_every_node_are_refused(tmp_path):
    names = ["images", *(f"double {i}" for i in range(20))]
    nodes = [Node(b, "concat", (a, a)) for a, b in pairwise(names)]
    assert "98304 channels" in refused(with_first(*nodes), tmp_path)


def test_maps_larger_than_the_image_are_refused(tmp_path):
    node = Node("up", "upsample", ("images",), {"scale": 64})
    assert "scales a map of stride 1 by 64, beyond the image" in refused(
        with_first(node), tmp_path
    )


def test_maps_of_different_strides_cannot_be_joined(tmp_path):
    half = Node("half", "max_pool", ("images",), {"kernel": 2, "stride": 2, "padding": 0})
    both = Node("both", "concat", ("half", "images"))
    assert "joins maps of strides" in refused(with_first(half, both), tmp_path)


def test_maps_of_different_channels_cannot_be_added(tmp_path):
    six = Node("six", "concat", ("images", "images"))
    total = Node("total", "add", ("six", "images"))
    assert "adds maps of 6 and 3 channels" in refused(with_first(six, total), tmp_path)


def test_channels_of_a_batch_norm_must_be_those_of_its_input(tmp_path):
    four = np.ones(4, np.float32)
    arrays = dict.fromkeys(("weight", "bias", "mean", "variance"), four)
    node = Node("bn", "batch_norm", ("images",), {"eps": 1e-3}, arrays)
    assert "has weights for 4 channels and is given 3" in refused(with_first(node), tmp_path)
    node = replace(node, attributes={"eps": 0.0})
    assert "eps=0.0: must be a number above 0" in refused(with_first(node), tmp_path)


def test_space_to_depth_and_upsampling_undo_each_others_stride(tmp_path):
    deep = Node("deep", "space_to_depth", ("images",))
    wide = Node("wide", "upsample", ("deep",), {"scale": 2})
    both = Node("both", "concat", ("wide", "images"))
    save_model(with_first(deep, wide, both), tmp_path / "model.h5")
    assert len(load_model(tmp_path / "model.h5").nodes) == 7


def test_a_name_twice_is_refused(tmp_path):
    model = small_model()
    assert "is a name that occurs twice" in refused(
        model.with_nodes((model.nodes[0], *model.nodes)), tmp_path
    )


def test_a_decode_must_be_the_last_and_only_one(tmp_path):
    model = small_model()
    assert "has 0 decode nodes" in refused(model.with_nodes(model.nodes[:-1]), tmp_path)
    second = replace(model.nodes[-1], name="second")
    assert "has 2 decode nodes" in refused(model.with_nodes((*model.nodes, second)), tmp_path)


def test_a_model_without_nodes_is_refused(tmp_path):
    assert "has 0 nodes, a model has 1 to 10000" in refused(small_model().with_nodes(()), tmp_path)
