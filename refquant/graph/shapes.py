"""Shapes: (C, H, W) of every node's map, and of the predictions, from the image's (3, H, W).

Whoever reserves memory by these shapes relies on them, so a graph whose maps do not fit each other
is refused here, and so is one in which two nodes have the same name. A model that comes from a
file was checked before, for every size of the image at once (formats/maps.py). That check demands
windows that divide their maps; this one takes any, since it knows the size, and is all that there
is for a graph that was made by hand.
"""

from collections.abc import Sequence

from refquant.arrays.errors import BadInput
from refquant.graph.graph import INPUT, Node
from refquant.ops.conv import output_size

Shape = tuple[int, int, int]


def shapes_of(nodes: Sequence[Node], image: Shape) -> dict[str, Shape]:
    """(C, H, W) of the image and of every node's output; a decode's is no map and is left out."""
    shapes = {INPUT: image}
    for node in nodes:
        if node.name in shapes:
            raise BadInput(node.name, "is the name of two nodes", "rename one")
        inputs = [shapes[name] for name in node.inputs]
        if node.op == "decode":
            predictions_of(node, inputs)
        else:
            shapes[node.name] = shape_of(node, inputs)
    return shapes


def predictions_of(decode: Node, levels: Sequence[Shape]) -> tuple[int, int]:
    """(rows, E) of a decode's output: a row per anchor and cell, E >= 5 numbers each."""
    _, A, _ = decode.arrays["anchors"].shape
    channels = {C for C, _, _ in levels}
    if len(channels) != 1 or min(channels) < 5 * A:
        raise BadInput(decode.name, f"has {A} anchors and maps of {sorted(channels)} channels")
    return sum(A * H * W for _, H, W in levels), min(channels) // A


def shape_of(node: Node, inputs: Sequence[Shape]) -> Shape:
    """(C, H, W) of a node's output."""
    C, H, W = inputs[0]
    attributes = node.attributes
    if any(shape[1:] != (H, W) or (node.op == "add" and shape[0] != C) for shape in inputs):
        raise BadInput(node.name, f"joins maps of shapes {', '.join(map(str, inputs))}")
    if node.op == "conv":
        F, channels, R, S = node.arrays["weight"].shape
        if channels != C:
            raise BadInput(node.name, f"has weights for {channels} channels and is given {C}")
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
    return C, H, W
