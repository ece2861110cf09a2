"""What is counted before protobuf's library makes objects of it."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import helper  # noqa: E402

from refquant.arrays.errors import BadInput  # noqa: E402
from refquant.formats.catalogue import load_model  # noqa: E402
from refquant.formats.maps import MapOf  # noqa: E402
from refquant.formats.onnx import fields as onnx_fields  # noqa: E402
from refquant.formats.onnx.evaluate import evaluate  # noqa: E402
from refquant.formats.onnx.fields import check_fields  # noqa: E402
from refquant.formats.onnx.graph import Converter  # noqa: E402
from refquant.formats.onnx.tail import Raw, decoded_anchors  # noqa: E402
from refquant.graph.graph import Node  # noqa: E402

MODEL = onnx.ModelProto.DESCRIPTOR
# ir_version 8 (a varint); a graph of two operations, the first of them with one input "x"
SMALL = b"\x08\x08\x3a\x07\x0a\x03\x0a\x01x\x0a\x00"


def limited(monkeypatch, fields, packed=0):
    monkeypatch.setattr(onnx_fields, "MOST_FIELDS", fields)
    monkeypatch.setattr(onnx_fields, "MOST_PACKED", packed)


def test_a_worked_example_has_five_fields(monkeypatch):
    parsed = onnx.ModelProto.FromString(SMALL)
    assert [list(node.input) for node in parsed.graph.node] == [["x"], []]
    limited(monkeypatch, 5)
    check_fields(SMALL, MODEL)
    limited(monkeypatch, 4)
    with pytest.raises(BadInput, match="protobuf: it has more than 4 fields"):
        check_fields(SMALL, MODEL)


def test_an_unknown_field_is_not_looked_into(monkeypatch):
    limited(monkeypatch, 1)
    check_fields(b"\xfa\x07\x04\x0a\x00\x0a\x00", MODEL)  # field 127


def test_numbers_of_fixed_size_are_passed_over(monkeypatch):
    limited(monkeypatch, 2)
    check_fields(b"\xfd\x07\xff\xff\xff\xff\xf9\x07\xff\xff\xff\xff\xff\xff\xff\xff", MODEL)


def test_packed_integers_are_counted_and_packed_floats_are_not(monkeypatch):
    """An int64 of one byte becomes one of eight; a float stays as long as it is."""
    tensor = onnx.TensorProto
    limited(monkeypatch, 1, packed=99)
    check_fields(tensor(float_data=[1.0] * 100).SerializeToString(), tensor.DESCRIPTOR)
    check_fields(tensor(int64_data=[1] * 99).SerializeToString(), tensor.DESCRIPTOR)
    with pytest.raises(BadInput, match="more than 1 fields, 99 bytes of packed integers"):
        check_fields(tensor(int64_data=[1] * 100).SerializeToString(), tensor.DESCRIPTOR)


CUT = {
    "a tag without an end": b"\x80",
    "a tag of eleven bytes": b"\x80" * 10 + b"\x01\x00",
    "a tag alone": b"\x08",
    "a length alone": b"\x3a",
    "a length beyond the end": b"\x3a\x05abc",
    "a length of two gigabytes": b"\x3a\xff\xff\xff\xff\x07",
    "eight bytes that are three": b"\x09abc",
    "four bytes that are three": b"\x0dabc",
    "a message beyond its own end": b"\x3a\x02\x0a\x01\x08\x08",
    "a group": b"\x0b\x0c",
    "a kind that there is not": b"\x0f",
}


@pytest.mark.parametrize("data", CUT.values(), ids=CUT.keys())
def test_what_is_no_message_is_refused(data):
    with pytest.raises(BadInput, match="protobuf: it is no ONNX file, or cut off"):
        check_fields(data, MODEL)


def test_messages_may_nest_as_deep_as_they_like():
    """Graphs in attributes of operations of graphs: counted without recursion."""
    data = b""
    for _ in range(3000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            size = len(data)
            data = tag + bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14)) + data
    check_fields(data, onnx.GraphProto.DESCRIPTOR)
    with pytest.raises(BadInput, match="more than"):
        check_fields(b"\x0a\x00" * (onnx_fields.MOST_FIELDS + 1), onnx.GraphProto.DESCRIPTOR)


def test_a_real_export_is_far_from_the_limits(tmp_path, monkeypatch):
    from onnx_writer import onnx_model

    from refquant.graph.architecture import build

    model = onnx_model(build("yolov7-tiny", folded=False), "slices", (64, 64))
    limited(monkeypatch, onnx_fields.MOST_FIELDS // 8, onnx_fields.MOST_PACKED // 8)
    check_fields(model.SerializeToString(), MODEL)


@pytest.mark.parametrize("size", [0.0, -1.0, 1e300, np.inf, np.nan])
def test_anchors_that_are_none_are_refused(size):
    """1e300 overflows float32, in silence, as every reader works (formats/__init__.py)."""
    raw = Raw("raw", 8, (1, 6, 1, 1))
    entries, anchors = decoded_anchors(np.full((1, 1, 6), 10.0), [raw])
    assert entries == 6
    assert anchors.tolist() == [[[10.0, 10.0]]]
    silent, refused = np.errstate(all="ignore"), "anchors are not positive and finite"
    with silent, pytest.raises(BadInput, match=refused):
        decoded_anchors(np.full((1, 1, 6), size), [raw])


# Work that grew with the square of the file, found by counting what each name costs.


def test_many_operations_that_want_one_name_are_numbered_at_once():
    made = Converter({}, "images", {})
    x = MapOf("images", 3, 1)
    names = [made.node("a", "silu", [x], x).node for _ in range(10_000)]
    assert names[:3] == ["a", "a.2", "a.3"] and names[-1] == "a.10000"
    assert made.node("a.2", "silu", [x], x).node == "a.2.2"


def test_arrays_stay_until_their_last_use():
    """y = (x + x) + x."""
    made = Converter({}, "images", {})
    made.by_name["raw"] = Node("raw", "conv", ())
    made.values["raw"] = MapOf("raw", 3, 1)
    for index, (inputs, output) in enumerate(((["raw", "raw"], "a"), (["a", "raw"], "y"))):
        made.add(index, helper.make_node("Add", inputs, [output]))
    assert evaluate(made, "y", {"raw": np.full(2, 3.0)}).tolist() == [9, 9]


def test_too_many_fields_are_one_line_of_the_reader(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"\x3a\x80\x80\x40" + b"\x0a\x00" * 2**19)
    with pytest.raises(BadInput, match=r"x\.onnx: protobuf: it has more than 262144 fields"):
        load_model(path)
