"""The golden file: what a network does with one input, node by node, to check others against.

    /                 attribute "golden": the JSON of ROOT below
    /images           what belongs to the whole
        output            the input tensor (N, 3, H, W) float32
        boxes, scores, classes   the final detections: (D, 4) and (D,) float32, (D,) int32; none
                          of the three where D = 0
        model             (bytes,) uint8: the model as `refquant convert` writes it, where kept
    /model.24.conv    a group per node in any order; attribute "node": the JSON of NODE below
        output            (N, C, H, W) or (N, rows, E) float32, where kept

Every output has its SHA-256 in its JSON, kept or not, and

    content_sha256 = SHA-256 over the canonical JSON of [name, dtype, shape, sha256], sorted,
                     of the input, every node, the detections and the model's content      (1)

so that it is the same number for a golden with all outputs, with some and with none, in HDF5 or
.npz, on every machine. It does not cover statistics, names of files and the letterbox: they
explain, they are not compared. As .npz: the same arrays, "NAME" or "images/boxes", and
"golden.json", a row of bytes with the root's JSON and all nodes' JSON under "nodes".

Outputs are read one at a time, and each is compared with its digest. Files come from strangers:
formats/hdf5/check.py looks at every link and size before anything is opened.
"""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5g
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.catalogue import load_model
from refquant.formats.hdf5.check import (
    ARRAY_NAME,
    MOST_ARRAYS,
    NODE_NAME,
    Reader,
    as_bad_input,
)
from refquant.formats.hdf5.store import ARITHMETIC_VERSION
from refquant.formats.hdf5.superblock import check_superblock
from refquant.formats.model_check import MOST_NODES
from refquant.formats.strict_json import all_typed, decode, record
from refquant.graph.graph import INPUT, Model

FORMAT, FORMAT_VERSION = "refquant-golden", 1
WHOLE = ("boxes", "scores", "classes")
PIECE = 1 << 15  # elements: 256 KB in float64, which stay in a second-level cache

ROOT = {
    "arithmetic": int,
    "content_sha256": str,
    "format": str,
    "format_version": int,
    "image": dict,
    "model": dict,
}
NODE = {
    "index": int,
    "inputs": list,
    "op": str,
    "sha256": str,
    "shape": list,
    "statistics": dict,
}
Array = NDArray[Any]


@dataclass(frozen=True)
class OutputRecord:
    """What a golden knows of an output. statistics: min, max, mean, rms of the finite values,
    and how many are not finite."""

    name: str
    op: str
    inputs: tuple[str, ...]
    index: int
    shape: tuple[int, ...]
    sha256: str
    statistics: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The node's JSON; the name is that of its group."""
        return {key: value for key, value in vars(self).items() if key != "name"}


def digest(array: Array) -> str:
    """SHA-256 of an array's bytes, little-endian and row-major."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(plain.reshape(-1).view(np.uint8).data).hexdigest()


def content_sha256(entries: Iterable[tuple[str, str, tuple[int, ...], str]]) -> str:
    """Equation (1) of (name, dtype, shape, sha256)."""
    listed = sorted([name, dtype, list(shape), sha] for name, dtype, shape, sha in entries)
    return hashlib.sha256(json.dumps(listed, separators=(",", ":")).encode("ascii")).hexdigest()


def statistics(array: Array) -> dict[str, Any]:
    """Of the finite values, summed in float64, a piece at a time; None where there are none."""
    flat, count, total, squares = array.reshape(-1), 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for first in range(0, flat.size, PIECE):
        piece = flat[first : first + PIECE]
        wide = piece.astype(np.float64)
        part = float(wide.sum())
        if not np.isfinite(part):  # finite float32 numbers have a finite sum in float64
            piece = piece[np.isfinite(piece)]
            wide = piece.astype(np.float64)
            part = float(wide.sum())
        if piece.size:
            count += piece.size
            low, high = min(low, float(piece.min())), max(high, float(piece.max()))
            total += part
            # No dot product: a BLAS wakes its threads for it, 3 ms a piece on a busy machine.
            squares += float(np.einsum("i,i->", wide, wide))
    result: dict[str, Any] = {"nonfinite": int(flat.size - count)}
    if not count:
        return {**result, "min": None, "max": None, "mean": None, "rms": None}
    return {
        **result,
        "min": low,
        "max": high,
        "mean": total / count,
        "rms": float(np.sqrt(squares / count)),
    }


class Golden:
    """An open golden file; arrays are read when asked for. Made by `open_golden`."""

    def __init__(self, path: Path, root: h5g.GroupID) -> None:
        self.path = path
        self.reader = Reader(path, root)
        reader = self.reader
        self.root = read_root(reader.json_of(root, "golden", f"{path}: root"), path)
        self.groups: dict[str, h5g.GroupID] = {}
        self.datasets: dict[str, dict[str, Any]] = {}
        found = []
        for link in reader.links(root, f"{path}: ", "group", NODE_NAME, MOST_NODES + 1):
            with as_bad_input(link.where):
                group, name = h5g.open(root, link.name), link.name.decode("ascii")
                found.append(
                    record_of(name, reader.json_of(group, "node", link.where), link.where)
                )
                links = reader.links(group, link.where, "dataset", ARRAY_NAME, MOST_ARRAYS)
                self.datasets[name] = {item.name.decode("ascii"): item for item in links}
                self.groups[name] = group
        found.sort(key=lambda item: item.index)
        self.records: Mapping[str, OutputRecord] = {item.name: item for item in found}
        if [item.index for item in found] != list(range(len(found))) or INPUT not in self.groups:
            raise BadInput(path, "the indices of the nodes are not 0, 1, 2, ...")

    def has(self, name: str, key: str = "output") -> bool:
        """Whether an array is kept in the file."""
        return key in self.datasets.get(name, {})

    def array(self, name: str, key: str) -> Array:
        """A kept array, checked for size and storage, not for its content."""
        link = self.datasets[name][key]
        with as_bad_input(link.where):
            self.reader.bytes_left = self.reader.size  # one at a time is in memory
            return self.reader.array(self.groups[name], link)

    def output(self, name: str) -> Array:
        """The output of a node (or the input tensor) that is kept; its digest is checked."""
        if not self.has(name):
            raise BadInput(f"{self.path}: {name}", "has no output in the file: make it again")
        array, known = self.array(name, "output"), self.records[name]
        if (
            array.shape != known.shape
            or array.dtype != np.float32
            or digest(array) != known.sha256
        ):
            raise BadInput(f"{self.path}: {name}", "is not what its sha256 says: make it again")
        return array

    def model(self) -> Model:
        """The model in the file, if it is there; whether it is the golden's, verify.py asks."""
        if not self.has(INPUT, "model"):
            name = self.root["model"].get("name")
            raise BadInput(self.path, "holds no model", f"name it with --model (it was {name!r})")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.h5"
            self.array(INPUT, "model").tofile(path)
            return load_model(path, fold=False)  # as it was walked


@contextlib.contextmanager
def open_golden(path: Path) -> Iterator[Golden]:
    """The golden file, open while the context lasts."""
    path = Path(path)
    check_superblock(path)
    with as_bad_input(path):
        file = h5py.File(path, "r")
    with file:
        with as_bad_input(path):
            golden = Golden(path, h5g.open(file.id, b"/"))
        check_content(golden)
        yield golden


def check_content(golden: Golden) -> None:
    """Equation (1) again, from the records and the small arrays."""
    entries = [(r.name, "<f4", r.shape, r.sha256) for r in golden.records.values()]
    for key in WHOLE:
        if golden.has(INPUT, key):
            array = golden.array(INPUT, key)
            entries.append((f"{INPUT}/{key}", array.dtype.str, array.shape, digest(array)))
    entries.append(("model", "json", (), golden.root["model"]["content_sha256"]))
    actual = content_sha256(entries)
    if actual != golden.root["content_sha256"]:
        raise BadInput(golden.path, f"content_sha256 is {actual}", "the file was changed")


def read_root(text: bytes, path: Path) -> Mapping[str, Any]:
    """The root's JSON, if it is of this format and version."""
    root = decode(text, f"{path}: root")
    if root.get("format") != FORMAT:
        raise BadInput(path, "is an HDF5 file, but no golden", "make one with refquant golden")
    known = {"format_version": FORMAT_VERSION, "arithmetic": ARITHMETIC_VERSION}
    for key, value in known.items():
        if root.get(key) != value:
            raise BadInput(path, f"{key} is {root.get(key)!r:.20}, known is {value}")
    record(root, ROOT, f"{path}: root")
    if type(root["model"].get("content_sha256")) is not str:
        raise BadInput(path, "does not say which model it is of")
    return root


def record_of(name: str, text: bytes, where: str) -> OutputRecord:
    """A node's JSON as a OutputRecord."""
    content = record(decode(text, where), NODE, where)
    inputs = all_typed(content["inputs"], str, f"{where}, inputs")
    shape = all_typed(content["shape"], int, f"{where}, shape")
    return OutputRecord(
        name,
        content["op"],
        inputs,
        content["index"],
        shape,
        content["sha256"],
        content["statistics"],
    )
