"""What an HDF5 file from a stranger may hold, and the only code that takes bytes out of one.

    /                 one attribute "model", at most MOST_NODES groups, nothing else
    /<node>           one attribute "node", at most MOST_ARRAYS datasets, nothing else
    /<node>/<array>   no attributes; contiguous bytes that lie inside of this file

Before an object is opened, its link must be a plain (hard) one, the only one to the object; soft
and external links, groups in groups and second names of an object are refused. Before a dataset is
read, storage in other files, virtual datasets, chunks (and with them filters), compact storage,
types other than the little-endian numbers of DTYPES and sizes beyond the file's are refused. All
datasets together may not be larger than the file either, so that a small file never needs much
memory. Attributes are fixed-length strings; the root's has at most MOST_JSON bytes, and so have
all nodes' together, since parsed JSON takes up to 32 bytes per byte of text (measured: "[{}],").
Nothing is executed, no other file is opened.
"""

import contextlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5p, h5s, h5t
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.hdf5.content_hash import Group
from refquant.formats.hdf5.superblock import check_superblock
from refquant.formats.model_check import MOST_NODES

MOST_ARRAYS = 16
MOST_JSON = 1 << 20
# Printable ASCII without the slash, which separates names in HDF5; "." alone is the group itself.
NODE_NAME = re.compile(rb"(?!\.\Z)[!-.0-~]{1,200}")
ARRAY_NAME = re.compile(rb"[a-z][a-z0-9_]{0,39}")
DTYPES = {
    np.dtype(name): kind
    for name, kind in {
        "<f2": h5t.IEEE_F16LE,
        "<f4": h5t.IEEE_F32LE,
        "|u1": h5t.STD_U8LE,
        "|i1": h5t.STD_I8LE,
        "<u2": h5t.STD_U16LE,
        "<i2": h5t.STD_I16LE,
        "<i4": h5t.STD_I32LE,
    }.items()
}
KINDS = {h5g.GROUP: "group", h5g.DATASET: "dataset"}


class Link(NamedTuple):
    """A name in a group, and how messages call it."""

    name: bytes
    where: str


class Reader:
    """One open file, and what has been seen of it: objects, bytes of datasets and of JSON."""

    def __init__(self, path: Path, root: h5g.GroupID) -> None:
        self.size = path.stat().st_size
        self.bytes_left = self.size
        self.json_left = dict.fromkeys(("model", "golden", "node"), MOST_JSON)
        # Not h5o.get_info: that measures the tables of names too, and in a damaged one for ever.
        self.seen = {h5g.get_objinfo(root).objno}

    def links(
        self, parent: h5g.GroupID, where: str, kind: str, names: re.Pattern[bytes], most: int
    ) -> list[Link]:
        """The links of a group to objects of a kind: all of them checked, none of them opened."""
        found: list[bytes] = []

        def collect(name: bytes) -> bool | None:
            found.append(name)
            return True if len(found) > most else None  # True ends the iteration

        parent.links.iterate(collect)
        if len(found) > most:
            remedy = "is it a model's file?"
            raise BadInput(where.removesuffix(": "), f"has more than {most} entries", remedy)
        links = [Link(name, f"{where}/{name[:60].decode('ascii', 'replace')}") for name in found]
        for link in links:
            if not names.fullmatch(link.name):
                raise BadInput(link.where, f"{link.name[:60]!r} is no name of a {kind}")
            with as_bad_input(link.where):
                self.check_link(parent, link, kind)
        return links

    def check_link(self, parent: h5g.GroupID, link: Link, kind: str) -> None:
        """A hard link, the only one, to an object of that kind."""
        if parent.links.get_info(link.name).type != h5l.TYPE_HARD:
            raise BadInput(link.where, "is a soft or external link", "a model file has none")
        info = h5g.get_objinfo(parent, link.name)
        if info.nlink != 1 or info.objno in self.seen:
            raise BadInput(link.where, "is a second name of an object", "a model file has none")
        if KINDS.get(info.type) != kind:
            raise BadInput(link.where, f"is a {KINDS.get(info.type, 'named type')}, not a {kind}")
        self.seen.add(info.objno)

    def json_of(self, owner: h5g.GroupID, name: str, where: str) -> bytes:
        """The bytes of the owner's only attribute."""
        if h5a.get_num_attrs(owner) != 1 or not h5a.exists(owner, name.encode("ascii")):
            raise BadInput(where, f"must have one attribute, {name}, and no other")
        attribute = h5a.open(owner, name.encode("ascii"))
        kind = attribute.get_type()
        fixed = isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str()
        if not fixed or attribute.get_space().get_simple_extent_type() != h5s.SCALAR:
            raise BadInput(where, f"attribute {name} is not one string of fixed length")
        self.json_left[name] -= kind.get_size()
        if self.json_left[name] < 0:
            problem = f"attributes {name} have more than {MOST_JSON} bytes"
            raise BadInput(where, problem, "is it a model's file?")
        text = np.empty((), f"S{kind.get_size()}")
        attribute.read(text)
        return text.item()

    def arrays(self, group: h5g.GroupID, where: str) -> dict[str, NDArray[Any]]:
        """Every dataset of a group, by name."""
        links = self.links(group, where, "dataset", ARRAY_NAME, MOST_ARRAYS)
        arrays = {}
        for link in links:
            with as_bad_input(link.where):
                arrays[link.name.decode("ascii")] = self.array(group, link)
        return arrays

    def array(self, group: h5g.GroupID, link: Link) -> NDArray[Any]:
        """A dataset, checked and read."""
        dataset = h5d.open(group, link.name)
        if h5a.get_num_attrs(dataset):
            raise BadInput(link.where, "has attributes", "a dataset of a model file has none")
        check_storage(dataset.get_create_plist(), link.where)
        dtype = dtype_of(dataset.get_type(), link.where)
        shape = shape_of(dataset.get_space(), link.where)
        nbytes = math.prod(shape) * dtype.itemsize
        start = dataset.get_offset()
        if start is None or dataset.get_storage_size() != nbytes:
            raise BadInput(link.where, f"shape {shape} needs {nbytes} bytes, which are not there")
        self.bytes_left -= nbytes
        if start + nbytes > self.size or self.bytes_left < 0:
            raise BadInput(link.where, f"{nbytes} bytes do not fit a file of {self.size} bytes")
        array = np.empty(shape, dtype)
        dataset.read(h5s.ALL, h5s.ALL, array)
        return array


def read_groups(path: Path) -> tuple[bytes, dict[str, Group]]:
    """The root's JSON, and every group by name. BadInput names the file and the object."""
    check_superblock(path)
    groups = {}
    with as_bad_input(path), h5py.File(path, "r") as file:
        root = h5g.open(file.id, b"/")
        reader = Reader(path, root)
        text = reader.json_of(root, "model", f"{path}: root")
        for link in reader.links(root, f"{path}: ", "group", NODE_NAME, MOST_NODES):
            with as_bad_input(link.where):
                group = h5g.open(root, link.name)
                json = reader.json_of(group, "node", link.where)
                groups[link.name.decode("ascii")] = Group(json, reader.arrays(group, link.where))
    return text, groups


@contextlib.contextmanager
def as_bad_input(where: object) -> Iterator[None]:
    """Errors of the HDF5 library are those of the file."""
    try:
        yield
    except BadInput:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        remedy = "copy or download it again"
        raise BadInput(where, f"is cut off or damaged ({error!s:.150})", remedy) from error


def check_storage(layout: h5p.PropDCID, where: str) -> None:
    """Contiguous bytes in this very file."""
    kinds = {h5d.COMPACT: "compact", h5d.CHUNKED: "chunked", h5d.VIRTUAL: "virtual"}
    if layout.get_layout() != h5d.CONTIGUOUS:
        raise BadInput(
            where,
            f"has {kinds.get(layout.get_layout(), 'unknown')} storage",
            "a model file has contiguous datasets only",
        )
    if layout.get_external_count():
        raise BadInput(where, "has its bytes in another file", "a model file is one file")


def dtype_of(kind: h5t.TypeID, where: str) -> np.dtype[Any]:
    """One of DTYPES, found by comparing: translating a strange type would run more code."""
    if not kind.committed():
        for dtype, allowed in DTYPES.items():
            if kind.equal(allowed):
                return dtype
    names = ", ".join(dtype.name for dtype in DTYPES)
    raise BadInput(where, "has a type that no model file has", f"little-endian {names}")


def shape_of(space: h5s.SpaceID, where: str) -> tuple[int, ...]:
    """One to four sizes of at least 1, fixed."""
    if space.get_simple_extent_type() != h5s.SIMPLE:
        raise BadInput(where, "is not an array")
    shape = space.get_simple_extent_dims()
    if shape != space.get_simple_extent_dims(True) or not 1 <= len(shape) <= 4 or 0 in shape:
        raise BadInput(where, f"shape {shape} is not one of 1 to 4 fixed sizes above 0")
    return shape
