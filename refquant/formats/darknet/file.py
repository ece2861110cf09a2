"""Darknet models: NAME.cfg, which describes the network, and NAME.weights, the numbers.

    int32 major, minor, revision | uint64 seen (uint32 where major*10 + minor < 2)
    per convolution, in the order of the cfg, float32, little-endian:
        bias or beta (F,) | gamma, mean, variance (F,) each, if batch_normalize
        weight (F, C, R, S)
    and nothing more: the length of the file must be that of the cfg's numbers.

eps. Darknet's batch norm divides by sqrt(variance + 1e-5): the default here, since it defines the
format. PyTorch's networks of this family have 1e-3, and statistics that were copied from them
without folding want eps=1e-3. No file says whether its statistics were: the detections tell.

Source  the cfg files of YOLOv7, and what Darknet's reader of weights does.
"""

import contextlib
import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.darknet.cfg import MOST_BYTES, parse
from refquant.formats.darknet.layers import Level, Outline, outline_of
from refquant.formats.finish import finish
from refquant.formats.official import LICENCE
from refquant.graph.graph import Model, Node, count, needed

EPS = 1e-5
SHORT, LONG = 16, 20  # bytes before the numbers


def read(path: Path, *, fold: bool = True, eps: float | None = None) -> Model:
    """The model of NAME.cfg and NAME.weights, given either of them.

    fold    fold batch norms into the convolutions
    eps     of the batch norms, default 1e-5; see above
    Raises BadInput, in one line, that names file, line or layer.
    """
    eps = EPS if eps is None else eps
    if not 0 < eps < 1:
        raise BadInput(f"eps={eps}", "choose a number between 0 and 1, such as 1e-5 or 1e-3")
    cfg, weights = path.with_suffix(".cfg"), path.with_suffix(".weights")
    text = bytes_of(cfg, MOST_BYTES)
    try:
        outline = outline_of(parse(text))
    except BadInput as error:
        raise BadInput(cfg, str(error)) from error
    data = bytes_of(weights, 4 * outline.numbers + LONG)
    try:
        nodes = needed((*with_numbers(outline, data, eps), head(outline.levels)))
    except BadInput as error:
        raise BadInput(weights, str(error)) from error
    names = tuple(f"class {i}" for i in range(outline.levels[0].classes))
    source = {
        "name": weights.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "cfg_sha256": hashlib.sha256(text).hexdigest(),
        "eps": repr(eps),
    }
    model = Model(nodes, names, False, count(nodes), source, LICENCE)
    return finish(model, cfg, fold)


def bytes_of(path: Path, most: int) -> bytes:
    """The content of a file, at most `most` + 1 bytes of it."""
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError):
            path.stat()  # tells what `is_file`, since Python 3.14, takes for absence
        if not path.is_file():
            raise BadInput(path, "does not exist", "NAME.cfg and NAME.weights belong together")
        with path.open("rb") as stream:
            # No more than is there: Python reserves what it is asked to read.
            return stream.read(min(os.fstat(stream.fileno()).st_size, most + 1))
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror or error})") from error


def numbers_start(data: bytes) -> int:
    """Bytes before the first number."""
    if len(data) < SHORT:
        raise BadInput("header", f"{len(data)} bytes are no header", "the file is cut off")
    major, minor = struct.unpack_from("<2i", data)
    if not (0 <= major < 1000 and 0 <= minor < 1000):  # above: transposed dense layers
        raise BadInput("header", f"version {major}.{minor} is not known")
    return LONG if major * 10 + minor >= 2 else SHORT


def with_numbers(outline: Outline, data: bytes, eps: float) -> list[Node]:
    """The nodes with their arrays, taken from the bytes of the weights file in order."""
    start = numbers_start(data)
    due = start + 4 * outline.numbers
    if len(data) != due:
        found = f"more than {due}" if len(data) > due else str(len(data))
        problem = f"it has {found} bytes, {due} are those of the cfg"
        raise BadInput("length", problem, "another network, or another number of classes?")
    numbers = np.frombuffer(data, "<f4", offset=start)
    arrays: dict[str, dict[str, NDArray[np.float32]]] = {}
    position = 0
    for name, parts in outline.shapes.items():
        arrays[name] = {}
        for key, shape in parts.items():
            length = int(np.prod(shape))
            arrays[name][key] = numbers[position : position + length].reshape(shape)
            position += length
        if "variance" in parts and np.any(arrays[name]["variance"] < 0):
            raise BadInput(name, "a variance is negative", "the numbers are not this cfg's")
    nodes = []
    for node in outline.nodes:
        attributes = (
            {**node.attributes, "eps": eps} if node.op == "batch_norm" else node.attributes
        )
        nodes.append(replace(node, arrays=arrays.get(node.name, {}), attributes=attributes))
    return nodes


def head(levels: list[Level]) -> Node:
    """The decode of all levels, the finest first."""
    ordered = sorted(levels, key=lambda level: level.raw.stride)
    anchors = np.array([level.anchors for level in ordered], np.float32)
    strides = tuple(level.raw.stride for level in ordered)
    inputs = tuple(level.raw.node for level in ordered)
    return Node("decode", "decode", inputs, {"strides": strides}, {"anchors": anchors})
