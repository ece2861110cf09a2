"""The model store: one HDF5 file per model, readable by h5dump and by a page of NumPy.

    /                  attribute "model": the JSON of ROOT below
    /model.24.conv     a group per node; attribute "node": the JSON of node_json.py
        codes  scale  zero_point  bias      its arrays, as contiguous datasets

docs/hdf5.md defines the format and has a reader of a page. Reading is three steps, each of which
trusts only what the one before it has checked:

    check.py          HDF5 objects -> JSON texts and arrays, at most as many bytes as the file has
    node_json.py      texts and arrays -> nodes, after the content hash was compared
    model_check.py    nodes -> a model that can run
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5f, h5fd, h5g, h5p

from refquant.arrays.atomic import atomic_path
from refquant.arrays.errors import BadInput
from refquant.formats.finish import finish
from refquant.formats.hdf5.check import MOST_JSON, NODE_NAME, read_groups
from refquant.formats.hdf5.content_hash import Group, content_sha256
from refquant.formats.hdf5.node_json import group_of, node_of
from refquant.formats.model_check import check_model
from refquant.formats.strict_json import all_typed, decode, encode, record, typed
from refquant.graph.graph import Counts, Model
from refquant.ops.conv import ARITHMETIC_VERSION

FORMAT_VERSION = 1

ROOT = {
    "arithmetic": int,
    "class_names": list,
    "content_sha256": str,
    "counts": dict,
    "folded": bool,
    "format": str,
    "format_version": int,
    "licence": str,
    "source": dict,
    "strides": list,
}
COUNTS = dict.fromkeys(Counts.__dataclass_fields__, int)


def write(model: Model, path: str | os.PathLike[str]) -> str:
    """Write the model and return its content_sha256; the file appears whole or not at all."""
    content, image = file_of(model, Path(path))
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.getbuffer())
    return content


def file_of(model: Model, path: Path) -> tuple[str, io.BytesIO]:
    """The content_sha256 of a model and the bytes of its file; `path` is for messages."""
    check_model(model, path)
    groups = {node.name: group_of(node, index) for index, node in enumerate(model.nodes)}
    content = content_sha256(groups)
    root = encode(
        {
            "arithmetic": ARITHMETIC_VERSION,
            "class_names": model.class_names,
            "content_sha256": content,
            "counts": vars(model.counts),
            "folded": model.folded,
            "format": "refquant",
            "format_version": FORMAT_VERSION,
            "licence": model.licence,
            "source": dict(model.source),
            "strides": model.head.attributes["strides"],
        }
    )
    check_names(groups, root, path)
    return content, image_of(root, groups)


def check_names(groups: Mapping[str, Group], root: bytes, path: Path) -> None:
    """Refuse what could not be read again."""
    for name in groups:
        if not NODE_NAME.fullmatch(name.encode()):
            raise BadInput(path, f"node {name[:60]!r} has no name for a file", "ASCII without /")
    if len(root) > MOST_JSON:
        raise BadInput(path, f"class names or provenance are longer than {MOST_JSON} bytes")
    if sum(len(group.json) for group in groups.values()) > MOST_JSON:
        raise BadInput(path, f"the nodes' names are longer than {MOST_JSON} bytes in all")


def image_of(root: bytes, groups: Mapping[str, Group]) -> io.BytesIO:
    """The bytes of the file. No time stamps, so that equal models make equal files.

    Made in memory, because the HDF5 library (seen with 2.0) crashes the process on a full disk.
    """
    image = io.BytesIO()
    timeless = h5p.create(h5p.GROUP_CREATE)
    timeless.set_obj_track_times(False)
    with new_file(image) as file:
        file.attrs.create("model", np.bytes_(root))
        for name, group in groups.items():
            node = h5py.Group(h5g.create(file.id, name.encode("ascii"), gcpl=timeless))
            for key, array in group.arrays.items():
                node.create_dataset(key, data=array, track_times=False)
            # It comes last: first, it costs 58 bytes more per group (bench/quantize/hdf5_size.py).
            node.attrs.create("node", np.bytes_(group.json))
    return image


def new_file(image: io.BytesIO) -> h5py.File:
    """An empty file in memory; h5py.File(image, "w") has no time stamps in later versions only."""
    timeless = h5p.create(h5p.FILE_CREATE)
    timeless.set_obj_track_times(False)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5fd.fileobj_driver, image)
    return h5py.File(h5f.create(b"model", h5f.ACC_TRUNC, fcpl=timeless, fapl=access))


def read(path: str | os.PathLike[str], *, fold: bool = True) -> Model:
    """Read a model. fold=True folds an unfolded one; fold=False gives it as it is stored."""
    path = Path(path)
    text, groups = read_groups(path)
    root = read_root(text, path)
    actual = content_sha256(groups)
    if actual != root["content_sha256"]:
        raise BadInput(
            path,
            f"content_sha256 is {actual}, expected {root['content_sha256']!r:.70}",
            "the file was changed or damaged, fetch it again",
        )
    model = model_of(root, groups, path)
    check_model(model, path)
    if list(model.head.attributes["strides"]) != root["strides"]:
        raise BadInput(path, f"strides {root['strides']!r:.60} are not those of the head")
    if model.folded or not fold:
        return model
    return finish(model, path, fold)


def read_root(text: bytes, path: Path) -> Mapping[str, Any]:
    """The root's JSON, if it is of this format and version."""
    where = f"{path}: root"
    root = decode(text, where)
    if root.get("format") != "refquant":
        raise BadInput(path, "is an HDF5 file, not one of refquant's")
    for key, known in (("format_version", FORMAT_VERSION), ("arithmetic", ARITHMETIC_VERSION)):
        if root.get(key) != known:
            raise BadInput(
                path,
                f"{key} is {root.get(key)!r:.20}, known is {known}",
                "install a newer refquant",
            )
    return record(root, ROOT, where)


def model_of(root: Mapping[str, Any], groups: Mapping[str, Group], path: Path) -> Model:
    """The model; check_model has yet to look at it."""
    where = f"{path}: root"
    numbered = [node_of(name, group, f"{path}: {name}") for name, group in groups.items()]
    numbered.sort(key=lambda pair: pair[0])
    if [index for index, _ in numbered] != list(range(len(numbered))):
        raise BadInput(path, "the indices of the nodes are not 0, 1, 2, ...")
    counts = record(root["counts"], COUNTS, f"{where}, counts")
    if min(counts.values()) < 0:
        raise BadInput(where, "counts are below 0")
    for key, value in root["source"].items():
        typed(value, str, f"{where}, source, {key[:40]}")
    return Model(
        nodes=tuple(node for _, node in numbered),
        class_names=all_typed(root["class_names"], str, f"{where}, class_names"),
        folded=root["folded"],
        counts=Counts(**counts),
        source=root["source"],
        licence=root["licence"],
    )
