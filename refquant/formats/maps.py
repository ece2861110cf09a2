"""Do the maps of a file's model fit, at every image size? Channels and strides of all outputs.

A map's size is (channels, stride), stride being image pixels per cell. A window (kernel K, stride
s, padding p) must divide a map of H rows exactly by s, whenever s divides H:

    (H + 2*p - K) // s + 1 = H / s     <=>     -s <= 2*p - K <= -1                (1)

The windows of this family do: (K, s, p) = (1, 1, 0), (3, 1, 1), (3, 2, 1), (6, 2, 2), (2, 2, 0).
So one pass over the graph, without an image, shows that the model runs at every size that it
accepts, and that no map has more cells than the image: a small file cannot ask for unbounded
memory. Where the size of the image is known, graph/shapes.py gives the shapes themselves, of
graphs with any windows: a graph that was made by hand need not satisfy (1).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from refquant.arrays.errors import BadInput
from refquant.graph.graph import INPUT, Model, Node

MOST_CHANNELS = 1 << 16
COARSEST = 1024  # pixels per cell


class MapSize(NamedTuple):
    """How large a map is, for an image of any size: channels, and image pixels per cell."""

    channels: int
    stride: int


class MapOf(NamedTuple):
    """The output of a node while a file is read (darknet/, onnx/): its node and its size."""

    node: str
    channels: int
    stride: int


class Misfit(Exception):
    """What is wrong with a node's inputs, in words."""


def check_maps(model: Model, where: object) -> None:
    """Raise BadInput, naming `where` and the node, if a node cannot take the maps it is given."""
    maps = {INPUT: MapSize(3, 1)}
    for node in model.nodes:
        try:
            result = OUTPUTS[node.op](node, [maps[name] for name in node.inputs])
            if result.channels > MOST_CHANNELS or model.stride % result.stride:
                raise Misfit(
                    f"gives {result.channels} channels at stride {result.stride}; at most "
                    f"{MOST_CHANNELS}, and a stride that divides {model.stride}, are possible"
                )
        except Misfit as problem:
            raise BadInput(f"{where}: {node.name}", str(problem)) from problem
        maps[node.name] = result
    entries = maps[model.head.name].channels
    if entries != 5 + len(model.class_names):
        raise BadInput(
            where,
            f"has {len(model.class_names)} class names and a head of {entries} entries",
            "box, objectness and classes make 5 + one per class name",
        )


def only(inputs: Sequence[MapSize], least: int = 1, most: int = 1) -> MapSize:
    """The first input, if there are as many as the operation takes, all of one stride."""
    if not least <= len(inputs) <= most:
        raise Misfit(
            f"takes {len(inputs)} inputs instead of {least}" + " or more" * (most > least)
        )
    if len({x.stride for x in inputs}) != 1:
        raise Misfit(f"joins maps of strides {', '.join(str(x.stride) for x in inputs)}")
    return inputs[0]


def window(
    x: MapSize, channels: int, kernels: Sequence[int], stride: int, padding: int
) -> MapSize:
    """The map behind a sliding window."""
    for kernel in kernels:
        if not -stride <= 2 * padding - kernel <= -1:  # (1)
            raise Misfit(
                f"kernel {kernel}, stride {stride}, padding {padding} do not divide the map"
            )
    return MapSize(channels, x.stride * stride)


def equal_channels(x: MapSize, channels: int) -> MapSize:
    """x, if it has that many channels."""
    if x.channels != channels:
        raise Misfit(f"has weights for {channels} channels and is given {x.channels}")
    return x


def _conv(node: Node, inputs: list[MapSize]) -> MapSize:
    F, C, R, S = node.arrays["weight"].shape
    x = equal_channels(only(inputs), C)
    return window(x, F, (R, S), node.attributes["stride"], node.attributes["padding"])


def _max_pool(node: Node, inputs: list[MapSize]) -> MapSize:
    x, has = only(inputs), node.attributes
    return window(x, x.channels, (has["kernel"],), has["stride"], has["padding"])


def _pointwise(node: Node, inputs: list[MapSize]) -> MapSize:
    return only(inputs)


def _per_channel(node: Node, inputs: list[MapSize]) -> MapSize:
    (channels,) = next(iter(node.arrays.values())).shape
    return equal_channels(only(inputs), channels)


def _concat(node: Node, inputs: list[MapSize]) -> MapSize:
    return MapSize(sum(x.channels for x in inputs), only(inputs, 1, 64).stride)


def _add(node: Node, inputs: list[MapSize]) -> MapSize:
    x = only(inputs, 2, 64)
    for other in inputs:
        if other != x:
            raise Misfit(f"adds maps of {x.channels} and {other.channels} channels")
    return x


def _upsample(node: Node, inputs: list[MapSize]) -> MapSize:
    x, scale = only(inputs), node.attributes["scale"]
    if x.stride % scale:
        raise Misfit(f"scales a map of stride {x.stride} by {scale}, beyond the image")
    return MapSize(x.channels, x.stride // scale)


def _space_to_depth(node: Node, inputs: list[MapSize]) -> MapSize:
    x = only(inputs)
    return MapSize(4 * x.channels, 2 * x.stride)


def _decode(node: Node, inputs: list[MapSize]) -> MapSize:
    """Entries per anchor, as the channels of one last map."""
    strides = node.attributes["strides"]
    levels, anchors, _ = node.arrays["anchors"].shape
    if tuple(x.stride for x in inputs) != strides or levels != len(strides):
        raise Misfit(
            f"has strides {strides}, anchors for {levels} levels and maps of strides "
            f"{tuple(x.stride for x in inputs)}"
        )
    channels = {x.channels for x in inputs}
    if len(channels) != 1 or min(channels) % anchors:
        raise Misfit(f"has {anchors} anchors and maps of {sorted(channels)} channels")
    return MapSize(min(channels) // anchors, min(strides))


OUTPUTS: Mapping[str, Callable[[Node, list[MapSize]], MapSize]] = {
    "conv": _conv,
    "batch_norm": _per_channel,
    "silu": _pointwise,
    "leaky": _pointwise,
    "sigmoid": _pointwise,
    "max_pool": _max_pool,
    "concat": _concat,
    "upsample": _upsample,
    "space_to_depth": _space_to_depth,
    "add": _add,
    "add_channel": _per_channel,
    "multiply_channel": _per_channel,
    "decode": _decode,
}
