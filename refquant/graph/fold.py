"""Folding: batch norms, RepConv branches, implicit layers and activations move into convolutions.

All of it is done in float64, and whoever reads a checkpoint rounds once at the end. New weights
are only described at first (`Folded`), then computed and rounded node by node, so that a model
never exists in float64 as a whole. W is a weight (F, C, R, S), b a bias (F,), and (gamma, beta,
mean, variance) are the arrays of a batch norm over F channels.

    conv, batch norm     s = gamma / sqrt(variance + eps)                        (1)
                         W' = W * s,  b' = beta - mean * s + b * s               (2)
    sum of convs         the smaller kernel is centred in the larger, then
                         W' = sum of W,  b' = sum of b                           (3)
    batch norm of the    a 1x1 convolution with W[f, f] = s, b = beta - mean * s (4)
    input (RepConv's identity branch), then as (3)
    conv of (x + i)      b' = b + sum over c of W[:, c] * i[c]   (1x1, no border) (5)
    (conv) * m           W' = W * m,  b' = b * m                                 (6)
    conv, activation     the activation becomes the convolution's attribute      (7)

A folded convolution keeps what cancellation in (2), (3) and (5) hides, since the bounds of an
implementation that did not fold need it:
    bias_magnitude    (F,)           the same sums over absolute values
    weight_magnitude  (F, C, R, S)   sum of |W| over the branches, only after (3)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.graph.graph import Array, Model, Node, array_of, cast
from refquant.ops.norm import scale_and_shift

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Folded:
    """An array (shape) that `dequantize` computes, in float64, each time it is asked."""

    shape: tuple[int, ...]
    dequantize: Callable[[], NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return 8 * int(np.prod(self.shape))


def fold(model: Model, dtype: type | None = None) -> Model:
    """The folded model; a model that is folded already stays as it is.

    Arrays that folding changed are float64; with a dtype, all plain floating ones are rounded.
    """
    nodes = model.nodes
    for rule in (norm_of_input, norm, implicit_add, implicit_multiply, branches, activation):
        nodes = rewritten(rule, nodes)
    return model.with_nodes(tuple(computed(node, dtype) for node in nodes), folded=True)


def computed(node: Node, dtype: type | None = None) -> Node:
    """The node with its folded arrays computed."""
    arrays = {
        key: value.dequantize() if isinstance(value, Folded) else value
        for key, value in node.arrays.items()
    }
    node = replace(node, arrays=arrays)
    return node if dtype is None else cast(node, dtype)


Rewrite = Callable[[Node, Mapping[str, Node], Counter], Node | None]


def rewritten(rule: Rewrite, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes after a rule, folded arrays not yet computed.

    rule(node, by_name, uses) -> the node that takes the place of `node` and of those it swallowed
    (which then feed nobody and are dropped), or None. The new node has a name of its own choice;
    readers of the old name are redirected.
    """
    by_name: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    uses = Counter(name for node in nodes for name in node.inputs)
    swallowed: set[str] = set()
    order: list[str] = []
    for old in nodes:
        node = replace(old, inputs=tuple(renamed.get(name, name) for name in old.inputs))
        new = rule(node, by_name, uses)
        if new is not None:
            swallowed.update(set(node.inputs) - set(new.inputs) - {new.name})
            renamed[node.name] = new.name
            uses[new.name] = uses[node.name]
            node = new
        by_name[node.name] = node
        if node.name in order:
            order.remove(node.name)
        order.append(node.name)
    return tuple(by_name[name] for name in order if name not in swallowed)


def exact(node: Node, name: str) -> Float64:
    """An array of the node in float64."""
    return np.asarray(array_of(node.arrays[name]), np.float64)


def bias_of(node: Node) -> Float64:
    """A convolution's bias in float64, zeros where it has none."""
    filters = node.arrays["weight"].shape[0]
    return exact(node, "bias") if "bias" in node.arrays else np.zeros(filters)


def magnitude_of(node: Node) -> Float64:
    """A convolution's bias_magnitude, |bias| where nothing was folded into it yet."""
    return exact(node, "bias_magnitude") if "bias_magnitude" in node.arrays else abs(bias_of(node))


def lone_conv(name: str, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """The convolution of that name, if its output goes to one reader only, unactivated."""
    node = by_name.get(name)
    if node is None or node.op != "conv" or uses[name] != 1:
        return None
    return node if node.attributes["activation"] == "linear" else None


def scale_and_bias(norm_node: Node) -> tuple[Float64, Float64, Float64]:
    """Equation (1): s, beta - mean * s, and |beta| + |mean * s|."""
    gamma, beta, mean, variance = (
        exact(norm_node, key) for key in ("weight", "bias", "mean", "variance")
    )
    scale, shift = scale_and_shift(gamma, beta, mean, variance, norm_node.attributes["eps"])
    return scale, shift, abs(beta) + abs(mean * scale)


def scaled(conv: Node, scale: Float64) -> Folded:
    """A convolution's weight with filter f times scale[f]."""
    shape = conv.arrays["weight"].shape
    return Folded(shape, lambda: exact(conv, "weight") * scale[:, None, None, None])


def norm(node: Node, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """conv, batch norm -> conv: equation (2)."""
    if node.op != "batch_norm":
        return None
    conv = lone_conv(node.inputs[0], by_name, uses)
    if conv is None:
        return None
    scale, shift, magnitude = scale_and_bias(node)
    arrays: dict[str, Array] = {
        "weight": scaled(conv, scale),
        "bias": shift + bias_of(conv) * scale,
        "bias_magnitude": magnitude + abs(magnitude_of(conv) * scale),
    }
    return replace(conv, arrays=arrays)


def norm_of_input(node: Node, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """A batch norm that no convolution feeds -> a 1x1 convolution: equation (4)."""
    if node.op != "batch_norm" or lone_conv(node.inputs[0], by_name, uses) is not None:
        return None
    scale, shift, magnitude = scale_and_bias(node)
    arrays = {
        "weight": np.diag(scale)[:, :, None, None],
        "bias": shift,
        "bias_magnitude": magnitude,
    }
    attributes = {"stride": 1, "padding": 0, "activation": "linear"}
    return Node(node.name, "conv", node.inputs, attributes, arrays)


def implicit_add(node: Node, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """add_channel, 1x1 conv -> conv: equation (5)."""
    source = by_name.get(node.inputs[0])
    if node.op != "conv" or source is None or source.op != "add_channel":
        return None
    weight = exact(node, "weight")
    if weight.shape[2:] != (1, 1) or node.attributes["padding"] != 0 or uses[source.name] != 1:
        return None
    implicit = exact(source, "implicit")
    matrix = weight[:, :, 0, 0]
    arrays = {
        "weight": weight,
        "bias": bias_of(node) + matrix @ implicit,
        "bias_magnitude": magnitude_of(node) + abs(matrix) @ abs(implicit),
    }
    return replace(node, inputs=source.inputs, arrays=arrays)


def implicit_multiply(node: Node, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """conv, multiply_channel -> conv: equation (6)."""
    if node.op != "multiply_channel":
        return None
    conv = lone_conv(node.inputs[0], by_name, uses)
    if conv is None:
        return None
    implicit = exact(node, "implicit")
    arrays: dict[str, Array] = {
        "weight": scaled(conv, implicit),
        "bias": bias_of(conv) * implicit,
        "bias_magnitude": magnitude_of(conv) * abs(implicit),
    }
    return replace(conv, arrays=arrays)


def branches(node: Node, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """A sum of convolutions of one input -> one convolution: equation (3), RepConv."""
    if node.op != "add":
        return None
    convs = [lone_conv(name, by_name, uses) for name in node.inputs]
    first = convs[0]
    if first is None or not all(conv and conv.inputs == first.inputs for conv in convs):
        return None
    parts = [conv for conv in convs if conv is not None]
    size = max(conv.arrays["weight"].shape[2] for conv in parts)
    if not all(centred(conv, first) for conv in parts):
        return None
    shape = (*first.arrays["weight"].shape[:2], size, size)

    def weights() -> Iterator[Float64]:
        return (grown(exact(conv, "weight"), size) for conv in parts)

    arrays: dict[str, Array] = {
        "weight": Folded(shape, lambda: sum_of(weights())),
        "bias": sum_of([bias_of(conv) for conv in parts]),
        "bias_magnitude": sum_of([magnitude_of(conv) for conv in parts]),
        "weight_magnitude": Folded(shape, lambda: sum_of(map(abs, weights()))),
    }
    attributes = {**first.attributes, "padding": size // 2}
    name = node.name.removesuffix(".add") + ".rbr_reparam"
    return Node(name, "conv", first.inputs, attributes, arrays)


def centred(conv: Node, first: Node) -> bool:
    """Whether the kernel is square, odd and padded by half of itself, and the stride is shared."""
    rows, columns = conv.arrays["weight"].shape[2:]
    same = conv.attributes["stride"] == first.attributes["stride"]
    return same and rows == columns and rows % 2 == 1 and conv.attributes["padding"] == rows // 2


def grown(weight: Float64, size: int) -> Float64:
    """The kernel centred in one of size x size, zeros around it."""
    border = (size - weight.shape[2]) // 2
    return np.pad(weight, ((0, 0), (0, 0), (border, border), (border, border)))


def sum_of(parts: Iterable[Float64]) -> Float64:
    """The sum of the parts, from left to right."""
    return reduce(add, parts)


def activation(node: Node, by_name: Mapping[str, Node], uses: Counter) -> Node | None:
    """conv, activation -> conv: equation (7)."""
    if node.op not in ("silu", "leaky"):
        return None
    conv = lone_conv(node.inputs[0], by_name, uses)
    if conv is None:
        return None
    return replace(conv, attributes={**conv.attributes, "activation": node.op})
