"""Only the last output is given, or the head maps: the cause is named, by evidence."""

import numpy as np
import pytest

from refquant.engine.walk import run, walk
from refquant.graph.architecture import build
from refquant.verification.golden.record import record_golden
from refquant.verification.verify import verify


@pytest.fixture(scope="module")
def model():
    return build("yolov7-tiny", 1 / 8, classes=3)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    image = np.random.default_rng(3).random((1, 3, 64, 64), np.float32)
    image[:, :, :8] = image[:, :, 56:] = np.float32(114) / np.float32(255)
    return image


@pytest.fixture(scope="module")
def golden(model, x, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "g.h5"
    record_golden(model, x, path)
    return path


def judged(golden, tmp_path, arrays):
    np.savez(tmp_path / "other.npz", **arrays)
    return verify(golden, tmp_path / "other.npz")


INPUTS = {
    "BGR for RGB": lambda x: x[:, ::-1],
    "no division by 255": lambda x: x * np.float32(255),
    "division by 256": lambda x: x * np.float32(255 / 256),
    "scaled to -1..1: 2x - 1": lambda x: 2 * x - 1,
    "letterbox on one side": lambda x: np.roll(x, -8, axis=2),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_mistake_at_the_input_is_named_from_the_last_output(model, x, golden, tmp_path, name):
    last = model.nodes[-1].name
    found = run(model, np.ascontiguousarray(INPUTS[name](x)))
    report = judged(golden, tmp_path, {last: found})
    assert (report.verdict, report.decided_by, report.cause) == ("implausible", "evidence", name)
    assert report.first_wrong is None


def test_a_mistake_at_the_input_is_named_from_the_head_maps(model, x, golden, tmp_path):
    heads = model.nodes[-1].inputs
    outputs = {n.name: y for n, y in walk(model, np.ascontiguousarray(x[:, ::-1]))}
    report = judged(golden, tmp_path, {name: outputs[name] for name in heads})
    assert (report.verdict, report.cause) == ("implausible", "BGR for RGB")


def corners(p):
    half = p[..., 2:4] / 2
    return np.concatenate([p[..., :2] - half, p[..., :2] + half, p[..., 4:]], 2)


def divided(p):
    return np.concatenate([p[..., :4] / 64, p[..., 4:]], 2)


def multiplied(p):
    return np.concatenate([p[..., :5], p[..., 4:5] * p[..., 5:]], 2)


OUTPUTS = {
    "boxes as corners": corners,
    "boxes divided by the input size": divided,
    "boxes as corners, divided by the input size": lambda p: divided(corners(p)),
    "scores multiplied by objectness": multiplied,
    "confidences as logits": lambda p: np.concatenate(
        [p[..., :4], np.log(p[..., 4:] / (1 - p[..., 4:]))], 2
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_was_done_to_the_predictions_is_named_from_them_alone(
    model, x, golden, tmp_path, name
):
    found = OUTPUTS[name](run(model, x)).astype(np.float32)
    report = judged(golden, tmp_path, {model.nodes[-1].name: found})
    assert (report.verdict, report.cause) == ("implausible", name)


def test_what_no_port_does_stays_unknown_from_the_last_output(model, x, golden, tmp_path):
    last, right = model.nodes[-1].name, run(model, x)
    noise = np.random.default_rng(0).standard_normal(right.shape).astype(np.float32)
    for found in (right * np.float32(1.01), right + noise / 10, right[:, ::-1]):
        report = judged(golden, tmp_path, {last: found})
        assert (report.verdict, report.cause) == ("implausible", None)
    report = judged(golden, tmp_path, {last: right})
    assert (report.verdict, report.decided_by, report.cause) == ("consistent", "evidence", None)
    assert report.rows[-1]["evidence"]["says"] == "plausible"


def test_numbers_that_were_rounded_when_written_say_so(model, x, golden, tmp_path):
    found = run(model, x).astype(np.float16)
    report = judged(golden, tmp_path, {model.nodes[-1].name: found})
    assert "rounded to float16" in report.rows[-1]["note"]
