"""Files of tensors from strangers, found by fuzzing: refused in one line, never a traceback."""

import io

import h5py
import numpy as np
import pytest

from refquant.arrays.errors import BadInput
from refquant.verification.tensors.files import header_of, natural, tensors_of

X = np.zeros((1, 3, 8, 8), np.float32)


def header(text: bytes) -> bytes:
    """An .npy of one number with this header."""
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(4)


HEADERS = {
    "an open bracket": b"{'descr': '<f4', 'fortran_order': False, 'shape': (1,",
    "no dictionary": b"[1, 2]",
    "a call": b"print('run')",
    "deep": b"(" * 300 + b")" * 300,
    "a tab in front": b" {'descr': '<f4'}\n  x",
    "no text": b"\xff\0\xff",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_is_no_dictionary_is_refused(tmp_path, capsys, text):
    (tmp_path / "x.npy").write_bytes(header(text))
    with pytest.raises(BadInput, match=r"x\.npy: is no \.npy or is cut off") as caught:
        tensors_of(tmp_path / "x.npy", X)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_name_that_is_no_text_is_passed_over(tmp_path):
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file["good"], file["evil"] = np.ones(2, np.float32), np.ones(3, np.float32)
    (tmp_path / "x.h5").write_bytes(image.getvalue().replace(b"evil", b"\xff\xfeil"))
    assert [tensor.name for tensor in tensors_of(tmp_path / "x.h5", X)] == ["good"]


def test_digits_that_are_no_numbers_are_letters():
    assert sorted(["a10", "a\u00b2", "a9"], key=natural) == ["a9", "a10", "a\u00b2"]


def test_a_header_of_python_2_is_read_without_a_warning(tmp_path):
    """NumPy warns of the L in "(2L,)"; the warning would print, and open, a line of ours."""
    np.save(tmp_path / "x.npy", np.ones(2, np.float32))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content.replace(b"(2,), ", b"(2L,),"))
    with (tmp_path / "x.npy").open("rb") as stream:
        assert header_of(stream, len(content), "x")[0] == (2,)


def test_a_directory_whose_names_are_no_text_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, é=np.zeros(1, np.float32))  # which zipfile marks as UTF-8
    assert [tensor.name for tensor in tensors_of(path, X)] == ["é"]
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    with pytest.raises(BadInput, match=r"x\.npz: is cut off or damaged"):
        tensors_of(path, X)


def test_a_type_that_numpy_does_not_know_is_passed_over(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.zeros(1, np.float32)
        one = h5py.h5s.create_simple((1,))
        h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, one)
    assert [tensor.name for tensor in tensors_of(path, X)] == ["a"]


def test_items_of_several_numbers_are_refused(tmp_path):
    text = b"{'descr': ('<f4', (4,)), 'fortran_order': False, 'shape': (1,)}\n"
    (tmp_path / "x.npy").write_bytes(header(text) + bytes(12))
    (tensor,) = tensors_of(tmp_path / "x.npy", X)
    with pytest.raises(BadInput, match="is no array of numbers"):
        tensor.read()


def test_a_damaged_stream_is_refused_when_its_header_is_read(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.zeros(9, np.float32))
    data = bytearray(path.read_bytes())
    start = data.index(b"a.npy") + len("a.npy") + int.from_bytes(data[28:30], "little")
    data[start] = 0xFF  # no kind of block
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"x\.npz: is cut off or damaged"):
        tensors_of(path, X)
