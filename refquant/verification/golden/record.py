"""Recording a golden: one walk through the network, each output written as it comes.

    record_golden(model, image, path) -> content_sha256

    image   a file, pixels (H, W, 3) uint8 RGB, or an input tensor x (N, 3, H, W) float32
    x       = letterbox of the pixels by the protocol `detect` (detection/letterbox.py)
    y_i     = the nodes' outputs, arithmetic version 1: the same bits on every machine      (1)
    found   = NMS of the candidates in the last output, boxes in pixels of the picture

From a picture's file on, decoders may differ by a grey level; from the decoded pixels on, every
number is defined. Memory: the network's arena and two outputs at a time.
"""

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.detection.image import read_image
from refquant.detection.letterbox import Letterbox, letterbox, to_image, to_input
from refquant.detection.predict import DETECT, place_of
from refquant.engine.walk import walk
from refquant.formats.hdf5 import content_hash
from refquant.formats.hdf5 import store as hdf5
from refquant.formats.hdf5.node_json import group_of
from refquant.graph.graph import INPUT, Model, Node
from refquant.ops.nms import candidates, nms
from refquant.verification.golden.file import (
    FORMAT,
    FORMAT_VERSION,
    OutputRecord,
    content_sha256,
    digest,
    statistics,
)
from refquant.verification.golden.sink import Sink, open_sink

Float32 = NDArray[np.float32]
Entry = tuple[str, str, tuple[int, ...], str]


class Source(NamedTuple):
    """An input tensor x (N, 3, H, W) and how it came from a picture, if it did."""

    x: Float32
    place: Letterbox | None
    facts: dict[str, Any]


def record_golden(
    model: Model,
    image: str | os.PathLike[str] | NDArray[Any],
    path: str | os.PathLike[str],
    *,
    keep: Sequence[str] = ("*",),
    size: int | None = None,
    rectangle: bool = True,
    npz: bool = False,
    with_model: bool = True,
    threads: int = 1,
) -> str:
    """Write a golden file: what a network does with one input, node by node.

    Other implementations are judged against it. It holds the input tensor, the output of each
    node, their digests, the detections and the model.

    Parameters
    ----------
    model : Model
        The network; its nodes are walked in arithmetic version 1.
    image : path or ndarray
        A picture's file, pixels (H, W, 3) uint8 RGB, or an input tensor (N, 3, H, W) float32.
        Pictures are letterboxed as `detect` does it.
    path : path
        The file to write. It appears when it is complete, or not at all.
    keep : sequence of str, default ("*",)
        Patterns of the names of the nodes whose outputs are kept; ``()`` keeps the digests and
        the statistics alone. The hash is the same for all of them.
    size : int, optional
        The longer side of the network's input in pixels, for pictures; by default the model's.
    rectangle : bool, default True
        For pictures: whether the grey bars are cut to the minimum, as `detect` does it; False
        keeps the square of side `size`, the input of an export. The command line keeps the
        square unless ``--size`` is given.
    npz : bool, default False
        Write an `.npz`, without the model, instead of HDF5.
    with_model : bool, default True
        Whether the file holds the model, so that it can be verified against by itself.
    threads : int, default 1
        Threads of the engine; no bit depends on it.

    Returns
    -------
    str
        The content_sha256 of the golden: the same on every machine, in both formats.

    Raises
    ------
    BadInput
        The image cannot be read or is none of the three forms, a pattern fits no node, or the
        file cannot be written.

    See Also
    --------
    verify : Judge another implementation against the golden.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> x = np.arange(3 * 64 * 64, dtype=np.float32).reshape(1, 3, 64, 64) / 12288
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     whole = refquant.record_golden(model, x, f"{folder}/golden.h5")
    ...     digests = refquant.record_golden(model, x, f"{folder}/digests.h5", keep=())
    >>> whole[:16]
    '081849131eec3d12'
    >>> digests == whole
    True
    """
    for pattern in keep:
        if not any(fnmatchcase(node.name, pattern) for node in model.nodes):
            remedy = "see refquant info --nodes"
            raise BadInput(f"keep {pattern!r}", "no node has such a name", remedy)
    source = source_of(model, image, model.input_size if size is None else size, rectangle)
    with open_sink(Path(path), npz) as sink:
        entries, last = put_nodes(sink, model, source.x, keep, threads)
        model_facts, stored = model_part(model, with_model and not npz)
        entries.append(("model", "json", (), model_facts["content_sha256"]))
        entries += put_whole(sink, source, last, stored)
        content = content_sha256(entries)
        sink.finish(
            {
                "arithmetic": hdf5.ARITHMETIC_VERSION,
                "content_sha256": content,
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "image": source.facts,
                "model": model_facts,
            }
        )
    return content


def put_nodes(
    sink: Sink, model: Model, x: Float32, keep: Sequence[str], threads: int
) -> tuple[list[Entry], Float32]:
    """Equation (1): every node's entry, and the last output. The input tensor is number 0.

    Another thread digests and writes an output while the next one is computed, so two are in
    memory, and the time is that of the slower of the two.
    """

    def put(node: Node, index: int, y: Float32) -> Entry:
        record = record_of(node, index, y)
        kept = any(fnmatchcase(node.name, pattern) for pattern in keep)
        sink.put(node.name, {"output": y} if kept else {}, record.as_json())
        return node.name, "<f4", record.shape, record.sha256

    entries: list[Entry] = []
    waiting: deque[Future[Entry]] = deque()
    with ThreadPoolExecutor(1) as beside:
        for index, (node, y) in enumerate(walk(model, x, threads=threads), 1):
            waiting.append(beside.submit(put, node, index, y))
            if len(waiting) > 1:
                entries.append(waiting.popleft().result())
    entries += [future.result() for future in waiting]
    return entries, y


def record_of(node: Node, index: int, y: Float32) -> OutputRecord:
    """The record of a node's output."""
    shape = tuple(int(size) for size in y.shape)
    return OutputRecord(node.name, node.op, node.inputs, index, shape, digest(y), statistics(y))


def put_whole(
    sink: Sink, source: Source, predictions: Float32, stored: dict[str, NDArray[Any]]
) -> list[Entry]:
    """The group of the input: the tensor, the detections and the model."""
    x = source.x
    shape = tuple(int(size) for size in x.shape)
    record = OutputRecord(INPUT, "input", (), 0, shape, digest(x), statistics(x))
    found = detections(source, predictions)
    sink.put(INPUT, {"output": x, **found, **stored}, record.as_json())
    entries: list[Entry] = [(INPUT, "<f4", shape, record.sha256)]
    for key, array in found.items():
        entries.append((f"{INPUT}/{key}", array.dtype.str, array.shape, digest(array)))
    return entries


def detections(source: Source, predictions: Float32) -> dict[str, NDArray[Any]]:
    """boxes, scores and classes of the first image, best first; empty where nothing was found."""
    best = nms(candidates(predictions[0], conf=DETECT.conf, multi_label=False), iou=DETECT.iou)
    if not len(best.scores):
        return {}
    boxes = best.boxes if source.place is None else to_image(best.boxes, source.place)
    classes = best.classes.astype(np.int32)
    return {"boxes": boxes.astype(np.float32), "scores": best.scores, "classes": classes}


def source_of(model: Model, image: Any, size: int, rectangle: bool = True) -> Source:
    """The input tensor of an image, in any of the three forms."""
    if isinstance(image, np.ndarray) and image.ndim == 4:
        if image.dtype != np.float32:
            raise BadInput("image", f"an input tensor is float32, not {image.dtype}")
        return Source(np.ascontiguousarray(image), None, {"name": "tensor"})
    pixels = image if isinstance(image, np.ndarray) else read_image(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise BadInput("image", f"{pixels.dtype} {pixels.shape} is not uint8 (H, W, 3)")
    protocol = replace(DETECT, size=size, rectangle=rectangle)
    place = place_of((pixels.shape[0], pixels.shape[1]), protocol, model.stride)
    name = "pixels" if isinstance(image, np.ndarray) else Path(image).name
    geometry = {"resized": list(place.resized), "net": list(place.net)}
    start = {"top": place.top, "left": place.left, "pixels": list(pixels.shape[:2])}
    return Source(to_input(letterbox(pixels, place)), place, {"name": name, **geometry, **start})


def model_part(model: Model, with_model: bool) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What the golden says about its model, and the model's file as bytes if it is to be kept."""
    facts = {"name": model.source.get("name", ""), "source_sha256": model.source.get("sha256", "")}
    if not with_model:
        groups = {node.name: group_of(node, index) for index, node in enumerate(model.nodes)}
        return {**facts, "content_sha256": content_hash.content_sha256(groups)}, {}
    content, image = hdf5.file_of(model, Path(facts["name"] or "model"))
    return {**facts, "content_sha256": content}, {
        "model": np.frombuffer(image.getbuffer(), np.uint8)
    }
