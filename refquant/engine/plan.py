"""Where every map of a network lies in memory: one arena, in which maps share places over time.

A map lives from the moment it is first written to the last moment it is read. Maps whose lives
do not overlap may share memory, so the arena is little larger than the widest moment of the
network.

Concat costs nothing: its inputs are written where the concat's output has their channels. That
takes a first channel divisible by 16 (a block) and an input that no earlier concat holds already,
nor this one twice; other inputs are copied. An input of a concat may be a concat.

    shapes    (C, H, W) of every node, from the image's H and W (shapes.py)                (1)
    parts     node -> (concat, first channel), where it is written in place                (2)
    roots     the maps that get memory: nodes that are no parts, and the image
    halo      of a root: the largest padding with which it or a part of it is read         (3)
    order     of (node, band): the stem band by band (bands.py), then the others once      (4)
    pools     convolution -> pooling that its items do, while their outputs are in cache   (5)
    lives     of maps: first writer and last reader, as positions in that order            (6)
    offsets   of maps in the arena, so that lives and memory do not both overlap           (7)

A root of the stem is a map of its own in every band, holding the rows of that band; rows kept
for the next band wait in a third kind of map. Offsets are found greedily: the largest product of
bytes and life first, each at the lowest place that is free for its whole life. For YOLOv7 at
640 x 640 that needs 35.4 MB, which is the widest moment; largest bytes first needs 38.4.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from refquant.engine.bands import NO_STEM, Rows, Stem, stem_of
from refquant.engine.blocked import LANES, Map, inside
from refquant.engine.steps import LINE
from refquant.graph.graph import INPUT, Model, Node
from refquant.graph.shapes import Shape, shapes_of

OPS_IN_BLOCKS = ("conv", "max_pool", "upsample", "concat", "add", "space_to_depth", "decode")
WHOLE = -1  # in place of a band: all rows


class Key(NamedTuple):
    """A map in the arena: a root's rows of a band, or all of them, or rows kept after a band."""

    root: str
    band: int = WHOLE
    kept: bool = False


class Plan(NamedTuple):
    """Places of all maps; the addresses in `maps` count from the arena's start.

    rows     of each key: those held, and those computed in that band
    lives    of each key: positions in `order`, -1 for the image, which is there before all
    """

    shapes: Mapping[str, Shape]
    roots: Mapping[str, tuple[str, int]]  # of each node: its root, and its first channel there
    padded: Mapping[str, Sequence[str]]  # of roots: the nodes' outputs that need a border of zeros
    halos: Mapping[str, int]  # of roots; 0 where missing
    stem: Stem
    order: Sequence[tuple[int, int]]  # (node, band)
    pools: Mapping[str, Node]
    rows: Mapping[Key, Rows]
    maps: Mapping[Key, Map]
    lives: Mapping[Key, tuple[int, int]]
    size: int  # bytes

    def key(self, name: str, band: int) -> Key:
        """The map that holds a node's output in a band."""
        root = self.roots[name][0]
        return Key(root, band) if Key(root, band) in self.maps else Key(root)


def can_plan(model: Model) -> bool:
    """Whether every node is one that the engine runs in blocks; folded models are."""
    nodes = model.nodes
    planar = {n.name for n in nodes if n.op == "space_to_depth"}  # only convolutions read those
    return (
        all(node.op in OPS_IN_BLOCKS for node in nodes)
        and all(n.op in ("conv", "space_to_depth") for n in nodes if INPUT in n.inputs)
        and all(n.inputs == (INPUT,) for n in nodes if n.op == "space_to_depth")
        and all(n.op == "conv" for n in nodes if planar.intersection(n.inputs))
        and all(len(n.inputs) > 1 for n in nodes if n.op == "add")
        and all(
            n.attributes["padding"] < n.attributes["kernel"] for n in nodes if n.op == "max_pool"
        )
        and [node.op for node in nodes].index("decode") == len(nodes) - 1
    )


def plan(model: Model, height: int, width: int, *, in_bands: bool = True) -> Plan:
    """Plan a model for images of height x width pixels, the stem in bands or not."""
    nodes = model.nodes
    shapes = shapes_of(nodes, (3, height, width))
    planar = planar_maps(nodes)
    parts = parts_of(nodes, shapes, planar)
    roots = {name: root_of(name, parts) for name in shapes if name != INPUT or INPUT in planar}
    owners = {name: root for name, (root, _) in roots.items()}
    stem = stem_of(nodes, shapes, owners, height) if in_bands else NO_STEM
    order = [(i, b) for b in range(stem.bands) for i in range(stem.length)]
    order += [(i, WHOLE) for i in range(stem.length, len(nodes))]
    rows = rows_held(nodes, shapes, owners, stem, planar)
    pools = pools_of(nodes, stem)
    lives = lives_of(nodes, order, owners, rows, planar, pools)
    padded = padded_of(nodes, owners)
    halos = {root: max(of_root.values()) for root, of_root in padded.items()}
    room = {key: map_of(key, rows, shapes, halos, planar) for key in lives}
    sizes = {key: place.plane * place.blocks for key, place in room.items()}
    offsets = offsets_of(sizes, lives)
    maps = {key: map_of(key, rows, shapes, halos, planar, offsets[key]) for key in lives}
    size = max(offsets[key] + sizes[key] for key in lives)
    return Plan(
        shapes,
        roots,
        {r: list(p) for r, p in padded.items()},
        halos,
        stem,
        order,
        pools,
        rows,
        maps,
        lives,
        size,
    )


def planar_maps(nodes: Sequence[Node]) -> set[str]:
    """The image where a convolution reads it, and its space-to-depth: written before all steps."""
    planar = {node.name for node in nodes if node.op == "space_to_depth"}
    return planar | {INPUT for node in nodes if node.op == "conv" and INPUT in node.inputs}


def parts_of(
    nodes: Sequence[Node], shapes: Mapping[str, Shape], planar: set[str]
) -> dict[str, tuple[str, int]]:
    """Equation (2)."""
    parts: dict[str, tuple[str, int]] = {}
    for node in nodes:
        if node.op != "concat":
            continue
        channel = 0
        for name in node.inputs:
            alone = node.inputs.count(name) == 1 and name not in parts
            if alone and name not in planar and channel % LANES == 0:
                parts[name] = (node.name, channel)
            channel += shapes[name][0]
    return parts


def root_of(name: str, parts: Mapping[str, tuple[str, int]]) -> tuple[str, int]:
    """The map that has the memory of a node, and the node's first channel there."""
    channel = 0
    while name in parts:
        name, first = parts[name]
        channel += first
    return name, channel


def padded_of(nodes: Sequence[Node], owners: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Equation (3): of each root, which nodes' outputs are read with padding, and how much."""
    padded: dict[str, dict[str, int]] = {}
    for node in nodes:
        if node.op == "conv" and node.attributes["padding"] > 0:
            (name,) = node.inputs
            of_root = padded.setdefault(owners[name], {})
            of_root[name] = max(of_root.get(name, 0), node.attributes["padding"])
    return padded


def rows_held(
    nodes: Sequence[Node],
    shapes: Mapping[str, Shape],
    owners: Mapping[str, str],
    stem: Stem,
    planar: set[str],
) -> dict[Key, Rows]:
    """The rows of every map: of a root in a band, those of the root and its parts together."""
    rows = {Key(root): Rows(0, 0, shapes[root][1]) for root in owners.values()}
    outside = {
        owners[name]
        for node in nodes[stem.length :]
        for name in (node.name, *node.inputs)
        if name in owners
    }
    for b in range(stem.bands):
        for name, of_bands in stem.rows.items():
            root = owners[name]
            if root in outside | planar:
                continue
            held, new = rows.get(Key(root, b), of_bands[b]), of_bands[b]
            rows[Key(root, b)] = Rows(
                min(held.top, new.top), min(held.begin, new.begin), max(held.end, new.end)
            )
    for root, band, _ in list(rows):
        if Key(root, band + 1) in rows and band != WHOLE:
            kept = rows[Key(root, band + 1)].top, rows[Key(root, band)].end
            if kept[0] < kept[1]:
                rows[Key(root, band, kept=True)] = Rows(kept[0], *kept)
    return rows


def pools_of(nodes: Sequence[Node], stem: Stem) -> dict[str, Node]:
    """Equation (5): of convolutions' outputs, window beside window, in the same bands."""
    convolutions = {node.name for node in nodes if node.op == "conv"}
    pools: dict[str, Node] = {}
    for node in nodes:
        if node.op != "max_pool" or node.inputs[0] not in convolutions:
            continue
        name, stride = node.inputs[0], node.attributes["stride"]
        beside = (node.attributes["kernel"], node.attributes["padding"]) == (stride, 0)
        if beside and same_bands(stem.rows.get(name), stem.rows.get(node.name), stride):
            pools.setdefault(name, node)
    return pools


def same_bands(x: Sequence[Rows] | None, y: Sequence[Rows] | None, stride: int) -> bool:
    """Whether the rows of y in each band are those of x, pooled; None is outside of the stem."""
    if x is None or y is None:
        return x is y
    pairs = zip(x, y, strict=True)
    return all((a.begin, a.end // stride) == (b.begin * stride, b.end) for a, b in pairs)


def lives_of(
    nodes: Sequence[Node],
    order: Sequence[tuple[int, int]],
    owners: Mapping[str, str],
    rows: Mapping[Key, Rows],
    planar: set[str],
    pools: Mapping[str, Node],
) -> dict[Key, tuple[int, int]]:
    """Equation (6), in order of first writers."""
    lives: dict[Key, tuple[int, int]] = {Key(name): (-1, -1) for name in sorted(planar)}
    for position, (i, band) in enumerate(order):
        node = nodes[i]
        pooled = [pools[node.name].name] if node.name in pools else []
        for name in (node.name, *pooled, *node.inputs):
            if name in owners:
                root = owners[name]
                key = Key(root, band) if Key(root, band) in rows else Key(root)
                lives[key] = (lives.get(key, (position, 0))[0], position)
    for key in rows:
        if key.kept:
            saved = lives[Key(key.root, key.band)][1]
            lives[key] = (saved, lives[Key(key.root, key.band + 1)][0])
    return lives


def map_of(
    key: Key,
    rows: Mapping[Key, Rows],
    shapes: Mapping[str, Shape],
    halos: Mapping[str, int],
    planar: set[str],
    offset: int = 0,
) -> Map:
    """The map of a key at that offset. All bands of a root have room for as many rows."""
    C, _, W = shapes[key.root]
    height = max(
        held.end - held.top
        for other, held in rows.items()
        if (other.root, other.kept, other.band == WHOLE) == (key.root, key.kept, key.band == WHOLE)
    )
    halo = 0 if key.kept else halos.get(key.root, 0)
    return inside(offset, C, height, W, halo, 1 if key.root in planar else LANES)


def offsets_of(sizes: Mapping[Key, int], lives: Mapping[Key, tuple[int, int]]) -> dict[Key, int]:
    """Equation (7)."""
    offsets: dict[Key, int] = {}
    spans = {key: sizes[key] * (dies - born + 1) for key, (born, dies) in lives.items()}
    for key in sorted(spans, key=lambda key: -spans[key]):
        born, dies = lives[key]
        neighbours = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other][0] <= dies and born <= lives[other][1]
        )
        place = 0
        for begin, end in neighbours:
            if place + sizes[key] <= begin:
                break
            place = max(place, end)
        offsets[key] = place
    assert all(offset % LINE == 0 for offset in offsets.values())
    return offsets
