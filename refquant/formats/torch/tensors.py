"""From tensors of a checkpoint to arrays: each claim is checked before a byte is read.

A storage of `numel` numbers is a member of exactly numel * itemsize bytes. A tensor is a view of
it:

    element (i, j, ...) is number  offset + i * stride_i + j * stride_j + ...  of the storage   (1)
    the last one is number         offset + sum over axes of (size - 1) * stride                (2)

All of these are integers >= 0, and (2) is less than numel, unless the tensor has no elements.
With a stride of 0 few bytes stand for many numbers, and many tensors may view the same bytes: so
the bytes of all tensors together are limited by the size of the file too.

bfloat16 is the upper half of a float32 and is widened to it; fp16 stays fp16, subnormals included.
"""

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.torch.archive import Archive, read_member
from refquant.formats.torch.globals import Tensor
from refquant.formats.torch.pickle_machine import shown

DTYPES = {
    "HalfStorage": "f2",
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "BFloat16Storage": "u2",
    "BoolStorage": "u1",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
}
MAX_AXES = 8  # anchor_grid, which has the most, has 6
MAX_NUMBERS = 2**40  # of one tensor, an axis of 0 counted as 1: what NumPy can address
ROOM = 2**22  # bytes beyond the file's size, for small tensors that share or repeat numbers
MOST_NAMES = 20  # named in one message


class Storages(NamedTuple):
    """The storages of a file, whatever its container is.

    size     of the file, in bytes
    order    of the bytes of a number: "<" little-endian, ">" big-endian
    held     key -> bytes that the file holds of this storage
    read     key -> these bytes
    """

    size: int
    order: Literal["<", ">"]
    held: Mapping[str, int]
    read: Callable[[str], bytes]


def storages_of(archive: Archive) -> Storages:
    """The storages of an archive: its members data/0, data/1, ..."""
    sizes = {name: member.size for name, member in archive.members.items()}
    held = {name.removeprefix("data/"): sizes[name] for name in sizes if name.startswith("data/")}
    return Storages(
        archive.size, byte_order(archive), held, lambda key: read_member(archive, f"data/{key}")
    )


def itemsize(storage_type: str) -> int:
    """Bytes per number."""
    return np.dtype(DTYPES[storage_type]).itemsize


class Arrays:
    """Reads tensors as arrays; each storage is read once, and all together are limited."""

    def __init__(self, storages: Storages) -> None:
        self.storages = storages
        self.left = storages.size + ROOM
        self.bytes: dict[str, bytes] = {}

    def read(self, name: str, tensor: Tensor) -> NDArray[Any]:
        """The array of the tensor, in the machine's byte order; `name` is for messages."""
        dtype = np.dtype(DTYPES[tensor.storage.type]).newbyteorder(self.storages.order)
        check_view(name, tensor)
        self.left -= prod(tensor.size) * dtype.itemsize
        if self.left < 0:
            raise BadInput(name, "the model claims more numbers than its file can hold")
        data = self.storage(name, tensor, dtype.itemsize)
        if prod(tensor.size) == 0:
            view: NDArray[Any] = np.empty(tensor.size, dtype)
        else:
            # An axis of one element is never stepped along: its stride may be any number.
            steps = [step if n > 1 else 0 for n, step in zip(tensor.size, tensor.stride)]
            strides = tuple(step * dtype.itemsize for step in steps)
            offset = tensor.offset * dtype.itemsize
            view = np.ndarray(tensor.size, dtype, data, offset, strides)
        native = view.astype(dtype.newbyteorder("="), copy=False)
        return converted(name, tensor.storage.type, native)

    def storage(self, name: str, tensor: Tensor, itemsize: int) -> bytes:
        """The bytes of the tensor's storage."""
        key, numel = tensor.storage.key, tensor.storage.numel
        held = self.storages.held[key]
        if held != numel * itemsize:
            problem = f"storage {key} holds {held} bytes, not {numel} numbers of {itemsize} bytes"
            raise BadInput(name, problem)
        if key not in self.bytes:
            self.bytes[key] = self.storages.read(key)
        return self.bytes[key]

    def require(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Refuse a file in which storages of these (name, tensor) pairs are missing; name all."""
        missing: dict[str, str] = {}
        for name, tensor in tensors:
            if tensor.storage.key not in self.storages.held:
                missing.setdefault(tensor.storage.key, name)
        if missing:
            pairs = [f"{key} ({name})" for key, name in missing.items()]
            more = f" and {len(pairs) - MOST_NAMES} more" if len(pairs) > MOST_NAMES else ""
            listed = ", ".join(pairs[:MOST_NAMES]) + more
            raise BadInput("missing storages", listed, "the file is incomplete, get it again")


def byte_order(archive: Archive) -> Literal["<", ">"]:
    """The order of bytes, from the member byteorder; it is little-endian where that is absent."""
    if "byteorder" not in archive.members:
        return "<"
    word = read_member(archive, "byteorder")
    if word not in (b"little", b"big"):
        raise BadInput("byteorder", f"{word[:16]!r} is neither little nor big")
    return "<" if word == b"little" else ">"


def check_view(name: str, tensor: Tensor) -> None:
    """Equation (2), in integers without limit, before anything is allocated."""
    _, offset, size, stride = tensor
    axes = type(size) is tuple and type(stride) is tuple and len(size) == len(stride) <= MAX_AXES
    if not axes or not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        problem = f"offset {shown(offset)}, size {shown(size)} or stride {shown(stride)}"
        raise BadInput(name, f"{problem} is not made of integers >= 0")
    if prod(max(n, 1) for n in size) > MAX_NUMBERS:
        raise BadInput(name, f"size {size} is more than {MAX_NUMBERS} numbers")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride))  # (2)
    if prod(size) and last >= tensor.storage.numel:
        problem = f"size {size}, stride {stride} and offset {offset} reach number {last}"
        raise BadInput(name, f"{problem} of a storage of {tensor.storage.numel}")


def converted(name: str, storage_type: str, values: NDArray[Any]) -> NDArray[Any]:
    """bfloat16 as float32, bool as bool, anything else as it is."""
    if storage_type == "BFloat16Storage":
        return (values.astype(np.uint32) << 16).view(np.float32)
    if storage_type == "BoolStorage":
        if np.any(values > 1):
            raise BadInput(name, "a bool that is neither 0 nor 1")
        return values.astype(np.bool_)
    return values
