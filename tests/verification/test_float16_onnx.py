"""ONNX models in float16, or partly so: every output is found, whatever type and name it has."""

import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.graph.architecture import build
from refquant.verification.declared import Declared
from refquant.verification.golden.record import record_golden
from refquant.verification.verify import verify

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
FLOAT, HALF = 1, 10  # onnx.TensorProto's numbers


@pytest.fixture(scope="module")
def model():
    return build("yolov7-tiny", 1 / 8, classes=2)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, 64, 64), np.float32)


@pytest.fixture(scope="module")
def golden(model, x, tmp_path_factory):
    path = tmp_path_factory.mktemp("golden") / "g.h5"
    record_golden(model, x, path)
    return path


def exported(model, x):
    from refquant.formats.onnx.export import onnx_model

    return onnx_model(model, x.shape)


def narrowed(model, x):
    """All weights in float16, but for the scales of Resize, which ONNX wants as float32."""
    whole = exported(model, x)
    for item in whole.graph.initializer:
        if item.data_type == FLOAT and not item.name.endswith(".scale"):
            array = onnx.numpy_helper.to_array(item).astype(np.float16)
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    return whole


def with_casts(whole, ends: int):
    """A Cast behind the input and one before the output, which are of type `ends` outside."""
    graph = whole.graph
    given, last = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        node.input[:] = ["cast input" if name == given else name for name in node.input]
        node.output[:] = ["raw output" if name == last else name for name in node.output]
    graph.node.insert(0, onnx.helper.make_node("Cast", [given], ["cast input"], to=HALF))
    graph.node.append(onnx.helper.make_node("Cast", ["raw output"], ["output0"], to=ends))
    graph.output[0].name = "output0"
    graph.output[0].type.tensor_type.elem_type = ends
    return whole


def without_names(whole):
    """Every value but the ends with a name that says nothing."""
    ends = {whole.graph.input[0].name, whole.graph.output[0].name}
    weights = {item.name for item in whole.graph.initializer}
    new: dict[str, str] = {name: name for name in {"", *ends, *weights}}
    for node in whole.graph.node:
        for names in (node.input, node.output):
            names[:] = [new.setdefault(name, f"t{len(new)}") for name in names]
    return whole


def judged(golden, tmp_path, whole, **options):
    onnx.save(whole, tmp_path / "m.onnx")
    return verify(golden, tmp_path / "m.onnx", blame=False, **options)


def test_a_model_in_float16_is_right_where_that_is_declared(model, x, golden, tmp_path):
    whole = narrowed(model, x)
    for item in (*whole.graph.input, *whole.graph.output):
        item.type.tensor_type.elem_type = HALF
    report = judged(golden, tmp_path, whole, declared=Declared(storage="float16"))
    assert {row["dtype"] for row in report.rows} == {"float16"}
    assert "wrong" not in {row["verdict"] for row in report.rows}
    assert judged(golden, tmp_path, whole).verdict == "wrong"


def test_casts_at_both_ends_hide_no_output(model, x, golden, tmp_path):
    whole = without_names(with_casts(narrowed(model, x), FLOAT))
    report = judged(golden, tmp_path, whole, declared=Declared(storage="float16"))
    last = report.rows[-1]
    assert (last["tensor"], last["mapped_by"], last["dtype"]) == ("output0", "shape", "float32")
    assert last["verdict"] != "wrong"


@pytest.mark.parametrize("named", [True, False])
def test_predictions_that_are_cast_to_float16_are_found(model, x, golden, tmp_path, named):
    whole, last = exported(model, x), model.nodes[-1].name
    whole.graph.node.append(onnx.helper.make_node("Cast", [last], ["output0"], to=HALF))
    whole.graph.output[0].name = "output0"
    whole.graph.output[0].type.tensor_type.elem_type = HALF
    report = judged(golden, tmp_path, whole if named else without_names(whole))
    row = report.rows[-1]
    assert row["tensor"] == (last if named else "output0")
    assert row["dtype"] == ("float32" if named else "float16")
    assert report.verdict == ("consistent" if named else "implausible")


def test_a_cast_of_nothing_is_bad_input(model, x, golden, tmp_path):
    for ends in ((["images"], []), ([], ["y"])):
        whole = exported(model, x)
        whole.graph.node.append(onnx.helper.make_node("Cast", *ends, to=HALF))
        with pytest.raises(BadInput, match="does not run in onnxruntime"):
            judged(golden, tmp_path, whole)
