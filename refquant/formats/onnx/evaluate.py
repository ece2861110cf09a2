"""The tail of an ONNX graph, evaluated in float64 on raw maps; an operation is a line or two.

Constants of the graph are widened. Sizes are checked before anything is computed, the number of
operations and of computed numbers is limited, and an array goes as soon as nothing reads it.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.maps import MapOf
from refquant.formats.onnx.graph import Converter, Tail

MOST_OPERATIONS = 600  # P6 with shapes that are computed has about 300
MOST_NUMBERS = 2**27  # computed in one probe; P6 at 1280 pixels takes 2**26
MOST_OUTPUTS = 8

Array = NDArray[Any]


def evaluate(graph: Converter, output: str, maps: Mapping[str, Array]) -> Array:
    """The graph's output of that name in float64, given the head's raw maps."""
    wanted = operations_for(graph, output)
    uses = Counter(name for index in wanted for name in graph.tail[index][0].input if name)
    computed: dict[str, Array] = {}
    left = MOST_NUMBERS

    def value(name: str) -> Array:
        found = graph.values.get(name)
        if isinstance(found, Tail):
            return computed[name]
        if isinstance(found, np.ndarray):
            return found.astype(np.float64) if found.dtype.kind == "f" else found
        if not isinstance(found, MapOf):
            raise BadInput("graph", f"{name[:60]!r} is read where only the head's maps can be")
        raw = graph.raw(found)
        return maps[raw.node] if raw == found else sigmoid(maps[raw.node])

    for index in wanted:
        operation, attributes = graph.tail[index]
        where = said(index, operation)
        inputs = [value(name) if name else None for name in operation.input]
        results = run(where, operation, attributes, inputs, left)
        left -= sum(result.size for result in results)
        computed.update(zip(operation.output, results))
        for name in operation.input:
            uses[name] -= 1
            if not uses[name] and name != output:
                computed.pop(name, None)
    return value(output)


def operations_for(graph: Converter, output: str) -> list[int]:
    """The operations that an output depends on, in order."""
    wanted: set[int] = set()
    waiting = [output]
    while waiting:
        found = graph.values.get(waiting.pop())
        if isinstance(found, Tail) and found.operation not in wanted:
            wanted.add(found.operation)
            waiting += [name for name in graph.tail[found.operation][0].input if name]
    if len(wanted) > MOST_OPERATIONS:
        raise BadInput("graph", f"{len(wanted)} operations follow its raw maps")
    return sorted(wanted)


def understood(graph: Converter, outputs: list[str]) -> list[str]:
    """The outputs whose operations are all known; BadInput names one that is not, if none is."""
    problems = []
    known = []
    for name in outputs[:MOST_OUTPUTS]:
        unknown = [
            (index, graph.tail[index][0])
            for index in operations_for(graph, name)
            if graph.tail[index][0].domain or graph.tail[index][0].op_type not in OPERATIONS
        ]
        problems += unknown
        known += [] if unknown else [name]
    if not known:
        remedy = "export the model without it"
        raise BadInput(said(*problems[0]), "this operation is not understood", remedy)
    return known


def raw_maps(graph: Converter, outputs: list[str]) -> set[MapOf]:
    """The raw maps that the operations of these outputs read, and those that are outputs."""
    names = list(outputs)
    for output in outputs:
        for index in operations_for(graph, output):
            names += graph.tail[index][0].input
    found = (graph.values.get(name) for name in names)
    return {graph.raw(value) for value in found if isinstance(value, MapOf)}


def said(index: int, operation: Any) -> str:
    """An operation for a message."""
    return f"operation {index} ({operation.op_type[:40]} {operation.name[:60]!r})"


def run(where: str, operation: Any, attributes: dict, inputs: list, left: int) -> list[Array]:
    """The outputs of one operation."""
    try:
        sizes = [np.shape(x) for x in inputs if x is not None]
        if most_numbers(operation.op_type, sizes) > left:
            raise BadInput(where, f"it computes more than {MOST_NUMBERS} numbers")
        with np.errstate(all="ignore"):
            result = OPERATIONS[operation.op_type](attributes, *inputs)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(where, "its inputs or attributes do not fit") from error
    return result if isinstance(result, list) else [result]


def most_numbers(kind: str, sizes: list[tuple[int, ...]]) -> int:
    """At most how many numbers an operation gives for inputs of these sizes."""
    if kind in ELEMENTWISE:
        return prod(np.broadcast_shapes(*sizes))
    numbers = [prod(size) for size in sizes]
    return prod(numbers) if kind == "Gather" else sum(numbers)  # a slice for each index


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


def reshape(attributes: dict, x: Array, shape: Array) -> Array:
    """A 0 stands for the size that x has there, unless allowzero."""
    sizes = [int(n) for n in shape]
    if not attributes.get("allowzero"):
        sizes = [x.shape[i] if n == 0 else n for i, n in enumerate(sizes)]
    return x.reshape(sizes)


def split(attributes: dict, x: Array, sizes: Array | None = None) -> list[Array]:
    """Along an axis, in parts of these sizes."""
    parts = attributes.get("split") if sizes is None else [int(n) for n in sizes]
    axis = attributes.get("axis", 0)
    if not parts or len(parts) > 16 or min(parts) < 0 or sum(parts) != x.shape[axis]:
        refuse(f"split {parts}")
    return np.split(x, np.cumsum(parts[:-1]), axis)


def cut(
    attributes: dict,
    x: Array,
    starts: Array,
    ends: Array,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    """x[start:end:step] along each of the axes."""
    chosen = [slice(None)] * x.ndim
    along = range(len(starts)) if axes is None else axes
    jumps = np.ones(len(starts), int) if steps is None else steps
    for start, end, axis, step in zip(starts, ends, along, jumps, strict=True):
        if step < 1:
            refuse(f"step {step}")
        chosen[int(axis)] = slice(int(start), int(end), int(step))
    return x[tuple(chosen)]


def axes_of(attributes: dict, axes: Array | None) -> tuple[int, ...]:
    found = attributes.get("axes", []) if axes is None else axes.tolist()
    if len(found) > 8:
        refuse(f"{len(found)} axes")
    return tuple(int(axis) for axis in found)


def cast(attributes: dict, x: Array) -> Array:
    """To floating point, which is float64 here, to integers, or to bool."""
    kinds = {1: np.float64, 10: np.float64, 11: np.float64, 6: np.int64, 7: np.int64, 9: np.bool_}
    return x.astype(kinds[attributes["to"]])


def power(attributes: dict, x: Array, exponent: Array) -> Array:
    if exponent.size != 1 or float(exponent.ravel()[0]) != 2:
        refuse("an exponent other than 2")
    return x * x


def refuse(what: str) -> NoReturn:
    raise ValueError(what)


ELEMENTWISE: Mapping[str, Callable[..., Array]] = {
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "Div": lambda _, a, b: a // b if a.dtype.kind == b.dtype.kind == "i" else a / b,
    "Pow": power,
    "Sigmoid": lambda _, x: sigmoid(x),
}
OPERATIONS: Mapping[str, Callable[..., Array | list[Array]]] = {
    **ELEMENTWISE,
    "Reshape": reshape,
    "Transpose": lambda attributes, x: x.transpose(attributes.get("perm")),
    "Concat": lambda attributes, *xs: np.concatenate(xs, attributes["axis"]),
    "Split": split,
    "Slice": cut,
    "Squeeze": lambda attributes, x, axes=None: x.squeeze(axes_of(attributes, axes)),
    "Unsqueeze": lambda attributes, x, axes=None: np.expand_dims(x, axes_of(attributes, axes)),
    "Shape": lambda _, x: np.array(x.shape, np.int64),
    "Gather": lambda attributes, x, at: x.take(at, attributes.get("axis", 0)),
    "Cast": cast,
    "Identity": lambda _, x: x,
}
