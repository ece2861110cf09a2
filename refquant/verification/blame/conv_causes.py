"""Mistakes at a convolution: bias, activation, kernel, borders, order of weights.

    y = activation(b + sum of x * w)   with one thing of it wrong; ops/conv.py has the rest

A padding that is one pixel too small on one side and too large on the other shifts every window;
at stride 2 it is also the other phase of the stride, which is the same arithmetic. The "SAME"
padding of other frameworks (0 above, 1 below) at stride 2 is the shift by (1, 1).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product

import numpy as np

from refquant.graph.graph import Node, array_of
from refquant.ops.conv import pad
from refquant.verification.blame.trial import (
    Array,
    Cause,
    Inputs,
    Trial,
    mapped,
    weight_of,
    with_arrays,
    with_attributes,
)
from refquant.verification.bounds import activated, enclose
from refquant.verification.declared import Declared
from refquant.verification.enclosed import Enclosed

SLOPES = (0.01, 0.2, 0.125, 0.25, 0.3, 102 / 1024)
ROUNDING = 2.0**-21  # of formulas other than ours, relative, and absolute for sigmoids


def bias_missing(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if "bias" in node.arrays:
        yield Trial(with_arrays(node, bias=None), inputs)


def bias_doubled(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if "bias" in node.arrays:
        yield Trial(with_arrays(node, bias=2 * array_of(node.arrays["bias"])), inputs)


def bias_sign(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if "bias" in node.arrays:
        yield Trial(with_arrays(node, bias=-array_of(node.arrays["bias"])), inputs)


def bias_of_others(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Each filter with the bias of its neighbour, or of the last one first."""
    if "bias" in node.arrays:
        bias = array_of(node.arrays["bias"])
        for other in (np.roll(bias, 1), np.roll(bias, -1), bias[::-1]):
            yield Trial(with_arrays(node, bias=other), inputs)


def linear(node: Node) -> Node:
    """The node without its activation; one that is an activation becomes the identity."""
    if node.op == "conv":
        return with_attributes(node, activation="linear")
    return replace(node, op="concat", attributes={})


def activation_missing(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if node.attributes.get("activation") != "linear":
        yield Trial(linear(node), inputs)


def sloped(slope: float, most: float = 1.0) -> Callable[[Enclosed], Enclosed]:
    """x where x > 0, otherwise slope * x."""

    def after(z: Enclosed) -> Enclosed:
        y = np.where(z.value > 0, z.value, slope * z.value)
        return Enclosed(y, most * z.bound + ROUNDING * abs(y) * (z.value <= z.bound))

    return after


def leaky_slope(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if "leaky" in (node.op, node.attributes.get("activation")):
        for slope in SLOPES:
            yield Trial(linear(node), inputs, sloped(slope))


def relu(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if node.attributes.get("activation") != "linear":
        yield Trial(linear(node), inputs, sloped(0.0))


def hard_swish(z: Enclosed) -> Enclosed:
    y = z.value * np.clip(z.value + 3, 0, 6) / 6
    return Enclosed(y, 1.5 * z.bound + ROUNDING * (abs(y) + abs(z.value)))


def again(name: str) -> Callable[[Enclosed], Enclosed]:
    return lambda z: activated(name, z, Declared())


def other_activation(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Another activation than the node's: SiLU, leaky, sigmoid, hard swish, tanh-free ones."""
    own = node.attributes.get("activation", node.op)
    for name in ("silu", "leaky", "sigmoid"):
        if name != own:
            yield Trial(linear(node), inputs, again(name))
    if own != "linear":
        yield Trial(linear(node), inputs, hard_swish)


def activation_twice(node: Node, inputs: Inputs) -> Iterator[Trial]:
    own = node.attributes.get("activation", node.op)
    if own != "linear":
        yield Trial(node, inputs, again(own))


def reweighted(*changes: Callable[[Array], Array]) -> Callable[[Node, Inputs], Iterator[Trial]]:
    """Trials with the weight changed; a change that does nothing is no trial."""

    def trials(node: Node, inputs: Inputs) -> Iterator[Trial]:
        weight = weight_of(node)
        for change in changes:
            other = change(weight)
            if other.shape == weight.shape and not np.array_equal(other, weight):
                magnitude = {key: None for key in node.arrays if key.endswith("_magnitude")}
                yield Trial(with_arrays(node, weight=other, **magnitude), inputs)

    return trials


def read_as(order: tuple[int, ...]) -> Callable[[Array], Array]:
    """The weight written with its axes in that order and read as if it were F, C, R, S."""
    return lambda w: np.ascontiguousarray(w.transpose(order)).reshape(w.shape)


LAYOUTS = [read_as(order) for order in permutations(range(4)) if order != (0, 1, 2, 3)]


def shifted(node: Node, inputs: Inputs, steps: Iterator[tuple[int, int]]) -> Iterator[Trial]:
    padding = node.attributes["padding"]
    for step in steps:
        x = mapped(inputs[0], padded_off, padding, *step)
        yield Trial(with_attributes(node, padding=0), [x])


def padded_off(x: Array, padding: int, rows: int, columns: int) -> Array:
    """x with padding - rows zeros above and padding + rows below, columns likewise."""
    wide = pad(x, padding + 1)
    H, W = (size + 2 * padding for size in x.shape[2:])
    return wide[:, :, 1 + rows : 1 + rows + H, 1 + columns : 1 + columns + W]


def shift(x: Array, rows: int, columns: int) -> Array:
    """y[h, w] = x[h + rows, w + columns], 0 outside."""
    border = max(abs(rows), abs(columns))
    H, W = x.shape[2:]
    padded = pad(x, border)
    return padded[:, :, border + rows : border + rows + H, border + columns : border + columns + W]


def stride_phase(node: Node, inputs: Inputs) -> Iterator[Trial]:
    if node.attributes["stride"] > 1:
        yield from shifted(node, inputs, iter(((1, 1), (1, 0), (0, 1))))


def padding_shifted(node: Node, inputs: Inputs) -> Iterator[Trial]:
    steps = [(r, c) for r, c in product((-1, 0, 1), repeat=2) if (r, c) != (0, 0)]
    if node.attributes["padding"] or node.attributes["stride"] > 1:
        yield from shifted(node, inputs, iter(steps))


def padding_mode(node: Node, inputs: Inputs) -> Iterator[Trial]:
    """Borders repeated or mirrored instead of zeros."""
    padding = node.attributes["padding"]
    for mode in ("edge", "reflect", "symmetric", "wrap"):
        if 0 < padding < min(inputs[0].value.shape[2:]):

            def bordered(x: Array, mode: str = mode) -> Array:
                sides = ((0, 0), (0, 0), (padding, padding), (padding, padding))
                return np.pad(x, sides, mode=mode)  # type: ignore[call-overload]

            yield Trial(with_attributes(node, padding=0), [mapped(inputs[0], bordered)])


def channels_permuted(node: Node, inputs: Inputs, found: Array, declared: Declared) -> bool:
    """Whether every channel of y^ is one of the right channels, each taken once."""
    y = enclose(node, inputs, declared)
    if y.value.shape != found.shape or found.shape[1] < 2:
        return False
    spots = np.linspace(0, y.value[0, 0].size - 1, 32).astype(int)
    F = found.shape[1]
    right, other = (a[0].reshape(F, -1)[:, spots] for a in (y.value, np.asarray(found, float)))
    nearest = np.array([int(abs(right - row).sum(1).argmin()) for row in other])
    if sorted(nearest) != list(range(F)) or (nearest == np.arange(F)).all():
        return False
    return bool((abs(found - y.value[:, nearest]) <= y.bound[:, nearest]).all())


CONV = ("conv",)
ACTIVE = ("conv", "silu", "leaky")
CONV_CAUSES = (
    Cause("bias missing", CONV, bias_missing),
    Cause("bias doubled", CONV, bias_doubled),
    Cause("bias subtracted", CONV, bias_sign),
    Cause("bias of other filters", CONV, bias_of_others),
    Cause("activation missing", ACTIVE, activation_missing),
    Cause("ReLU for the activation", ACTIVE, relu),
    Cause("wrong slope of LeakyReLU", ACTIVE, leaky_slope),
    Cause("another activation", ACTIVE, other_activation),
    Cause("activation applied twice", ACTIVE, activation_twice),
    Cause(
        "kernel flipped",
        CONV,
        reweighted(
            lambda w: w[:, :, ::-1, ::-1], lambda w: w[:, :, ::-1], lambda w: w[:, :, :, ::-1]
        ),
    ),
    Cause("kernel transposed", CONV, reweighted(lambda w: w.transpose(0, 1, 3, 2))),
    Cause("filters and channels exchanged", CONV, reweighted(lambda w: w.transpose(1, 0, 2, 3))),
    Cause("weight read in another layout", CONV, reweighted(*LAYOUTS)),
    Cause("stride phase or asymmetric padding", CONV, stride_phase),
    Cause("padding off by one", CONV, padding_shifted),
    Cause("border not padded with zeros", CONV, padding_mode),
    Cause(
        "input channels reversed or exchanged",
        CONV,
        reweighted(lambda w: w[:, ::-1], lambda w: np.roll(w, w.shape[1] // 2, 1)),
    ),
    Cause("output channels in another order", CONV, fits=channels_permuted),
)
