"""Safetensors: the model of the checkpoint with the same tensors, and lies are refused."""

import json
import struct

import numpy as np
import pytest
from make_checkpoint import network, write
from state_dict_writer import state_dict

from refquant.arrays.errors import BadInput
from refquant.formats import safetensors_file
from refquant.formats.catalogue import load_model, save_model
from refquant.formats.safetensors_file import tensors_in

library = pytest.importorskip("safetensors.numpy")


def file_of(header, data: bytes = b"") -> bytes:
    """The bytes of a file, written out."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype="F32", shape=(1,), begin=0, end=4):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_a_worked_example():
    data = struct.pack("<3f", 1, 2, 3)
    tensors = tensors_in(file_of({"w": entry(shape=(3, 1), end=12)}, data))
    assert tensors.shapes == {"w": (3, 1)}
    assert tensors.read("w").tolist() == [[1], [2], [3]]


def test_bfloat16_is_the_upper_half_of_a_float32():
    tensors = tensors_in(file_of({"w": entry("BF16", (2,))}, b"\xc0\x3f\x00\xc0"))
    assert tensors.read("w").tolist() == [1.5, -2.0]
    assert tensors.read("w").dtype == np.float32


@pytest.mark.parametrize("name", ("yolov7", "yolov7-tiny"))
def test_the_content_hash_is_that_of_the_checkpoint(tmp_path, name):
    path = tmp_path / "x.safetensors"
    library.save_file(state_dict(network(name, head="IDetect")), path, metadata={"a": "b"})
    models = (
        load_model(write(tmp_path / "x.pt", name, head="IDetect")),
        load_model(path, arch=name),
    )
    assert save_model(models[0], tmp_path / "a.h5") == save_model(models[1], tmp_path / "b.h5")
    assert models[1].source["name"] == "x.safetensors"
    unfolded = load_model(path, arch=name, fold=False)
    assert unfolded["model.0.bn"].arrays["weight"].dtype == np.float32


def test_without_an_architecture_the_hint_is_given(tmp_path):
    path = tmp_path / "x.safetensors"
    library.save_file(state_dict(network("yolov7-tiny")), path)
    with pytest.raises(BadInput, match=r"x.safetensors: .*--arch; it looks like yolov7-tiny or"):
        load_model(path)


def test_maps_that_do_not_fit_are_refused(tmp_path):
    arrays = state_dict(network("yolov7-tiny"))
    arrays["model.1.conv.weight"] = np.ones((16, 7, 3, 3), "f2")
    library.save_file(arrays, tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match=r"model\.1\.conv: has weights for 7 channels"):
        load_model(tmp_path / "x.safetensors", arch="yolov7-tiny")


TOO_LONG = struct.pack("<Q", 2**63) + b"{}"
REFUSED = {
    "nothing": b"",
    "half a length": b"abc",
    "a header longer than the file": TOO_LONG,
    "no JSON": file_of(b"nonsense"),
    "deep JSON": file_of(b'{"a":' + b"[" * 100_000),
    "a size that overflows": file_of({"w": entry(shape=(2**40, 2**40))}, b"1234"),
    "a negative size": file_of({"w": entry(shape=(-1,))}, b"1234"),
    "a size that is not that of the numbers": file_of({"w": entry(shape=(2,))}, b"1234"),
    "tensors that overlap": file_of({"v": entry(), "w": entry()}, b"1234"),
    "a tensor beyond the file": file_of({"w": entry(begin=4, end=8)}, b"1234"),
    "a hole": file_of({"w": entry(begin=4, end=8)}, b"12345678"),
    "a name twice": file_of(
        b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b"12",
    ),
    "no numbers": file_of({}),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_file_that_lies_is_refused_in_one_line(tmp_path, data):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        load_model(path, arch="yolov7-tiny")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_header_of_many_empty_tensors_is_not_even_parsed():
    """Each byte of it would cost 25."""
    many = {f"model.{i}": entry(shape=(0,), end=0) for i in range(20_000)}
    with pytest.raises(BadInput, match=r"header: \d+ bytes are more than 1048576"):
        tensors_in(file_of(many))
    few = file_of({f"model.{i}": entry(shape=(0,), end=0) for i in range(2000)})
    assert len(tensors_in(few).shapes) == 2000


def test_numbers_of_another_kind_are_refused():
    tensors = tensors_in(file_of({"w": entry("U8", (4,))}, b"1234"))
    with pytest.raises(BadInput, match="w: dtype U8 is none of F16"):
        tensors.read("w")


def test_a_huge_file_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors_file, "MOST_BYTES", 3)
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"1234")
    with pytest.raises(BadInput, match="4 bytes are more than 3"):
        load_model(path, arch="yolov7")


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(BadInput, match=r"cannot be read \(No such file"):
        safetensors_file.read(tmp_path / "x.safetensors", arch="yolov7")


def test_without_the_library_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(BadInput, match=r"pip install 'refquant\[safetensors\]'"):
        tensors_in(b"")
