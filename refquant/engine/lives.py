"""When each map of a model lives, and where in the arena it lies while it lives.

    order     of (node, band), positions 0, 1, ...: the order in which a model runs (plan.py)
    pools     for a convolution, the pooling that its items do                        (1)
    lives     of maps: the positions of the first writer and of the last reader       (2)
    offsets   of maps in the arena, so that no two maps overlap in life and memory    (3)

A convolution's items pool what they have computed while it is in cache, if the pooling's windows
lie side by side and cut the rows into the same bands. The pooling's output then lives from the
convolution on.

Offsets are found greedily: the map with the largest product of bytes and life comes first, and
each map takes the lowest place that is free for its whole life. For YOLOv7 at 640 x 640 that needs
35.4 MB, which is the widest moment; if the largest map came first, it would need 38.4.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from refquant.engine.bands import RowSpan, Stem
from refquant.engine.steps import LINE
from refquant.graph.graph import Node

WHOLE = -1  # stands in place of a band's number for all rows


class Key(NamedTuple):
    """A map in the arena: a root's rows of a band, or all of them, or rows kept after a band."""

    root: str
    band: int = WHOLE
    kept: bool = False


class Life(NamedTuple):
    """From which position to which a map lives; -1 is before all, where the image is written."""

    born: int
    dies: int


def pools_of(nodes: Sequence[Node], stem: Stem) -> dict[str, Node]:
    """For convolutions by name, the pooling that each does: equation (1)."""
    convolutions = {node.name for node in nodes if node.op == "conv"}
    pools: dict[str, Node] = {}
    for node in nodes:
        if node.op != "max_pool" or node.inputs[0] not in convolutions:
            continue
        name, stride = node.inputs[0], node.attributes["stride"]
        side_by_side = (node.attributes["kernel"], node.attributes["padding"]) == (stride, 0)
        if side_by_side and same_bands(stem.rows.get(name), stem.rows.get(node.name), stride):
            pools.setdefault(name, node)
    return pools


def same_bands(x: Sequence[RowSpan] | None, y: Sequence[RowSpan] | None, stride: int) -> bool:
    """Whether y's rows in each band are those of x after pooling; None is outside of the stem."""
    if x is None or y is None:
        return x is y
    pairs = zip(x, y, strict=True)
    return all((a.begin, a.end // stride) == (b.begin * stride, b.end) for a, b in pairs)


def lives_of(
    nodes: Sequence[Node],
    order: Sequence[tuple[int, int]],
    owners: Mapping[str, str],
    rows: Mapping[Key, RowSpan],
    planar: set[str],
    pools: Mapping[str, Node],
) -> dict[Key, Life]:
    """The lives of all maps, in the order of their first writers: equation (2).

    owners    for every node, its root (plan.py)
    planar    the maps that are written before all steps
    """
    lives = {Key(name): Life(-1, -1) for name in sorted(planar)}
    for position, (i, band) in enumerate(order):
        node = nodes[i]
        pooled = [pools[node.name].name] if node.name in pools else []
        for name in (node.name, *pooled, *node.inputs):
            if name in owners:
                root = owners[name]
                key = Key(root, band) if Key(root, band) in rows else Key(root)
                born = lives[key].born if key in lives else position
                lives[key] = Life(born, position)
    for key in rows:
        if key.kept:
            saved, read = Key(key.root, key.band), Key(key.root, key.band + 1)
            lives[key] = Life(lives[saved].dies, lives[read].born)
    return lives


def offsets_of(sizes: Mapping[Key, int], lives: Mapping[Key, Life]) -> dict[Key, int]:
    """Where each map lies, in bytes from the arena's start: equation (3)."""
    offsets: dict[Key, int] = {}
    spans = {key: sizes[key] * (dies - born + 1) for key, (born, dies) in lives.items()}
    for key in sorted(spans, key=lambda key: -spans[key]):
        born, dies = lives[key]
        neighbours = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other].born <= dies and born <= lives[other].dies
        )
        place = 0
        for begin, end in neighbours:
            if place + sizes[key] <= begin:
                break
            place = max(place, end)
        offsets[key] = place
    assert all(offset % LINE == 0 for offset in offsets.values())
    return offsets
