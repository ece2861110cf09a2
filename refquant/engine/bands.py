"""The stem: the first layers of a model, which run in bands, so that wide maps never exist whole.

At 640 x 640 YOLOv7's first maps take 52, 26 and 26 MB, while what comes after the stem never takes
more than 30 at a time. So its first layers, up to where all maps have shrunk to an eighth of the
image's height, run from top to bottom in bands, and a band of a map shares its memory with the
bands of others. Nothing is computed twice, because the few rows of a band that the next one reads
again are kept.

For band b of B the equations count in rows of each node's output. R, stride and padding are those
of a reader m of map x if m is a convolution or a pooling, otherwise 1, 1 and 0:

    end[exit, b] = ceil((b + 1) * P / B)                for maps with P rows that leave it    (1)
    end[x, b] = max over m of (end[m, b] - 1) * stride - padding + R,   all in the last band  (2)
    begin[x, b] = end[x, b - 1]                         rows begin ... end - 1 are computed   (3)
    top[x, b] = min over m of begin[m, b] * stride - padding, at most begin and top[x, b + 1] (4)
    rows top ... end - 1 are held, of which top ... begin - 1 come from the band before       (5)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from refquant.graph.graph import Node
from refquant.graph.shapes import Shape

SHRUNK = 8  # The stem ends where no map has more rows than the image's divided by this.
EXIT_ROWS = 20  # A band has so many rows where the stem ends, which makes four bands at 640 x 640.


class RowSpan(NamedTuple):
    """Rows of a map in a band: those in [top, end) are held, those in [begin, end) computed."""

    top: int
    begin: int
    end: int


class Stem(NamedTuple):
    """The first `length` nodes run in `bands` bands; rows[name][b] are those of node and band."""

    length: int
    bands: int
    rows: Mapping[str, Sequence[RowSpan]]


NO_STEM = Stem(0, 1, {})


def stem_of(
    nodes: Sequence[Node], shapes: Mapping[str, Shape], root: Mapping[str, str], height: int
) -> Stem:
    """The stem for an image of `height` rows; root[name] is the map that has a node's memory."""
    for length in range(1, len(nodes)):
        if not can_be_banded(nodes[length - 1], root):
            return NO_STEM
        exits = exits_of(nodes, length, root)
        if exits and all(shapes[name][1] * SHRUNK <= height for name in exits):
            bands = -(-max(shapes[name][1] for name in exits) // EXIT_ROWS)
            return Stem(length, bands, rows_of(nodes[:length], shapes, exits, bands))
    return NO_STEM


def can_be_banded(node: Node, root: Mapping[str, str]) -> bool:
    """Whether rows of the node's output follow from rows of its inputs without looking around."""
    if node.op == "max_pool":
        return bool(node.attributes["padding"] == 0)
    if node.op == "concat":
        return all(root.get(name) == root[node.name] for name in node.inputs)
    return node.op in ("conv", "add", "space_to_depth")


def exits_of(nodes: Sequence[Node], length: int, root: Mapping[str, str]) -> set[str]:
    """The nodes of the stem whose memory later nodes read or write."""
    later = {
        root[name] for node in nodes[length:] for name in (node.name, *node.inputs) if name in root
    }
    return {node.name for node in nodes[:length] if root.get(node.name) in later}


def window(node: Node) -> tuple[int, int, int]:
    """(R, stride, padding) of a node in the direction of rows."""
    a = node.attributes
    if node.op == "conv":
        return node.arrays["weight"].shape[2], a["stride"], a["padding"]
    return (a["kernel"], a["stride"], a["padding"]) if node.op == "max_pool" else (1, 1, 0)


def rows_of(
    stem: Sequence[Node], shapes: Mapping[str, Shape], exits: set[str], bands: int
) -> dict[str, list[RowSpan]]:
    """Every node's rows in every band, by equations (1) to (5)."""
    names = [node.name for node in stem]
    ends = [ends_of(stem, shapes, exits, b + 1, bands) for b in range(bands)]
    begins = [dict.fromkeys(names, 0), *ends[:-1]]  # (3)
    tops = [dict(begin) for begin in begins]
    for b in range(bands):
        for node in stem:
            if ends[b][node.name] > begins[b][node.name]:
                _, stride, padding = window(node)
                for name in node.inputs:
                    first = max(begins[b][node.name] * stride - padding, 0)
                    tops[b][name] = min(tops[b].get(name, first), first)  # (4)
    for b in reversed(range(bands - 1)):
        for name in names:
            tops[b][name] = min(tops[b][name], tops[b + 1][name])
    return {
        name: [RowSpan(tops[b][name], begins[b][name], ends[b][name]) for b in range(bands)]
        for name in names
    }


def ends_of(
    stem: Sequence[Node], shapes: Mapping[str, Shape], exits: set[str], done: int, bands: int
) -> dict[str, int]:
    """Every node's `end` in the band after which `done` bands are done, by (1) and (2)."""
    ends = dict.fromkeys((node.name for node in stem), 0)
    for node in reversed(stem):
        rows = shapes[node.name][1]
        if node.name in exits:
            ends[node.name] = max(ends[node.name], -(-done * rows // bands))  # (1)
        if done == bands:
            ends[node.name] = rows
        R, stride, padding = window(node)
        for name in node.inputs:
            if name in ends and ends[node.name] > 0:
                need = min((ends[node.name] - 1) * stride - padding + R, shapes[name][1])
                ends[name] = max(ends[name], need)  # (2)
    return ends
