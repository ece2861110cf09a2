"""Tensors of a checkpoint: views are read rightly, and no claim is believed unchecked."""

import numpy as np
import pytest
from torch_objects import archive

from refquant.arrays.errors import BadInput
from refquant.formats.torch import tensors as torch_tensors
from refquant.formats.torch.archive import open_archive
from refquant.formats.torch.globals import STORAGE_TYPES, Storage, Tensor
from refquant.formats.torch.tensors import DTYPES, Arrays, storages_of


@pytest.fixture
def read(tmp_path):
    """read(storages, tensor, order) -> the array of a tensor in a file with these storages."""

    def reader(storages: dict[str, bytes], tensor: Tensor, order: bytes = b"little"):
        members = {f"a/data/{key}": data for key, data in storages.items()}
        path = tmp_path / "x.pt"
        path.write_bytes(archive({"a/data.pkl": b"N.", "a/byteorder": order, **members}))
        with open_archive(path) as opened:
            return Arrays(storages_of(opened)).read("model.0.weight", tensor)

    return reader


def half(*numbers: float) -> dict[str, bytes]:
    return {"0": np.array(numbers, "<f2").tobytes()}


def tensor(numel, offset, size, stride, kind="HalfStorage", key="0") -> Tensor:
    return Tensor(Storage(kind, key, numel), offset, size, stride)


def test_a_worked_example(read):
    """Rows 1, 2, 3 and 4, 5, 6 from the second number on; the first belongs to nobody."""
    found = read(half(9, 1, 2, 3, 4, 5, 6), tensor(7, 1, (2, 3), (3, 1)))
    assert found.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found.dtype == np.float16


VIEWS = {
    "transposed": ((3, 2), (1, 3), [[1, 4], [2, 5], [3, 6]]),
    "every other one": ((3,), (2,), [1, 3, 5]),
    "rows that overlap": ((2, 3), (1, 1), [[1, 2, 3], [2, 3, 4]]),
    "one number repeated": ((2, 2), (0, 0), [[1, 1], [1, 1]]),
    "a scalar": ((), (), 1),
    "nothing": ((0, 5), (5, 1), []),
    "nothing, by any stride": ((2, 0), (10**9, 10**9), [[], []]),
    "one element, by any stride": ((1, 1), (10**30, 7), [[1]]),
    "the last number": ((2,), (5,), [1, 6]),
}


@pytest.mark.parametrize(("size", "stride", "values"), VIEWS.values(), ids=VIEWS.keys())
def test_a_view_is_what_its_strides_say(read, size, stride, values):
    found = read(half(1, 2, 3, 4, 5, 6), tensor(6, 0, size, stride))
    assert found.shape == size
    assert found.tolist() == values


NUMBERS = {
    "HalfStorage": ("<f2", [1.5, -2.0, 5.960464477539063e-08]),  # the smallest subnormal
    "FloatStorage": ("<f4", [1.5, -2.0, 1e-45]),
    "DoubleStorage": ("<f8", [1.5, 0.1, 5e-324]),
    "LongStorage": ("<i8", [-1, 2**62, 7]),
    "IntStorage": ("<i4", [-1, 2**30, 7]),
    "ShortStorage": ("<i2", [-1, 2**14, 7]),
    "CharStorage": ("i1", [-1, 127, 7]),
    "ByteStorage": ("u1", [0, 255, 7]),
    "BoolStorage": ("u1", [1, 0, 1]),
    "BFloat16Storage": ("<u2", [0x3FC0, 0xC000, 0x0001]),
}


@pytest.mark.parametrize("kind", STORAGE_TYPES)
@pytest.mark.parametrize("order", ("little", "big"))
def test_every_type_of_number_is_read_in_both_byte_orders(read, kind, order):
    dtype, numbers = NUMBERS[kind]
    data = np.array(numbers, dtype).astype(np.dtype(dtype).newbyteorder(order[0].upper()))
    found = read({"0": data.tobytes()}, tensor(3, 0, (3,), (1,), kind), order.encode())
    expected = [1.5, -2.0, 2.0**-133] if kind == "BFloat16Storage" else np.array(numbers, dtype)
    assert found.tolist() == list(expected)
    assert found.dtype.isnative


def test_every_type_of_storage_has_its_numbers():
    assert set(STORAGE_TYPES) == set(DTYPES) == set(NUMBERS)


def test_a_storage_may_be_shared(tmp_path):
    (tmp_path / "x.pt").write_bytes(archive({"a/data.pkl": b"N.", "a/data/0": half(1, 2)["0"]}))
    with open_archive(tmp_path / "x.pt") as opened:
        arrays = Arrays(storages_of(opened))
        first, second = (arrays.read("w", tensor(2, i, (1,), (1,))) for i in (0, 1))
    assert (first.tolist(), second.tolist()) == ([1], [2])


LIES = {
    "a negative stride": (0, (2, 3), (-3, 1), "not made of integers >= 0"),
    "a negative offset": (-1, (2,), (1,), "not made of integers >= 0"),
    "a negative size": (0, (-2,), (1,), "not made of integers >= 0"),
    "an offset of text": ("0", (2,), (1,), "not made of integers"),
    "an offset of True": (True, (2,), (1,), "not made of integers"),
    "a size of fractions": (0, (2.0,), (1,), "not made of integers"),
    "a size that is a list": (0, [2], (1,), "not made of integers"),
    "fewer strides than axes": (0, (2, 3), (1,), "not made of integers"),
    "more axes than there are": (0, (1,) * 9, (1,) * 9, "not made of integers"),
    "an offset beyond the storage": (7, (1,), (1,), "reach number 7 of a storage of 7"),
    "a size beyond the storage": (0, (8,), (1,), "reach number 7 of a storage of 7"),
    "a stride beyond the storage": (0, (2, 3), (5, 1), "reach number 7 of a storage of 7"),
    "an offset that overflows": (2**64, (1,), (1,), "of a storage of 7"),
    "a stride that overflows": (0, (3,), (2**63,), "of a storage of 7"),
    "strides that overflow together": (0, (5, 5), (2**62, 2**62), "of a storage of 7"),
    "a size that overflows": (0, (2**62, 4), (0, 0), "is more than"),
    "nothing of a size that overflows": (0, (2**62, 0), (0, 0), "is more than"),
    "more numbers than the file holds": (0, (2**24,), (0,), "more numbers than its file"),
}


@pytest.mark.parametrize(("offset", "size", "stride", "words"), LIES.values(), ids=LIES.keys())
def test_a_view_beyond_its_storage_is_refused_by_name(read, offset, size, stride, words):
    with pytest.raises(BadInput, match=words) as caught:
        read(half(*range(7)), tensor(7, offset, size, stride))
    assert str(caught.value).startswith("model.0.weight: ")


@pytest.mark.parametrize("numel", (0, 6, 8, 2**62))
def test_a_storage_of_another_length_than_told_is_refused(read, numel):
    with pytest.raises(BadInput, match=rf"storage 0 holds 14 bytes, not {numel} numbers"):
        read(half(*range(7)), tensor(numel, 0, (0,), (1,)))


def test_a_storage_of_another_type_than_told_is_refused(read):
    with pytest.raises(BadInput, match="holds 14 bytes, not 7 numbers of 4 bytes"):
        read(half(*range(7)), tensor(7, 0, (7,), (1,), "FloatStorage"))


def test_all_tensors_together_are_limited(tmp_path, monkeypatch):
    """A file of 100 numbers may not be read a thousand times over."""
    monkeypatch.setattr(torch_tensors, "ROOM", 0)
    path = tmp_path / "x.pt"
    path.write_bytes(archive({"a/data.pkl": b"N.", "a/data/0": half(*range(100))["0"]}))
    with open_archive(path) as opened:
        arrays = Arrays(storages_of(opened))
        assert arrays.read("first", tensor(100, 0, (100,), (1,))).size == 100
        with pytest.raises(BadInput, match="more numbers than its file"):
            for _ in range(1000):
                arrays.read("again", tensor(100, 0, (100,), (1,)))


def test_a_bool_of_two_is_refused(read):
    with pytest.raises(BadInput, match="neither 0 nor 1"):
        read({"0": b"\0\2"}, tensor(2, 0, (2,), (1,), "BoolStorage"))


def test_an_unknown_byte_order_is_refused(read):
    with pytest.raises(BadInput, match="neither little nor big"):
        read(half(1), tensor(1, 0, (1,), (1,)), b"middle")


def test_missing_storages_are_all_named(tmp_path):
    (tmp_path / "x.pt").write_bytes(archive({"a/data.pkl": b"N.", "a/data/0": b""}))
    claims = {"a.weight": "12", "a.bias": "0", "b.weight": "40", "b.bias": "12"}
    with open_archive(tmp_path / "x.pt") as opened:
        with pytest.raises(
            BadInput, match=r"missing storages: 12 \(a\.weight\), 40 \(b\.weight\)"
        ):
            Arrays(storages_of(opened)).require(
                (n, tensor(1, 0, (), (), key=k)) for n, k in claims.items()
            )
        Arrays(storages_of(opened)).require([("a.bias", tensor(0, 0, (), ()))])
