"""Exports: what onnxruntime computes from them is what we compute; codes decode to our bits."""

import json

import numpy as np
import pytest
from small_model import small_model
from zoo import write_zoo

from refquant.arrays.errors import BadInput
from refquant.cli.main import main
from refquant.engine.walk import walk
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.npz_export import export_npz
from refquant.formats.onnx.export import export_onnx, onnx_model
from refquant.graph.architecture import build
from refquant.graph.graph import array_of
from refquant.quant.recipe import quantize_model, uniform
from refquant.verification.golden.record import record_golden
from refquant.verification.verify import verify

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
GRANULARITIES = ("layer", "filter", "channel", "c-shape", "f-shape", "axes:F,R", "block-32")


def session_of(exported):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(exported.SerializeToString(), options)


def verified(model, tmp_path, shape):
    """The report of verify on the exported model, run by onnxruntime."""
    x = np.random.default_rng(3).random(shape, np.float32)
    record_golden(model, x, tmp_path / "g.h5")
    export_onnx(model, tmp_path / "m.onnx", shape=shape)
    return verify(tmp_path / "g.h5", tmp_path / "m.onnx")


def test_a_worked_example_keeps_names_and_says_its_opset():
    exported = onnx_model(small_model(), (1, 3, 16, 8))
    assert [item.version for item in exported.opset_import] == [17]
    names = {name for node in exported.graph.node for name in node.output}
    assert {node.name for node in small_model().nodes} <= names
    (y,) = exported.graph.output
    assert [d.dim_value for d in y.type.tensor_type.shape.dim] == [1, 2, 6]


@pytest.mark.parametrize("architecture", ["yolov7", "yolov7-tiny"])
@pytest.mark.parametrize("folded", [True, False])
def test_every_node_is_consistent_in_onnxruntime(architecture, folded, tmp_path):
    model = build(architecture, 1 / 8, classes=2, implicit=True, folded=folded)
    report = verified(model, tmp_path, (1, 3, 64, 64))
    assert report.verdict == "consistent"
    assert all(row["verdict"] == "consistent" for row in report.rows)


def test_every_module_is_consistent_in_onnxruntime(tmp_path):
    model = load_model(write_zoo(tmp_path / "zoo.pt"))
    report = verified(model, tmp_path, (2, 3, 64, 96))
    assert {row["verdict"] for row in report.rows} == {"consistent"}


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(("scheme", "bits"), [("affine", 4), ("symmetric", 8)])
def test_codes_decode_to_our_very_weights(granularity, scheme, bits):
    model = quantize_model(
        build("yolov7-tiny", 1 / 8, classes=2), uniform(scheme, granularity, bits)
    )
    exported = onnx_model(model, (1, 3, 32, 32))
    kinds = [node.op_type for node in exported.graph.node]
    convs = [node for node in model.nodes if node.op == "conv"]
    assert kinds.count("DequantizeLinear") == len(convs)
    names = [f"{node.name}.weight" for node in convs]
    exported.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found = session_of(exported).run(names, {"images": np.zeros((1, 3, 32, 32), np.float32)})
    for node, weight in zip(convs, found, strict=True):
        assert weight.tobytes() == array_of(node.arrays["weight"]).tobytes(), node.name
    small = {c.name: c for c in exported.graph.initializer}
    assert small[f"{names[0]}.codes"].data_type == onnx.TensorProto.UINT8


def test_a_quantized_export_is_consistent(tmp_path):
    model = quantize_model(build("yolov7-tiny", 1 / 8, classes=2), uniform("affine", "filter", 4))
    assert verified(model, tmp_path, (1, 3, 64, 64)).verdict == "consistent"


@pytest.mark.parametrize("scheme", ["pwlq", "lloyd-max", "power-of-two", "affine+bc"])
def test_what_onnx_cannot_express_is_refused_with_the_reason(scheme, tmp_path):
    model = quantize_model(small_model(), uniform(scheme, "filter", 4))
    with pytest.raises(BadInput, match=r"model\.2\.conv\.weight.*not scale"):
        export_onnx(model, tmp_path / "m.onnx", shape=(1, 3, 16, 16))
    assert not list(tmp_path.iterdir())


def test_a_changed_weight_in_the_graph_is_found(tmp_path):
    model = build("yolov7-tiny", 1 / 8, classes=2)
    x = np.random.default_rng(3).random((1, 3, 64, 64), np.float32)
    record_golden(model, x, tmp_path / "g.h5")
    exported = onnx_model(model, x.shape)
    for item in exported.graph.initializer:
        if item.name == "model.7.conv.weight":
            array = onnx.numpy_helper.to_array(item).copy()
            array[2, 1, 0, 0] *= 1.5
            item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    onnx.save(exported, str(tmp_path / "m.onnx"))
    report = verify(tmp_path / "g.h5", tmp_path / "m.onnx")
    assert report.first_wrong == "model.7.conv"
    wrong = [row["node"] for row in report.rows if row["verdict"] == "wrong"]
    assert wrong == ["model.7.conv"]


def test_an_input_of_another_size_is_bad_input(tmp_path):
    model = small_model()
    record_golden(model, np.zeros((1, 3, 16, 16), np.float32), tmp_path / "g.h5")
    export_onnx(model, tmp_path / "m.onnx", shape=(1, 3, 24, 16))
    with pytest.raises(BadInput, match="takes"):
        verify(tmp_path / "g.h5", tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07nonsense")
    with pytest.raises(BadInput, match=r"bad\.onnx"):
        verify(tmp_path / "g.h5", tmp_path / "bad.onnx")


def test_the_npz_holds_everything(tmp_path):
    model = quantize_model(small_model(), uniform("affine", "filter", 4))
    export_npz(model, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as arrays:
        index = json.loads(arrays["index.json"].tobytes())
        assert [node["name"] for node in index["nodes"]] == [node.name for node in model.nodes]
        node = model.nodes[0]
        codes = arrays[f"{node.name}.codes"].astype(np.float32)
        scale, zero_point = (arrays[f"{node.name}.{k}"] for k in ("scale", "zero_point"))
        decoded = scale[:, :, None, None] * (codes - zero_point[:, :, None, None])
        assert np.array_equal(decoded, node.arrays["weight"].dequantize())
        assert np.array_equal(arrays[f"{node.name}.bias"], node.arrays["bias"])


def test_the_verb(capsys, tmp_path):
    save_model(small_model(), tmp_path / "m.h5")
    command = ["export", str(tmp_path / "m.h5"), "--json", "-o"]
    assert main([*command, str(tmp_path / "m.onnx"), "--size", "16", "24"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["input"] == [1, 3, 16, 24]
    assert result["opset"] == 17
    assert main([*command, str(tmp_path / "m.npz")]) == 0
    assert main([*command, str(tmp_path / "m.txt")]) == 3
    assert main([*command, str(tmp_path / "n.onnx"), "--size", "17"]) == 3
    assert not (tmp_path / "n.onnx").exists()


def test_walk_is_what_the_export_computes_to_a_few_ulps():
    model = build("yolov7-tiny", 1 / 8, classes=2)
    x = np.random.default_rng(3).random((1, 3, 64, 64), np.float32)
    (found,) = session_of(onnx_model(model, x.shape)).run(None, {"images": x})
    *_, (_, expected) = walk(model, x)
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert not np.allclose(found[:, ::-1], expected, rtol=1e-4, atol=1e-3)
