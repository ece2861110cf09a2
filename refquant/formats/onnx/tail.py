"""What an ONNX graph does with the head's raw maps: found out by its values, not by its form.

With raw maps of zeros every sigmoid is 1/2, and the decode (ops/head.py) gives

    w, h = (2 * 1/2)**2 * anchor = anchor                                        (1)

at each cell. So a probe with zeros tells the anchors. With these, the decode of random maps (a
fixed seed) must equal, in float64, what the operations of the graph make of them: constants of the
graph are float32, hence the tolerance

    |found - decoded| <= 1e-5 * |decoded| + 1e-4                                 (2)

which no other order of rows, anchor or stride meets. Graphs that end with the raw maps, in planes
(N, A*E, H, W) or in cells (N, A, H, W, E), have no anchors; they are taken from an architecture.

The operations themselves are in evaluate.py.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.onnx.evaluate import evaluate
from refquant.formats.onnx.graph import Converter
from refquant.ops.head import decode_math

RTOL, ATOL = 1e-5, 1e-4  # (2)
SEED = 7
MOST_RAW = 2**25  # numbers in the raw maps; P6 at 1280 pixels has 8.7 million

Array = NDArray[Any]
Anchors = Sequence[Sequence[tuple[int, int]]]


class Raw(NamedTuple):
    """A raw map of the head."""

    node: str
    stride: int
    shape: tuple[int, int, int, int]


class Found(NamedTuple):
    """What was found out: anchors (L, A, 2) float32, strides, the number of classes."""

    anchors: NDArray[np.float32]
    strides: tuple[int, ...]
    classes: int


def anchors_in(
    graph: Converter, raws: list[Raw], outputs: list[str], given: Anchors | None
) -> Found:
    """The head's anchors, strides and classes; BadInput where the graph does something else.

    given    anchors of an architecture, for graphs that have none
    """
    strides = tuple(raw.stride for raw in raws)
    if not raws or len(set(strides)) != len(raws) or len(raws) > 8:
        raise BadInput("graph", f"it has raw maps of strides {strides[:9]}, not one per level")
    if sum(prod(raw.shape) for raw in raws) > MOST_RAW:
        raise BadInput(
            "graph", f"its raw maps have more than {MOST_RAW} numbers", "export smaller"
        )
    rng = np.random.default_rng(SEED)
    maps = {raw.node: rng.standard_normal(raw.shape) for raw in raws}
    problems: list[BadInput] = []
    for name in outputs:
        try:
            zeros = {raw.node: np.zeros(raw.shape) for raw in raws}
            entries, anchors = decoded_anchors(evaluate(graph, name, zeros), raws)
            if anchors is not None:
                compare(evaluate(graph, name, maps), maps, anchors, raws)
                return Found(anchors, strides, entries - 5)
        except BadInput as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
    return without_decode(graph, maps, raws, outputs, given)


def decoded_anchors(y: Array, raws: list[Raw]) -> tuple[int, NDArray[np.float32] | None]:
    """(E, anchors) by (1) from an output (N, rows, E); None if it has another shape."""
    entries = y.shape[2] if y.ndim == 3 else 0
    if entries < 6 or any(raw.shape[1] % entries for raw in raws):
        return entries, None
    counts = [raw.shape[1] // entries for raw in raws]
    cells = [raw.shape[2] * raw.shape[3] for raw in raws]
    if len(set(counts)) != 1 or y.shape[1] != sum(c * n for c, n in zip(counts, cells)):
        return entries, None
    starts = np.cumsum([0, *(c * n for c, n in zip(counts, cells))])
    rows = [s + n * np.arange(c) for s, c, n in zip(starts, counts, cells)]
    anchors = np.array([y[0, at, 2:4] for at in rows]).astype(np.float32)
    if not (np.isfinite(anchors).all() and (anchors > 0).all()):
        problem = "its output is no decode of YOLOv7: anchors are not positive and finite"
        raise BadInput("graph", problem, "export the model with its own decode, or without one")
    return entries, anchors


def compare(found: Array, maps: Mapping[str, Array], anchors: Array, raws: list[Raw]) -> None:
    """Equation (2)."""
    strides = tuple(raw.stride for raw in raws)
    expected = decode_math(*(maps[raw.node] for raw in raws), anchors=anchors, strides=strides)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=RTOL, atol=ATOL):
        raise BadInput("graph", "what follows its raw maps is not the decode of YOLOv7")


def without_decode(
    graph: Converter,
    maps: Mapping[str, Array],
    raws: list[Raw],
    outputs: list[str],
    given: Anchors | None,
) -> Found:
    """A graph whose outputs are the raw maps."""
    if given is None:
        problem = "it ends with the raw maps of the head and has no anchors"
        raise BadInput("graph", problem, "name the network that they are of with --arch")
    anchors = np.array(given, np.float32)
    count, filters = anchors.shape[1], {raw.shape[1] for raw in raws}
    if len(raws) != len(anchors) or len(filters) != 1 or min(filters) % count:
        problem = f"{len(raws)} raw maps of {sorted(filters)} channels do not fit to these anchors"
        raise BadInput("arch", problem)
    entries = min(filters) // count
    if entries < 6:
        raise BadInput("graph", f"{entries} entries per anchor are no 5 + classes")
    found = [evaluate(graph, name, maps) for name in outputs]
    for raw in raws:
        n, _, height, width = raw.shape
        planes = maps[raw.node]
        cells = planes.reshape(n, count, entries, height, width).transpose(0, 1, 3, 4, 2)
        if not any(np.array_equal(y, form) for y in found for form in (planes, cells)):
            raise BadInput("graph", f"none of its outputs is the raw map {raw.node[:60]!r}")
    return Found(anchors, tuple(raw.stride for raw in raws), entries - 5)
