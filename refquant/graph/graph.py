"""A model: a flat tuple of nodes in the order of execution, and what is known about its origin.

Nothing here knows where a model came from or how it is computed; a file format makes one, `walk`
runs one. The image goes in under the name "images"; the last node's output is the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

INPUT = "images"
USUAL_SIZE = 640  # pixels; where a model's file says no other


class Decodable(Protocol):
    """An array kept in another form, such as a quantized weight."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def nbytes(self) -> int: ...

    def dequantize(self) -> NDArray[np.float32]: ...


Array = NDArray[Any] | Decodable


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    name        unique; names from the checkpoint are kept, such as "model.24.conv"
    op          a name in OPS
    inputs      names of the nodes (or INPUT) whose outputs it takes, in order
    attributes  the operation's attributes, such as {"stride": 2}; ints, floats, strings, tuples
    arrays      the operation's arrays, such as {"weight": (F, C, R, S), "bias": (F,)}, and the
                magnitudes that folding leaves behind (fold.py)
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """What the unfolded network holds, in numbers; folding destroys it, accounting needs it."""

    weights: int  # of convolutions
    filters: int  # of convolutions: F summed
    biases: int
    norm_channels: int  # each has gamma, beta, mean and variance
    implicit: int

    @property
    def parameters(self) -> int:
        """Trainable numbers, as frameworks count them (running statistics are buffers)."""
        return self.weights + self.biases + 2 * self.norm_channels + self.implicit


@dataclass(frozen=True)
class Model:
    """Nodes in order of execution, and provenance.

    class_names    one per class
    folded         whether batch norms, RepConv branches and implicit layers are folded away
    counts         of the unfolded network
    source         where it came from, such as {"name": "yolov7.pt", "sha256": "..."}
    licence        a note on the licence of the weights, "" where none is known
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
        """Trainable numbers, as the arrays are now (folded or not): weights, biases, implicit."""
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
        """The same model, said to be from elsewhere."""
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
