"""Where every map of a network lies in memory: one arena, in which maps share places over time.

A map lives from the node that writes it to the last node that reads it. Maps whose lives do not
overlap may share memory, so the arena is little larger than the widest moment of the network.

Concat costs nothing: its inputs are written where the concat's output has their channels. That
takes a first channel divisible by 16 (a block) and an input that is joined into nothing else;
other inputs are copied. An input of a concat may be a concat.

    shapes    (C, H, W) of every node, from the image's H and W                  (1)
    parts     node -> (concat, first channel), where it is written in place      (2)
    roots     the maps that get memory: nodes that are no parts, the image apart
    halo      of a root: the largest padding of a convolution that reads it or its parts   (3)
    lives     root -> first writer and last reader, as positions in the graph    (4)
    offsets   of roots in the arena, so that lives and memory do not overlap     (5)

Offsets are found greedily: largest first, each at the lowest place that is free for its whole
life.
"""

from collections.abc import Mapping
from typing import NamedTuple

from refquant.graph.graph import INPUT, Model, Node
from refquant.ops.blocked import LANES, LINE, Map, inside, strides
from refquant.ops.conv import output_size

Shape = tuple[int, int, int]

OPS_IN_BLOCKS = ("conv", "max_pool", "upsample", "concat", "add", "space_to_depth", "decode")


class Plan(NamedTuple):
    """Places of all maps; `places` has addresses relative to the arena's start."""

    shapes: Mapping[str, Shape]
    places: Mapping[str, Map]
    halos: Mapping[str, int]  # of every map, the image and its space-to-depth too
    parts: Mapping[str, tuple[str, int]]
    lives: Mapping[str, tuple[int, int]]
    planar: frozenset[str]  # the image and its space-to-depth, which lie outside of the arena
    size: int  # bytes


def can_plan(model: Model) -> bool:
    """Whether every node is one that the engine runs in blocks; folded models are."""
    readers_of_image = [node.op for node in model.nodes if INPUT in node.inputs]
    return (
        all(node.op in OPS_IN_BLOCKS for node in model.nodes)
        and all(op in ("conv", "space_to_depth") for op in readers_of_image)
        and all(n.inputs == (INPUT,) for n in model.nodes if n.op == "space_to_depth")
        and all(
            n.attributes["padding"] < n.attributes["kernel"]
            for n in model.nodes
            if n.op == "max_pool"
        )
        and [node.op for node in model.nodes].index("decode") == len(model.nodes) - 1
    )


def plan(model: Model, rows: int, columns: int) -> Plan:
    """Plan a model for images of rows x columns pixels."""
    nodes = model.nodes
    shapes = shapes_of(nodes, (3, rows, columns))
    parts = parts_of(nodes, shapes)
    planar = {INPUT, *(node.name for node in nodes if node.op == "space_to_depth")}
    in_memory = [n.name for n in nodes if n.op != "decode" and n.name not in planar]
    root = {name: root_of(name, parts) for name in in_memory}
    halos = halos_of(nodes, {**root, **{name: (name, 0) for name in planar}})
    lives = lives_of(nodes, root)
    sizes = {name: size_of(shapes[name], halos.get(name, 0)) for name in lives}
    offsets = offsets_of(sizes, lives)
    places = {}
    for name, (owner, channel) in root.items():
        C, H, W = shapes[owner]
        whole = inside(offsets[owner], C, H, W, halos.get(owner, 0))
        places[name] = whole.part(channel, shapes[name][0])
    size = max(offsets[name] + sizes[name] for name in lives)
    return Plan(shapes, places, halos, parts, lives, frozenset(planar), size)


def shapes_of(nodes: tuple[Node, ...], image: Shape) -> dict[str, Shape]:
    """Equation (1); a decode has no map."""
    shapes = {INPUT: image}
    for node in nodes:
        if node.op != "decode":
            shapes[node.name] = shape_of(node, [shapes[name] for name in node.inputs])
    return shapes


def shape_of(node: Node, inputs: list[Shape]) -> Shape:
    """(C, H, W) of a node's output."""
    C, H, W = inputs[0]
    attributes = node.attributes
    if node.op == "conv":
        F, _, R, S = node.arrays["weight"].shape
        stride, padding = attributes["stride"], attributes["padding"]
        return F, output_size(H, R, stride, padding), output_size(W, S, stride, padding)
    if node.op == "max_pool":
        kernel, stride, padding = (attributes[key] for key in ("kernel", "stride", "padding"))
        return C, output_size(H, kernel, stride, padding), output_size(W, kernel, stride, padding)
    if node.op == "upsample":
        return C, H * attributes["scale"], W * attributes["scale"]
    if node.op == "concat":
        return sum(shape[0] for shape in inputs), H, W
    if node.op == "space_to_depth":
        return 4 * C, H // 2, W // 2
    return C, H, W  # add


def parts_of(nodes: tuple[Node, ...], shapes: Mapping[str, Shape]) -> dict[str, tuple[str, int]]:
    """Equation (2)."""
    parts: dict[str, tuple[str, int]] = {}
    for node in nodes:
        if node.op != "concat":
            continue
        channel = 0
        for name in node.inputs:
            once = node.inputs.count(name) == 1 and name not in parts
            if once and name != INPUT and channel % LANES == 0:
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


def halos_of(nodes: tuple[Node, ...], root: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    """Equation (3); maps without a halo are left out."""
    halos: dict[str, int] = {}
    for node in nodes:
        if node.op == "conv" and node.attributes["padding"] > 0:
            owner = root[node.inputs[0]][0]
            halos[owner] = max(halos.get(owner, 0), node.attributes["padding"])
    return halos


def lives_of(
    nodes: tuple[Node, ...], root: Mapping[str, tuple[str, int]]
) -> dict[str, tuple[int, int]]:
    """Equation (4), in order of first writers."""
    lives: dict[str, tuple[int, int]] = {}
    for i, node in enumerate(nodes):
        for name in (node.name, *node.inputs):
            if name in root:
                owner = root[name][0]
                lives[owner] = (lives.get(owner, (i, i))[0], i)
    return lives


def size_of(shape: Shape, halo: int) -> int:
    """Bytes of a root."""
    C, H, W = shape
    return -(-C // LANES) * strides(H, W, halo)[0]


def offsets_of(sizes: Mapping[str, int], lives: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Equation (5)."""
    offsets: dict[str, int] = {}
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        born, dies = lives[name]
        neighbours = sorted(
            (offsets[other], offsets[other] + sizes[other])
            for other in offsets
            if lives[other][0] <= dies and born <= lives[other][1]
        )
        place = 0
        for begin, end in neighbours:
            if place + sizes[name] <= begin:
                break
            place = max(place, end)
        offsets[name] = place
    assert all(offset % LINE == 0 for offset in offsets.values())
    return offsets
