"""Operations of an ONNX graph as nodes, up to where the decode begins.

Every tensor of the graph is one of

    a constant     an array
    a map          the output of a node of ours, (N, channels, H / stride, W / stride)
    a part         every other row and column of a map: one of the four quarters of ReOrg
    the tail       anything after the raw maps

An operation that body.py does not take begins the tail, and so does what reads the tail. The
maps that the tail reads are the head's raw maps.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.maps import COARSEST, MOST_CHANNELS, MapOf
from refquant.formats.onnx.constants import Constants, array
from refquant.graph.graph import INPUT, Node

MOST_INPUTS = 256  # of an operation


class Part(NamedTuple):
    """Rows `row`, row + 2, ... of a map, and columns alike; None stands for all of them."""

    source: MapOf
    row: int | None
    column: int | None


class Tail(NamedTuple):
    """An output of an operation behind the network's body, told by the operation's number."""

    operation: int


class Unknown(Exception):
    """This operation is not one of the body's."""


Value = NDArray[Any] | MapOf | Part | Tail


def attributes_of(operation: Any) -> dict[str, Any]:
    """Attributes as plain values, tensors as arrays; those of other types are left out."""
    return {
        item.name: BY_TYPE[item.type](item) for item in operation.attribute if item.type in BY_TYPE
    }


BY_TYPE: Mapping[int, Callable[[Any], Any]] = {
    1: lambda item: item.f,
    2: lambda item: item.i,
    3: lambda item: item.s.decode("latin-1"),
    4: lambda item: array(item.t),
    6: lambda item: list(item.floats),
    7: lambda item: list(item.ints),
}


class Converter:
    """Nodes and values so far; `tail` has the operations of the tail by index, with attributes."""

    def __init__(self, constants: Constants, image: str, body: "Body") -> None:
        self.body = body
        self.values: dict[str, Value] = dict(constants)
        self.values[image] = MapOf(INPUT, 3, 1)
        self.nodes: list[Node] = []
        self.by_name: dict[str, Node] = {}
        self.numbers: Counter[str] = Counter()  # how often a name was wanted
        self.tail: dict[int, tuple[Any, dict[str, Any]]] = {}

    def add(self, index: int, operation: Any) -> None:
        """Take in one operation; its inputs must be known."""
        where = f"operation {index} ({operation.op_type[:40]} {operation.name[:60]!r})"
        if len(operation.input) > MOST_INPUTS:
            raise BadInput(where, f"it has more than {MOST_INPUTS} inputs")
        missing = [name for name in operation.input if name and name not in self.values]
        if missing:
            raise BadInput(where, f"it reads {missing[0][:60]!r}, which nothing before it gives")
        if any(name in self.values for name in operation.output):
            raise BadInput(where, "it gives a tensor that exists already")
        inputs = [self.values[name] if name else None for name in operation.input]
        attributes = attributes_of(operation)
        try:
            late = any(isinstance(value, Tail) for value in inputs)
            if late or operation.domain or operation.op_type not in self.body:
                raise Unknown
            made = self.body[operation.op_type](self, index, operation, inputs, attributes)
            self.values[operation.output[0]] = made
        except Unknown:
            self.tail[index] = operation, attributes
            for name in operation.output:
                self.values[name] = Tail(index)
        except (TypeError, ValueError, IndexError, KeyError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput(where, "its inputs or attributes are not understood") from error

    def raw(self, value: MapOf) -> MapOf:
        """The map itself; where it is a sigmoid, the map before it."""
        node = self.by_name.get(value.node)
        return value._replace(node=node.inputs[0]) if node and node.op == "sigmoid" else value

    def node(self, name: str, op: str, xs: list[MapOf], made: MapOf, **own: Any) -> MapOf:
        """Append a node whose output is like `made`; a name that is taken gets a number."""
        unique = name
        while unique in self.by_name or unique == INPUT:
            # Counted on, not from 2 again: ten thousand nodes may want the same name.
            self.numbers[name] += 1
            unique = f"{name}.{self.numbers[name] + 1}"
        if made.channels > MOST_CHANNELS or made.stride > COARSEST:
            raise BadInput(name, f"it gives {made.channels} channels at stride {made.stride}")
        arrays = own.pop("arrays", {})
        self.by_name[unique] = Node(unique, op, tuple(x.node for x in xs), own, arrays)
        self.nodes.append(self.by_name[unique])
        return made._replace(node=unique)


# take(converter, index, operation, inputs, attributes) -> value, or Unknown: part of the tail
Body = Mapping[str, Callable[[Converter, int, Any, list[Any], dict[str, Any]], Value]]
