"""The catalogue of causes: each is named where it is, and nothing else gets a name."""

import numpy as np
import pytest
from faulty_ports import (
    ANCHORS,
    CASES,
    IMAGE,
    LEVELS,
    B,
    W,
    X,
    conv,
    input_cases,
    mixed,
    numbers,
    port,
    run,
)

from refquant.graph.graph import Node
from refquant.verification.blame.catalogue import CAUSES, explain
from refquant.verification.blame.input_causes import OTHERWISE, STRETCHED, explain_input
from refquant.verification.declared import Declared
from refquant.verification.enclosed import given

PLAIN = Declared()


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_the_cause_is_named(case):
    name, node, inputs, found = case
    assert explain(node, [given(x) for x in inputs], found, PLAIN) == name


def test_every_cause_of_the_catalogue_has_a_case():
    assert {cause.name for cause in CAUSES} == {case[0] for case in CASES}


def test_what_no_port_does_to_predictions_stays_unknown():
    decode = Node("d", "decode", ("a", "b"), {"strides": (8, 16)}, {"anchors": ANCHORS})
    right = port()
    assert explain(decode, [given(x) for x in LEVELS], right * np.float32(1.001), PLAIN) is None
    for place in (np.s_[0, 7, 2], np.s_[0, 7], np.s_[..., 5], np.s_[:, :9]):
        found = right.copy()
        found[place] = found[place] * np.float32(0.99)
        assert explain(decode, [given(x) for x in LEVELS], found, PLAIN) is None
    for found in (right[:, ::-1], right[..., ::-1], 0 * right + 1, mixed(right, right / 2)):
        assert explain(decode, [given(x) for x in LEVELS], found.copy(), PLAIN) is None


def test_a_wrong_input_tensor_is_explained():
    for name, image in input_cases():
        assert explain_input(image, IMAGE) == name
    assert explain_input(IMAGE[:, [1, 0, 2]], IMAGE) is None


def photo(height=48, width=64) -> np.ndarray:
    """(height, width, 3) uint8: a smooth picture, with an edge."""
    rows, columns = np.mgrid[:height, :width]
    planes = [np.sin(rows / 9) + columns / 30, np.cos(columns / 11), (rows > 20) + 0.0]
    shades = np.stack([127 + 60 * p / abs(p).max() for p in planes], axis=-1)
    return np.rint(shades).clip(0, 255).astype(np.uint8)


def letterboxed(image: np.ndarray, size=64) -> np.ndarray:
    canvas = np.full((size, size, 3), 114, np.uint8)
    top = (size - image.shape[0]) // 2
    canvas[top : top + image.shape[0]] = image
    return canvas.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


def test_a_picture_in_another_place_or_size_is_told_apart():
    image = photo()
    x, inside = letterboxed(image), letterboxed(image)[:, :, 8:56]
    other = np.asarray(image, np.float32)
    other[1:-1, 1:-1] = (other[:-2, 1:-1] + 3 * other[1:-1, 1:-1]) / 4  # a quarter pixel off
    tall = np.rint(255 * np.repeat(inside, 4, 2)[:, :, ::3]) / 255  # 48 rows to 64, nearest
    assert explain_input(letterboxed(np.rint(other).astype(np.uint8)), x) == OTHERWISE
    assert explain_input(tall.astype(np.float32), x) == STRETCHED
    assert explain_input(np.roll(x, -8, axis=2), x) == "letterbox on one side"
    assert explain_input(np.roll(x, 8, axis=2), x) == "letterbox on one side"


def test_what_is_no_picture_of_the_same_is_not_told():
    x = letterboxed(photo())
    one = x.copy()
    one[0, 0, 20, 20] += np.float32(50 / 255)
    noise = x + numbers(x.shape, 3) * np.float32(0.01)
    others = np.rint(255 * np.random.default_rng(0).random(x.shape)).astype(np.float32) / 255
    for found in (one, noise, others, np.clip(x, 0, 0.5), letterboxed(photo()[::-1])[..., ::-1]):
        assert explain_input(found.astype(np.float32), x) is None


def nameless():
    """Faults that are no usual mistake: (what, node, faulty output)."""
    right = conv()
    weight = W.copy()
    weight[3, 2, 1, 1] *= 1.5
    yield "one weight", right, run(conv(weight), X)
    y = run(right, X)
    for what, place in (
        ("element", (0, 2, 3, 4)),
        ("row", np.s_[0, :, 3]),
        ("channel", np.s_[0, 5]),
    ):
        z = y.copy()
        z[place] += 0.01
        yield what, right, z
    yield "scaled", right, y * np.float32(1.01)
    yield "noise", right, y + numbers(y.shape, 11) * np.float32(1e-3)
    yield "zeros", right, np.zeros_like(y)
    yield "NaN", right, np.full_like(y, np.nan)
    drop = W.copy()
    drop[:, 3] = 0
    yield "an input channel", right, run(conv(drop), X)
    bias = B.copy()
    bias[2] += 1
    yield "one bias", right, run(conv(bias=bias), X)
    gains = np.linspace(0.5, 2, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    yield "gains of the filters", right, run(conv(W * gains), X)
    yield "a constant map", right, np.full_like(y, 0.25)
    yield "a constant per channel", right, np.broadcast_to(y[:, :, 3:4, 3:4], y.shape).copy()
    yield "clipped at 1", right, np.minimum(y, 1)
    head = conv(activation="linear")
    yield "a constant head", head, np.full_like(y, 0.25)
    yield "gains at a head", head, run(conv(W * gains, activation="linear"), X)
    yield "one gain at a head", head, 2 * run(head, X)
    folded = conv(activation="linear", bias_magnitude=1.1 * abs(B))
    yield "a constant at a head", folded, run(folded, X) + np.float32(0.5)
    yield "fixed point", right, np.floor(64 * y) / 64
    yield "one gain of the filters", right, run(conv(W * np.float32(1.01)), X)
    fused = conv(W, weight_magnitude=2 * abs(W))
    yield "gains of a RepConv", fused, run(conv(W * gains), X)
    yield "weights with noise", right, run(conv(W * (1 + numbers(W.shape, 12) / 100)), X)


@pytest.mark.parametrize("case", list(nameless()), ids=lambda case: case[0])
def test_what_is_no_usual_mistake_stays_unknown(case):
    _, node, found = case
    assert explain(node, [given(X)], found, PLAIN) is None
