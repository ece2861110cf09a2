"""Checkpoints that the public training code wrote, against what its implementation computes.

Beside each of the seven there is its input and its output, in float32 and in float64: decoded
predictions (`pred`), and the head's raw maps (`raw0` ..., (N, A, H, W, E); a convolution of ours
gives (N, A*E, H, W)). Errors are rms over all predictions, or over the raw maps together.
"""

import math
from pathlib import Path

import numpy as np
import pytest

from refquant.engine.walk import walk
from refquant.formats.torch.archive import open_archive, read_member
from refquant.formats.torch.checkpoint import read
from refquant.formats.torch.globals import load, resolve
from refquant.formats.torch.layers import chain_of
from refquant.formats.torch.unpickle import unpickle
from refquant.graph.architecture import build

NAMES = (
    "yolov7-deploy-w8",
    "yolov7-training-w8",
    "yolov7-tiny-deploy-w4",
    "yolov7-tiny-training-w4",
    "yolov7-w6-deploy-w8",
    "yolov7-w6-training-w8",
    "yolov7-e6-deploy-w8",
)
# Boxes are up to 700 pixels, float64 has 53 bits, and sums of a few thousand products along a
# hundred layers amplify what is rounded: two right implementations differ by 1e-11 pixels.
LIMIT_64 = 1e-9
LIMIT_32, LIMIT_32_MEAN = 1.25, 1.0  # rms errors relative to those of the public float32


def paths(real: Path, name: str) -> tuple[Path, dict[str, np.ndarray]]:
    """The checkpoint, and the arrays beside it."""
    with np.load(real / "checkpoints" / f"{name}.npz") as arrays:
        return real / "checkpoints" / f"{name}.pt", dict(arrays)


def outputs(model, x: np.ndarray, arithmetic: str) -> dict[str, np.ndarray]:
    """{"pred": predictions, "raw0": ...} in the layout of the public code."""
    found = {node.name: y for node, y in walk(model, x, arithmetic=arithmetic)}
    result = {"pred": found[model.head.name]}
    anchors = model.head.arrays["anchors"].shape[1]
    for level, name in enumerate(model.head.inputs):
        n, channels, height, width = found[name].shape
        raw = found[name].reshape(n, anchors, channels // anchors, height, width)
        result[f"raw{level}"] = raw.transpose(0, 1, 3, 4, 2)
    return result


def furthest(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """The largest difference to the public float64; NaN and a missing level count as infinite."""
    keys = {key.removesuffix("_f64") for key in expected if key.endswith("_f64")}
    if set(found) != keys:
        return math.inf
    errors = [np.abs(found[key] - expected[f"{key}_f64"]).max() for key in keys]
    return math.inf if np.isnan(errors).any() else max(errors)


def rms_error(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], kind: str) -> float:
    """rms over all numbers of the kind, "pred" or "raw", against the public float64."""
    keys = [key for key in found if key.startswith(kind)]
    squares = [np.square(found[key] - expected[f"{key}_f64"], dtype=np.float64) for key in keys]
    return math.sqrt(sum(s.sum() for s in squares) / sum(s.size for s in squares))


@pytest.mark.parametrize("fold", (True, False), ids=("folded", "unfolded"))
@pytest.mark.parametrize("name", NAMES)
def test_float64_is_the_public_implementations(real, name, fold):
    path, expected = paths(real, name)
    found = outputs(read(path, fold=fold, dtype=np.float64), expected["x"], "math")
    assert furthest(found, expected) <= LIMIT_64


def test_the_comparison_notices_what_is_wrong(real):
    path, expected = paths(real, "yolov7-tiny-training-w4")
    model = read(path, dtype=np.float64)
    found = outputs(model, expected["x"], "math")
    swapped = {**found, "raw0": found["raw0"][:, ::-1]}
    for wrong in (
        {**found, "pred": found["pred"] * (1 + 1e-11)},
        {**found, "pred": found["pred"] * np.nan},
        {**found, "pred": found["pred"] * 0},
        {key: value for key, value in found.items() if key != "raw2"},
        swapped,
        outputs(model, expected["x"][:, ::-1], "math"),
    ):
        assert furthest(wrong, expected) > LIMIT_64


def ratios(real: Path, kind: str) -> dict[str, float]:
    """Per checkpoint: our float32 error over that of the public float32."""
    result = {}
    for name in NAMES:
        path, expected = paths(real, name)
        found = outputs(read(path), expected["x"], "fast")
        public = {key: expected[key] for key in found}
        result[name] = rms_error(found, expected, kind) / rms_error(public, expected, kind)
    return result


@pytest.mark.parametrize("kind", ("pred", "raw"))
def test_float32_is_as_accurate_as_the_public_float32(real, kind):
    found = ratios(real, kind)
    assert max(found.values()) <= LIMIT_32, found
    assert math.prod(found.values()) ** (1 / len(found)) <= LIMIT_32_MEAN, found


@pytest.mark.parametrize(
    ("name", "architecture", "width", "implicit"),
    (
        ("yolov7-deploy-w8", "yolov7", 0.125, False),
        ("yolov7-training-w8", "yolov7", 0.125, True),
        ("yolov7-tiny-deploy-w4", "yolov7-tiny", 0.25, False),
        ("yolov7-tiny-training-w4", "yolov7-tiny", 0.25, True),
        ("yolov7-w6-deploy-w8", "yolov7-w6", 0.125, False),
        ("yolov7-w6-training-w8", "yolov7-w6", 0.125, True),
        ("yolov7-e6-deploy-w8", "yolov7-e6", 0.125, False),
    ),
)
@pytest.mark.parametrize("fold", (True, False), ids=("folded", "unfolded"))
def test_the_graph_of_the_file_is_that_of_the_table(
    real, name, architecture, width, implicit, fold
):
    path, _ = paths(real, name)
    found = read(path, fold=fold)
    table = build(architecture, width, implicit=implicit, auxiliary=implicit, folded=fold)
    for node, other in zip(found.nodes, table.nodes, strict=True):
        assert (node.name, node.op, node.inputs) == (other.name, other.op, other.inputs)
        assert dict(node.attributes) == dict(other.attributes)
        shapes = [{key: a.shape for key, a in n.arrays.items()} for n in (node, other)]
        assert shapes[0] == shapes[1]
    assert np.array_equal(found.head.arrays["anchors"], table.head.arrays["anchors"])
    assert found.counts == table.counts


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_counted_as_the_training_code_counts_them(real, name):
    """Every layer carries its count `np`; auxiliary layers and heads are not in the graph."""
    path, _ = paths(real, name)
    with open_archive(path) as archive:
        value, _ = unpickle(read_member(archive, "data.pkl"), resolve, load)
    layers = chain_of(value["model"])
    expected = sum(layer.attributes["np"] for layer in layers)
    if layers[-1].kind == "IAuxDetect":
        levels = layers[-1].attributes["nl"]
        auxiliary = layers[-1 - levels : -1]
        expected -= sum(layer.attributes["np"] for layer in auxiliary)
        outputs = layers[-1].attributes["no"] * layers[-1].attributes["na"]
        # A 3x3 convolution and a batch norm of c filters have 9 * inputs * c + 2 * c parameters.
        channels = [conv_of(layer).attributes["out_channels"] for layer in auxiliary]
        expected -= sum(outputs * c + outputs for c in channels)
    assert read(path).counts.parameters == expected


def conv_of(layer):
    """The Conv2d object of a Conv object."""
    return layer.attributes["_modules"]["conv"]


# The published parameter counts of YOLOv5 v6.0 (its README): 1.9 and 7.2 million; here exactly, as
# the files' own layers count them.
@pytest.mark.parametrize("size", ("n", "s"))
def test_yolov5_is_read(real, size):
    path = real / "weights" / f"yolov5{size}_v6.0.pt"
    found = read(path)
    with open_archive(path) as archive:
        value, _ = unpickle(read_member(archive, "data.pkl"), resolve, load)
    expected = sum(layer.attributes["np"] for layer in chain_of(value["model"]))
    assert found.counts.parameters == expected
    assert round(expected / 1e6, 1) == {"n": 1.9, "s": 7.2}[size]
    assert len(found.class_names) == 80
    assert found.class_names[:3] == ("person", "bicycle", "car")
    assert found.head.attributes["strides"] == (8, 16, 32)
    pixels = [[10, 13], [16, 30], [33, 23]]  # the smallest anchors, the same as YOLOv7-tiny's
    assert found.head.arrays["anchors"][0].tolist() == pixels
    x = np.random.default_rng(0).random((1, 3, 64, 96), dtype=np.float32)
    *_, (_, predictions) = walk(found, x)
    assert predictions.shape == (1, 3 * (8 * 12 + 4 * 6 + 2 * 3), 85)
