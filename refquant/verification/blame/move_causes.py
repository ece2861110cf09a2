"""Mistakes at operations that move or add maps: concat, upsample, pooling, space to depth, add."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product

import numpy as np

from refquant.graph.graph import Node
from refquant.ops.conv import pad, windows
from refquant.ops.pool import max_pool_fast
from refquant.verification.blame.conv_causes import shift
from refquant.verification.blame.trial import Array, Cause, Inputs, Trial, mapped
from refquant.verification.enclosed import Enclosed

MOST_ORDERS = 720
ROUNDINGS = 2.0**-21  # of interpolation, relative to the largest value


def identity(node: Node) -> Node:
    """A node that gives its inputs joined."""
    return replace(node, op="concat", attributes={}, arrays={})


def concat_order(node: Node, inputs: Inputs) -> Iterator[Trial]:
    for count, order in enumerate(permutations(range(len(inputs)))):
        if count >= MOST_ORDERS:
            return
        if list(order) != sorted(order):
            yield Trial(node, [inputs[i] for i in order])


def one_repeated(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """One input in the place of another of the same shape."""
    for i, j in product(range(len(inputs)), repeat=2):
        if i != j and inputs[i].value.shape == inputs[j].value.shape:
            yield Trial(node, [inputs[j] if k == i else x for k, x in enumerate(inputs)])


def interleaved(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Channels of the inputs in turns."""
    if len({x.value.shape for x in inputs}) == 1 and len(inputs) > 1:
        parts = [
            np.stack([getattr(x, key) for x in inputs], 2).reshape(
                inputs[0].value.shape[0], -1, *inputs[0].value.shape[2:]
            )
            for key in ("value", "bound")
        ]
        yield Trial(node, [Enclosed(parts[0], parts[1])])


def resized(x: Array, scale: int, corners: bool) -> Array:
    """Bilinear, by half pixels or with the corners aligned."""
    for axis in (2, 3):
        size = x.shape[axis]
        out = np.arange(size * scale)
        place = (out + 0.5) / scale - 0.5
        if corners:
            place = out * (size - 1) / max(1, size * scale - 1)
        place = np.clip(place, 0, size - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, size - 1)
        shape = [-1 if i == axis else 1 for i in range(4)]
        share = (place - low).reshape(shape)
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def rounded_up(x: Enclosed) -> Enclosed:
    return Enclosed(x.value, x.bound + ROUNDINGS * abs(x.value).max())


def bilinear(node: Node, inputs: Inputs) -> Iterator[Trial]:
    for corners in (False, True):
        x = mapped(inputs[0], resized, node.attributes["scale"], corners)
        yield Trial(identity(node), [x], rounded_up)


def half_pixel(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Nearest neighbour from a place half a pixel off."""
    scale = node.attributes["scale"]

    def nearest(x: Array, off: int, axes: tuple[int, ...]) -> Array:
        for axis in (2, 3):
            moved = off if axis in axes else 0
            place = np.clip(
                (np.arange(x.shape[axis] * scale) + moved) // scale, 0, x.shape[axis] - 1
            )
            x = np.take(x, place, axis)
        return x

    for off in [o for o in range(-scale, scale + 1) if o]:
        for axes in ((2, 3), (2,), (3,)):
            x = mapped(inputs[0], nearest, off, axes)
            yield Trial(identity(node), [x])


def upsample_zeros(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Zeros between the pixels."""
    scale = node.attributes["scale"]

    def spread(x: Array) -> Array:
        y = np.zeros((*x.shape[:2], x.shape[2] * scale, x.shape[3] * scale))
        y[:, :, ::scale, ::scale] = x
        return y

    yield Trial(identity(node), [mapped(inputs[0], spread)])


def pooled(change: Callable[[Array, Node], Array]) -> Callable[[Node, Inputs], Iterator[Trial]]:
    def trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
        yield Trial(identity(node), [mapped(inputs[0], change, node)])

    return trials


def zero_padded(x: Array, node: Node) -> Array:
    kernel, stride, padding = (node.attributes[k] for k in ("kernel", "stride", "padding"))
    return max_pool_fast(pad(x, padding), kernel=kernel, stride=stride, padding=0)


def averaged(x: Array, node: Node) -> Array:
    kernel, stride, padding = (node.attributes[k] for k in ("kernel", "stride", "padding"))
    return windows(pad(x, padding), (kernel, kernel), stride).mean((-1, -2))


def averaged_inside(x: Array, node: Node) -> Array:
    """The padding not counted: the sum over what lies in the map, by how many these are."""
    return averaged(x, node) / averaged(np.ones_like(x), node)


def average(node: Node, inputs: Inputs) -> Iterator[Trial]:
    for change in (averaged, averaged_inside):
        yield Trial(identity(node), [mapped(inputs[0], change, node)], rounded_up)


def subsampled(x: Array, node: Node) -> Array:
    stride = node.attributes["stride"]
    return x[:, :, ::stride, ::stride]


def pool_shifted(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Windows off by a pixel, or by the padding: that of one side given to the other."""
    padding = node.attributes["padding"]
    steps = sorted({-1, 0, 1, -padding, padding})
    bare = replace(node, attributes={**node.attributes, "padding": 0})
    for rows, columns in product(steps, repeat=2):
        if (rows, columns) != (0, 0):
            yield Trial(node, [mapped(inputs[0], shift, rows, columns)])
            x = mapped(inputs[0], cut_out, padding, rows, columns)
            yield Trial(bare, [Enclosed(x.value, np.where(np.isfinite(x.value), x.bound, 0))])


def cut_out(x: Array, padding: int, rows: int, columns: int) -> Array:
    """x with its padding, moved by rows and columns, -inf where nothing is."""
    wide = pad(x, 2 * padding + 1, -np.inf)
    top, left = padding + 1 + rows, padding + 1 + columns
    H, W = (size + 2 * padding for size in x.shape[2:])
    return wide[:, :, top : top + H, left : left + W]


def other_kernel(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """A window of another size, the output's shape kept."""
    kernel, stride, padding = (node.attributes[k] for k in ("kernel", "stride", "padding"))
    for other in (3, 5, 7, 9, 13):
        if stride == 1 and other != kernel and padding == kernel // 2:
            attributes = {"kernel": other, "stride": 1, "padding": other // 2}
            yield Trial(replace(node, attributes=attributes), inputs)


def parities(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """The four parities of space to depth in another order, or channels before parities."""
    starts = ((0, 0), (1, 0), (0, 1), (1, 1))

    def joined(x: Array, order: tuple[int, ...], inner: bool) -> Array:
        parts = [x[:, :, starts[i][0] :: 2, starts[i][1] :: 2] for i in order]
        if not inner:
            return np.concatenate(parts, axis=1)
        stacked = np.stack(parts, 2)
        return stacked.reshape(stacked.shape[0], -1, *stacked.shape[3:])

    for inner in (False, True):
        for order in permutations(range(4)):
            if inner or list(order) != sorted(order):
                x = mapped(inputs[0], joined, order, inner)
                yield Trial(identity(node), [x])


def one_left_out(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """A sum without one of its parts."""
    for i in range(len(inputs)):
        rest = [x for k, x in enumerate(inputs) if k != i]
        yield Trial(node if len(rest) > 1 else identity(node), rest)


def one_doubled(node: Node, inputs: Inputs) -> Iterator[Trial]:
    for x in inputs:
        yield Trial(node, [*inputs, x])


POOL, UP, JOIN = ("max_pool",), ("upsample",), ("concat",)
MOVE_CAUSES = (
    Cause("concat order", JOIN, concat_order),
    Cause("one input of the concat taken twice", JOIN, one_repeated),
    Cause("channels of the concat interleaved", JOIN, interleaved),
    Cause("upsampling bilinear for nearest", UP, bilinear),
    Cause("upsampling shifted by a half pixel", UP, half_pixel),
    Cause("upsampling with zeros between", UP, upsample_zeros),
    Cause("pooling padded with 0 for -inf", POOL, pooled(zero_padded)),
    Cause("average for maximum", POOL, average),
    Cause("pooling without a window", POOL, pooled(subsampled)),
    Cause("pooling window shifted", POOL, pool_shifted),
    Cause("pooling window of another size", POOL, other_kernel),
    Cause("order of the parities", ("space_to_depth",), parities),
    Cause("one summand missing", ("add",), one_left_out),
    Cause("one summand doubled", ("add",), one_doubled),
)
