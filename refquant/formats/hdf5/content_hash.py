"""content_sha256: what a file says, as one number, however HDF5 lays it out.

An entry is (name, dtype, shape, bytes). Entries are sorted by name, and of each SHA-256 takes

    the JSON list [name, dtype, shape] in ASCII, no blanks; a line feed; the bytes              (1)

name     "<node>/<dataset>" for an array, "<node>@node" for the node's JSON
dtype    NumPy's, little-endian: "<f4", "<f2", "|u1", "<i4" ...; "json" for a node's JSON
shape    the array's, a list; the number of bytes for a node's JSON
bytes    in row-major order

The line of (1) says how many bytes follow it, so two different lists of entries never give SHA-256
the same input. Provenance and class names are not part of it: a model stays the same one when its
licence note is completed. The bytes of a whole file depend on the version of HDF5 that wrote it;
the content hash does not.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Group(NamedTuple):
    """A node as it is stored: its JSON, and its datasets, little-endian and contiguous."""

    json: bytes
    arrays: Mapping[str, NDArray[Any]]


class Entry(NamedTuple):
    """One thing that is hashed; see the file's docstring."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: bytes | memoryview


def content_sha256(groups: Mapping[str, Group]) -> str:
    """The content hash of a file's groups, by node name: 64 hexadecimal digits."""
    total = hashlib.sha256()
    for entry in sorted(entries(groups), key=lambda entry: entry.name):
        line = json.dumps([entry.name, entry.dtype, entry.shape], separators=(",", ":"))
        total.update(line.encode("ascii") + b"\n")  # (1)
        total.update(entry.content)
    return total.hexdigest()


def entries(groups: Mapping[str, Group]) -> Iterable[Entry]:
    """What is hashed, in no particular order."""
    for name, group in groups.items():
        yield Entry(f"{name}@node", "json", (len(group.json),), group.json)
        for key, array in group.arrays.items():
            # As bytes: hashlib takes no float16 and no array of two or more dimensions as it is.
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            yield Entry(f"{name}/{key}", array.dtype.str, array.shape, flat.data)
