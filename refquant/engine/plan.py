"""Where every map of a model lies in memory: one arena, in which maps share places over time.

A map lives from the moment when it is first written to the moment when it is last read. Maps whose
lives do not overlap may share memory, so the arena is little larger than the widest moment needs.

A concat costs nothing if its inputs are written where its output has their channels. That takes a
first channel divisible by 16 (a block), and an input that no earlier concat holds already and that
this one does not read twice. Other inputs are copied. An input of a concat may be a concat.

    shapes    (C, H, W) of every node, which follow from the image's H and W (shapes.py)
    parts     node -> (concat, first channel), for a node that is written in place            (1)
    roots     the maps that get memory: the nodes that are no parts, and the image            (2)
    padded    for a root, its parts that are read with padding, itself included               (3)
    halos     for a root, the largest padding of these                                        (4)
    order     of (node, band): the stem band by band (bands.py), then every other node once
    rows      of every map in its band (bands.py)                                             (5)
    pools, lives, offsets     (lives.py)

A root of the stem is a map of its own in every band, which holds the rows of that band. Rows that
are kept for the next band wait in a third kind of map.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from refquant.engine.bands import NO_STEM, RowSpan, Stem, stem_of
from refquant.engine.blocked import LANES, PlacedMap, placed_at
from refquant.engine.lives import WHOLE, Key, Life, lives_of, offsets_of, pools_of
from refquant.graph.graph import INPUT, Model, Node
from refquant.graph.shapes import Shape, shapes_of

OPS_IN_BLOCKS = ("conv", "max_pool", "upsample", "concat", "add", "space_to_depth", "decode")


class Plan(NamedTuple):
    """Places of all maps; the names are those of the file's docstring.

    roots     for every node, its root, and its first channel there
    padded    for a root, the nodes whose outputs need a border of zeros, and their paddings
    halos     for a root; it is 0 where it is missing
    maps      their addresses count from the arena's start
    lives     as positions in `order`
    size      of the arena in bytes
    """

    shapes: Mapping[str, Shape]
    roots: Mapping[str, tuple[str, int]]
    padded: Mapping[str, Mapping[str, int]]
    halos: Mapping[str, int]
    stem: Stem
    order: Sequence[tuple[int, int]]
    pools: Mapping[str, Node]
    rows: Mapping[Key, RowSpan]
    maps: Mapping[Key, PlacedMap]
    lives: Mapping[Key, Life]
    size: int

    def key(self, name: str, band: int) -> Key:
        """The map that holds a node's output in a band."""
        root = self.roots[name][0]
        return Key(root, band) if Key(root, band) in self.maps else Key(root)

    def at(self, address: int) -> "Plan":
        """The plan whose maps have the addresses that they have in an arena at that address."""
        maps = {
            key: place._replace(address=place.address + address)
            for key, place in self.maps.items()
        }
        return self._replace(maps=maps)

    def place(self, name: str, band: int, begin: int, rows: int) -> PlacedMap:
        """Where rows `begin` to begin + rows - 1 of a node's output lie."""
        key = self.key(name, band)
        _, channel = self.roots[name]
        first = begin - self.rows[key].top
        return self.maps[key].from_row(first, rows).part(channel, self.shapes[name][0])

    def whole(self, name: str) -> PlacedMap:
        """Where a node's output lies, outside of the stem."""
        return self.place(name, WHOLE, 0, self.shapes[name][1])

    def window(self, node: Node, band: int, stride: int = 1) -> tuple[PlacedMap, list[PlacedMap]]:
        """Where the rows that a band computes lie, and of each input the rows that they need."""
        begin, end = 0, self.shapes[node.name][1]
        if band != WHOLE:
            _, begin, end = self.stem.rows[node.name][band]
        y = self.place(node.name, band, begin, end - begin)
        first = begin * stride
        xs = [self.place(name, band, first, self.shapes[name][1] - first) for name in node.inputs]
        return y, xs


def can_plan(model: Model) -> bool:
    """Whether the engine can run every node in blocks; those of folded models it can."""
    nodes = model.nodes
    planar = {n.name for n in nodes if n.op == "space_to_depth"}  # which only convolutions read
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
    """Plan a model for images of height x width pixels, with its stem in bands or not."""
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
    return Plan(shapes, roots, padded, halos, stem, order, pools, rows, maps, lives, size)


def planar_maps(nodes: Sequence[Node]) -> set[str]:
    """The maps that are written before all steps: the image, and its space-to-depth."""
    planar = {node.name for node in nodes if node.op == "space_to_depth"}
    return planar | {INPUT for node in nodes if node.op == "conv" and INPUT in node.inputs}


def parts_of(
    nodes: Sequence[Node], shapes: Mapping[str, Shape], planar: set[str]
) -> dict[str, tuple[str, int]]:
    """The nodes that are written in place, by equation (1)."""
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
    """The root that has the memory of a node, and the node's first channel there, by (2)."""
    channel = 0
    while name in parts:
        name, first = parts[name]
        channel += first
    return name, channel


def padded_of(nodes: Sequence[Node], owners: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """For every root, the nodes whose outputs are read with padding, and how much, by (3)."""
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
) -> dict[Key, RowSpan]:
    """The rows of every map, by (5); those of a root in a band are its own and its parts'."""
    rows = {Key(root): RowSpan(0, 0, shapes[root][1]) for root in owners.values()}
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
            rows[Key(root, b)] = RowSpan(
                min(held.top, new.top), min(held.begin, new.begin), max(held.end, new.end)
            )
    for root, band, _ in list(rows):
        if Key(root, band + 1) in rows and band != WHOLE:
            kept = rows[Key(root, band + 1)].top, rows[Key(root, band)].end
            if kept[0] < kept[1]:
                rows[Key(root, band, kept=True)] = RowSpan(kept[0], *kept)
    return rows


def map_of(
    key: Key,
    rows: Mapping[Key, RowSpan],
    shapes: Mapping[str, Shape],
    halos: Mapping[str, int],
    planar: set[str],
    offset: int = 0,
) -> PlacedMap:
    """The map of a key at that offset. All bands of a root have room for the same rows."""
    C, _, W = shapes[key.root]
    height = max(
        held.end - held.top
        for other, held in rows.items()
        if (other.root, other.kept, other.band == WHOLE) == (key.root, key.kept, key.band == WHOLE)
    )
    halo = 0 if key.kept else halos.get(key.root, 0)
    return placed_at(offset, C, height, W, halo, 1 if key.root in planar else LANES)
