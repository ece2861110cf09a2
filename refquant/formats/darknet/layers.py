"""The layers of a Darknet description: from sections to a graph of which only shapes are known.

Layer i is that of the i-th section behind [net]; its nodes are "layer.i.conv", "layer.i.bn",
"layer.i.act", or "layer.i". A route joins layers, negative numbers counting back from it. A
maxpool of size and stride 2, or of odd size and stride 1, is that of PyTorch on even maps. The
convolution before a yolo layer may be linear or logistic. Both mean the same here, since the
sigmoid is part of refquant's decode:

    x = 2*s - 0.5 + column, w = 4*s**2 * anchor, s the sigmoid          scale_x_y=2, new_coords=1

Every function takes (name, section, the map before it, all maps so far, the graph so far) and
gives the layer's map.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import NamedTuple

from refquant.arrays.errors import BadInput
from refquant.formats.darknet.cfg import Section
from refquant.formats.maps import COARSEST, MOST_CHANNELS, MapOf
from refquant.graph.graph import INPUT, Node

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "leaky": "leaky",
    "logistic": "sigmoid",
    "linear": "",
}
NORM = ("bias", "weight", "mean", "variance")  # in the order of the weights file
MOST_INPUTS = 64  # of a route
MOST_CLASSES = 1 << 14


class Level(NamedTuple):
    """What a yolo layer decodes: raw values, anchors in pixels."""

    raw: MapOf
    anchors: list[list[float]]
    classes: int


class Outline(NamedTuple):
    """The graph without its numbers: nodes, the shapes of their arrays, the levels of the head."""

    nodes: list[Node]
    shapes: dict[str, dict[str, tuple[int, ...]]]  # per node; in the order of the weights file
    levels: list[Level]

    @property
    def numbers(self) -> int:
        """Numbers in the weights file."""
        return sum(prod(shape) for shapes in self.shapes.values() for shape in shapes.values())


def outline_of(sections: list[Section]) -> Outline:
    """The graph that the sections describe."""
    outline = Outline([], {}, [])
    layers: list[MapOf] = []
    for index, section in enumerate(sections[1:]):
        previous = layers[-1] if layers else MapOf(INPUT, 3, 1)
        made = LAYERS[section.kind](f"layer.{index}", section, previous, layers, outline)
        if made.channels > MOST_CHANNELS or made.stride > COARSEST:
            section.fail(f"it gives {made.channels} channels at stride {made.stride}")
        layers.append(made)
    if len({(level.classes, len(level.anchors)) for level in outline.levels}) != 1:
        problem = "it has no yolo layers, or their numbers of classes or anchors differ"
        raise BadInput("cfg", problem)
    if len({level.raw.stride for level in outline.levels}) != len(outline.levels):
        raise BadInput("cfg", "two yolo layers have the same stride")
    return outline


def convolution(
    name: str, section: Section, x: MapOf, layers: list[MapOf], outline: Outline
) -> MapOf:
    """conv [, batch norm] [, activation]; its numbers' shapes in the order of the file."""
    section.require(groups="1", dilation="1")
    filters = section.integer("filters", 1, MOST_CHANNELS)
    size, stride = section.integer("size", 1, 64), section.integer("stride", 1, 64, 1)
    padding = section.integer("padding", 0, 64, 0)
    padding = size // 2 if section.integer("pad", 0, 1, 0) else padding
    activation = section.values.get("activation", "logistic")  # Darknet's default
    if activation not in ACTIVATIONS:
        section.fail(f"activation={activation[:40]}, not {', '.join(ACTIVATIONS)}")
    weight = (filters, x.channels, size, size)
    attributes = {"stride": stride, "padding": padding, "activation": "linear"}
    last = f"{name}.conv"
    outline.nodes.append(Node(last, "conv", (x.node,), attributes))
    norm = section.integer("batch_normalize", 0, 1, 0)
    if norm:
        outline.shapes[f"{name}.bn"] = dict.fromkeys(NORM, (filters,))
        outline.shapes[last] = {"weight": weight}
        outline.nodes.append(Node(f"{name}.bn", "batch_norm", (last,)))
        last = f"{name}.bn"
    else:
        outline.shapes[last] = {"bias": (filters,), "weight": weight}
    if ACTIVATIONS[activation]:
        outline.nodes.append(Node(f"{name}.act", ACTIVATIONS[activation], (last,)))
        last = f"{name}.act"
    return MapOf(last, filters, x.stride * stride)


def route(name: str, section: Section, x: MapOf, layers: list[MapOf], outline: Outline) -> MapOf:
    """The layers listed, joined; a single one is that layer itself."""
    section.require(groups="1")
    chosen = []
    for entry in section.integers("layers", MOST_INPUTS):
        index = entry if entry >= 0 else len(layers) + entry
        if not 0 <= index < len(layers):
            section.fail(f"layers={section.values['layers'][:60]}: {entry} is no layer before it")
        chosen.append(layers[index])
    if len(chosen) == 1:
        return chosen[0]
    outline.nodes.append(Node(name, "concat", tuple(x.node for x in chosen)))
    return MapOf(name, sum(x.channels for x in chosen), chosen[0].stride)


def maxpool(name: str, section: Section, x: MapOf, layers: list[MapOf], outline: Outline) -> MapOf:
    size, stride = section.integer("size", 1, 64), section.integer("stride", 1, 64, 1)
    section.require(padding=str(size - 1))
    if (size, stride) != (2, 2) and (size % 2 == 0 or stride != 1):
        section.fail(f"size={size} and stride={stride}: only 2 and 2, or odd and 1, are supported")
    attributes = {"kernel": size, "stride": stride, "padding": 0 if stride == 2 else size // 2}
    outline.nodes.append(Node(name, "max_pool", (x.node,), attributes))
    return MapOf(name, x.channels, x.stride * stride)


def upsample(
    name: str, section: Section, x: MapOf, layers: list[MapOf], outline: Outline
) -> MapOf:
    scale = section.integer("stride", 2, 64, 2)
    if x.stride % scale:
        section.fail(f"stride={scale}: a map of stride {x.stride} grows beyond the image")
    outline.nodes.append(Node(name, "upsample", (x.node,), {"scale": scale}))
    return MapOf(name, x.channels, x.stride // scale)


def yolo(name: str, section: Section, x: MapOf, layers: list[MapOf], outline: Outline) -> MapOf:
    """A level of the head; its sigmoids, if they are written, are those of the decode."""
    if "scale_x_y" not in section.values or "new_coords" not in section.values:
        section.fail("scale_x_y=2.0 and new_coords=1 are missing: an older head than YOLOv7's")
    section.require(scale_x_y="2", new_coords="1")
    classes = section.integer("classes", 1, MOST_CLASSES)
    numbers = section.decimals("anchors", 2 * MOST_INPUTS)
    mask = section.integers("mask", MOST_INPUTS)
    if section.integer("num", 1, MOST_INPUTS, 1) * 2 != len(numbers) or not all(
        0 <= index < len(numbers) // 2 for index in mask
    ):
        section.fail("mask, anchors and num do not fit together")
    if x.channels != len(mask) * (5 + classes):
        due = f"{len(mask)} x (5 + {classes})"
        section.fail(f"the convolution before it has {x.channels} filters instead of {due}")
    if x.node.endswith(".act"):
        node = outline.nodes[-1]
        if node.name != x.node or node.op != "sigmoid":
            section.fail("the convolution before it is neither linear nor logistic")
        x = x._replace(node=node.inputs[0])
    pairs = [numbers[2 * index : 2 * index + 2] for index in mask]
    outline.levels.append(Level(x, pairs, classes))
    return x


LAYERS: Mapping[str, Callable[[str, Section, MapOf, list[MapOf], Outline], MapOf]] = {
    "convolutional": convolution,
    "route": route,
    "maxpool": maxpool,
    "upsample": upsample,
    "yolo": yolo,
}
