"""A-priori bounds: how far a right implementation may be from a node's exact value.

An Enclosed is (value, bound), both float64 of the output's shape: the value in real numbers from
the other side's own inputs, and a bound on |y^ - value| for every implementation under the
hypotheses of declared.py. An input that was given has bound 0; one that was not is itself the
Enclosed of an earlier node, so bounds B pass through:

    add of k maps        sum B + g(k-1) * sum (|x| + B)                                     (1)
    max pooling          max over the window of B; nothing is rounded                       (2)
    concat, upsample,    B, moved as the values are; nothing is rounded                     (3)
    space to depth
    SiLU of z            1.0999 B + |z| e + 4u |silu(z)|, |z| with B on top                 (4)
    sigmoid of z         B / 4 + e + 4u * sigmoid(z);    leaky: B + 3u |y|                  (5)
    batch norm           |s| B + g(12) * (|x s| + |mean s| + |beta|)                        (6)
    decode, p = (5)      x, y: (2 d + g(4) (2 p + 1/2 + cell)) * stride, d the bound of p   (7)
                         w, h: (8 p d + 4 d**2) * anchor * (1 + g(4)) + g(4) |y|            (8)
    stored narrower      + u_s * (|y| + bound) + tiny                                       (9)
    flushed subnormals   + 2**-126                                                         (10)
    the input x          (9) with B = 0 and without its oracle, and (10): it may be stored (11)

    e = 2**-21 and 4u: H5, as declared; 1.0999 is the largest slope of SiLU; sigmoid's is 1/4;
    g(k) = k u / (1 - k u); convolutions: bounds_conv.py
An infinite bound says that nothing can be decided. Oracle: float64, whose own error is bounded by
8 * 2**-53 * (|y| + bound), added in (9) as well.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from refquant.engine.walk import run_node
from refquant.graph.graph import Node, array_of
from refquant.ops.activation import sigmoid_math, silu_math
from refquant.ops.catalogue import OPS
from refquant.ops.norm import scale_and_shift
from refquant.ops.routing import add
from refquant.verification.bounds_conv import enclose_conv
from refquant.verification.declared import UNDERFLOW, Declared
from refquant.verification.enclosed import Enclosed, grown

Float64 = NDArray[np.float64]
SILU_SLOPE = 1.0999
LEAKY_ROUNDINGS = 3  # of the slope, of its product, and one to spare


def enclose(node: Node, inputs: Sequence[Enclosed], declared: Declared) -> Enclosed:
    """The Enclosed of a node's output."""
    # Infinite and NaN values and bounds are legal here: they mean that nothing is known.
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return narrowed(BOUNDS[node.op](node, list(inputs), declared), declared)


def narrowed(y: Enclosed, declared: Declared) -> Enclosed:
    """Equations (9) and (10)."""
    magnitude = abs(y.value) + y.bound
    bound = y.bound + 8 * 2.0**-53 * magnitude * (y.bound > 0)
    if declared.storage != "float32":
        bound = bound + declared.stored.u * magnitude + declared.stored.tiny
        bound = np.where(magnitude >= declared.stored.largest, np.inf, bound)
    if declared.flush:
        bound = bound + UNDERFLOW
    return Enclosed(y.value, bound)


def enclose_input(x: NDArray[np.float32], declared: Declared) -> Enclosed:
    """Equation (11): the golden's input x (N, 3, H, W), as the other side may give it."""
    value = np.asarray(x, np.float64)
    stored = declared.stored
    own = 0.0 if stored.name == "float32" else stored.u * abs(value) + stored.tiny
    return Enclosed(value, np.broadcast_to(own + UNDERFLOW * declared.flush, value.shape))


def activated(name: str, z: Enclosed, declared: Declared) -> Enclosed:
    """Equations (4) and (5) by the activation's name."""
    absolute, relative = declared.sigmoid
    if name == "silu":
        y = silu_math(z.value)
        carried = SILU_SLOPE * z.bound
        own = (abs(z.value) + z.bound) * absolute + relative * declared.u * (abs(y) + carried)
        return Enclosed(y, carried + own)
    if name == "sigmoid":
        y = sigmoid_math(z.value)
        return Enclosed(y, z.bound / 4 + absolute + relative * declared.u * (y + z.bound / 4))
    if name == "leaky":
        y = np.where(z.value > 0, z.value, 0.1 * z.value)
        own = grown(LEAKY_ROUNDINGS, declared.u) * abs(y) + declared.stored.tiny
        # Where the sign is certain and positive, nothing is rounded.
        return Enclosed(y, z.bound + np.where(z.value > z.bound, 0.0, own))
    return z


def elementwise(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """An activation that is a node of its own."""
    return activated(node.op, inputs[0], declared)


def moved(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """Equations (2) and (3): the operation itself, on values and on bounds."""
    values = run_node(node, [x.value for x in inputs], "math")
    bounds = [x.bound for x in inputs]
    if not any(bound.any() for bound in bounds):
        return Enclosed(values, np.zeros_like(values))
    return Enclosed(values, run_node(node, bounds, "math"))


def added(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """Equation (1)."""
    bound = add(*(x.bound for x in inputs))
    magnitude = add(*(abs(x.value) for x in inputs)) + bound
    own = grown(len(inputs) - 1, declared.u) * magnitude
    return Enclosed(add(*(x.value for x in inputs)), bound + own)


def channelwise(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """An implicit layer: one sum or product with a number per channel."""
    (x,) = inputs
    implicit = np.asarray(array_of(node.arrays["implicit"]), np.float64)[:, None, None]
    if node.op == "add_channel":
        value, carried = x.value + implicit, x.bound
        magnitude = abs(x.value) + abs(implicit) + carried
    else:
        value, carried = x.value * implicit, x.bound * abs(implicit)
        magnitude = abs(value) + carried
    tiny = declared.stored.tiny
    return Enclosed(value, carried + grown(2, declared.u) * magnitude + tiny)


def normalized(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """Equation (6), for any way of computing the scale and of ordering the operations."""
    (x,) = inputs
    gamma, beta, mean, variance = (
        np.asarray(array_of(node.arrays[key]), np.float64)
        for key in ("weight", "bias", "mean", "variance")
    )
    scale, shift = (
        part[:, None, None]
        for part in scale_and_shift(gamma, beta, mean, variance, node.attributes["eps"])
    )
    fixed = abs(beta)[:, None, None] + abs(mean)[:, None, None] * abs(scale)
    carried = x.bound * abs(scale)
    magnitude = abs(x.value * scale) + carried + fixed
    own = grown(12, declared.u) * magnitude + declared.stored.tiny
    return Enclosed(x.value * scale + shift, carried + own)


def decoded(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """Equations (7) and (8) for every level, rows in the order of ops/head.py."""
    anchors = np.asarray(array_of(node.arrays["anchors"]), np.float64)
    strides = node.attributes["strides"]
    levels = [
        decoded_level(x, level, stride, declared)
        for x, level, stride in zip(inputs, anchors, strides, strict=True)
    ]
    value = OPS["decode"].math(*(x.value for x in inputs), anchors=anchors, strides=strides)
    return Enclosed(value, np.concatenate(levels, axis=1))


def decoded_level(x: Enclosed, anchors: Float64, stride: int, declared: Declared) -> Float64:
    """The bounds of one level, (N, A*H*W, E)."""
    N, channels, H, W = x.value.shape
    A = len(anchors)
    shape = (N, A, channels // A, H, W)
    p, d = (part.reshape(shape) for part in activated("sigmoid", x, declared))
    g = grown(4, declared.u)
    bound = d.copy()
    cells = (np.arange(W), np.arange(H)[:, None])
    for entry, cell in enumerate(cells):
        own = g * (2 * (p[:, :, entry] + d[:, :, entry]) + 0.5 + cell)
        bound[:, :, entry] = (2 * d[:, :, entry] + own) * stride  # (7)
    size, off = p[:, :, 2:4], d[:, :, 2:4]
    anchor = anchors[:, :, None, None]
    spread = (8 * size * off + 4 * off**2) * anchor * (1 + g)
    bound[:, :, 2:4] = spread + g * 4 * size**2 * anchor  # (8)
    return bound.transpose(0, 1, 3, 4, 2).reshape(N, -1, channels // A)


def convolved(node: Node, inputs: list[Enclosed], declared: Declared) -> Enclosed:
    """A convolution with its activation."""
    z = enclose_conv(node, inputs[0], declared)
    if declared.storage != "float32" and node.attributes["activation"] != "linear":
        z = narrowed(z, declared)  # it may be stored before the activation too
    return activated(node.attributes["activation"], z, declared)


EncloseNode = Callable[[Node, list[Enclosed], Declared], Enclosed]
BOUNDS: dict[str, EncloseNode] = {
    "conv": convolved,
    "batch_norm": normalized,
    "silu": elementwise,
    "leaky": elementwise,
    "sigmoid": elementwise,
    "max_pool": moved,
    "upsample": moved,
    "space_to_depth": moved,
    "concat": moved,
    "add": added,
    "add_channel": channelwise,
    "multiply_channel": channelwise,
    "decode": decoded,
}
