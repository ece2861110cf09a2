"""A model: a flat tuple of nodes in the order of execution, and what is known about its origin.

Nothing here knows where a model came from or how it is computed: a file format makes one, and
`walk` runs one. The image goes in under the name "images"; the last node's output is the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

INPUT = "images"
USUAL_SIZE = 640  # pixels, where a model's file says no other size


class Decodable(Protocol):
    """An array kept in another form, such as a quantized weight."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the plain array."""

    @property
    def nbytes(self) -> int:
        """The bytes that this form takes in memory."""

    def dequantize(self) -> NDArray[np.float32]:
        """Make the plain array, in float32."""


Array = NDArray[Any] | Decodable


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    A node is data alone: what its operation computes is defined in the package's `ops` folder.

    Parameters
    ----------
    name : str
        The node's own name; those of a checkpoint are kept, such as "model.24.conv".
    op : str
        The name of an operation in `OPS`, such as "conv".
    inputs : tuple of str
        The names of the nodes whose outputs it takes, in order; "images" is the image.
    attributes : mapping of str to int, float, str or tuple, default empty
        What the operation needs besides arrays, such as ``{"stride": 2}``.
    arrays : mapping of str to array, default empty
        Its arrays, such as a weight (F, C, R, S) and a bias (F,), float32 as a rule. A weight
        may be a `QuantizedTensor`. Folding leaves magnitudes beside them (graph/fold.py).

    Examples
    --------
    A convolution of three channels to one, which takes their mean:

    >>> import numpy as np
    >>> from refquant.graph.graph import Node
    >>> weight = np.full((1, 3, 1, 1), 1 / 3, np.float32)
    >>> attributes = {"stride": 1, "padding": 0, "activation": "linear"}
    >>> node = Node("grey", "conv", ("images",), attributes, {"weight": weight})
    >>> node.op, node.arrays["weight"].shape
    ('conv', (1, 3, 1, 1))
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """How many numbers the unfolded network has: accounting needs it, and folding destroys it.

    Parameters
    ----------
    weights : int
        Numbers in the weights of the convolutions.
    filters : int
        Filters of the convolutions, F summed over them.
    biases : int
        Numbers in their biases.
    norm_channels : int
        Channels of the batch norms; each has a gamma, beta, mean and variance.
    implicit : int
        Numbers in the implicit layers.
    """

    weights: int
    filters: int
    biases: int
    norm_channels: int
    implicit: int

    @property
    def parameters(self) -> int:
        """Trainable numbers, as frameworks count them (running statistics are buffers)."""
        return self.weights + self.biases + 2 * self.norm_channels + self.implicit


@dataclass(frozen=True)
class Model:
    """A network: its nodes in the order of execution, and where it came from.

    A model is never changed; what changes a network, such as `quantize_model`, gives a new one.
    ``model[name]`` is the node of that name.

    Parameters
    ----------
    nodes : tuple of Node
        The operations; the last of them decodes the predictions.
    class_names : tuple of str
        One name per class.
    folded : bool
        Whether batch norms, RepConv branches and implicit layers are folded away.
    counts : Counts
        How many numbers the unfolded network has.
    source : mapping of str to str, default empty
        Where it came from, such as ``{"name": "yolov7.pt", "sha256": "..."}``.
    licence : str, default ""
        A note on the licence of the weights, empty where none is known.

    Examples
    --------
    >>> import refquant
    >>> model = refquant.load_model("demo")
    >>> model.stride, len(model.class_names), model.folded
    (32, 8, True)
    >>> model.nodes[0].name, model.head.name
    ('model.0.conv', 'model.105.decode')
    >>> model["model.0.conv"].arrays["weight"].shape
    (8, 3, 3, 3)
    """

    nodes: tuple[Node, ...]
    class_names: tuple[str, ...]
    folded: bool
    counts: Counts
    source: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""

    def __getitem__(self, name: str) -> Node:
        """The node of that name; KeyError where there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def head(self) -> Node:
        """The decode node, which comes last."""
        return self.nodes[-1]

    @property
    def stride(self) -> int:
        """The coarsest stride in pixels: sides of the network input are multiples of it."""
        return int(max(self.head.attributes["strides"]))

    @property
    def input_size(self) -> int:
        """The side in pixels that the model's file says it was made for, else 640."""
        said = self.source.get("input_size", "")
        return int(said) if said.isdecimal() and len(said) < 6 else USUAL_SIZE

    @property
    def parameters(self) -> int:
        """Trainable numbers in the arrays as they are now, folded or not."""
        names = ("weight", "bias", "implicit")
        return sum(
            int(np.prod(node.arrays[name].shape))
            for node in self.nodes
            for name in names
            if name in node.arrays
        )

    def with_nodes(self, nodes: tuple[Node, ...], *, folded: bool | None = None) -> "Model":
        """The same model with other nodes."""
        return replace(self, nodes=nodes, folded=self.folded if folded is None else folded)

    def with_source(self, source: Mapping[str, str]) -> "Model":
        """The same model with another account of where it came from."""
        return replace(self, source=source)


def array_of(value: Array) -> NDArray[Any]:
    """The plain array; a quantized weight is dequantized to float32."""
    return value if isinstance(value, np.ndarray) else value.dequantize()


def cast(node: Node, dtype: type) -> Node:
    """The node with its plain floating arrays as `dtype`, each number rounded once."""
    arrays: dict[str, Array] = {
        key: value.astype(dtype) if isinstance(value, np.ndarray) else value
        for key, value in node.arrays.items()
    }
    return replace(node, arrays=arrays)


def needed(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes on which the last one depends, in order: auxiliary heads drop out here."""
    wanted = {nodes[-1].name}
    kept = []
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))


def count(nodes: tuple[Node, ...]) -> Counts:
    """Counts of an unfolded graph."""
    total = dict.fromkeys(("weights", "filters", "biases", "norm_channels", "implicit"), 0)
    for node in nodes:
        if node.op == "conv":
            shape = node.arrays["weight"].shape
            total["weights"] += int(np.prod(shape))
            total["filters"] += shape[0]
            total["biases"] += shape[0] if "bias" in node.arrays else 0
        elif node.op == "batch_norm":
            total["norm_channels"] += node.arrays["weight"].shape[0]
        elif "implicit" in node.arrays:
            total["implicit"] += node.arrays["implicit"].shape[0]
    return Counts(**total)
