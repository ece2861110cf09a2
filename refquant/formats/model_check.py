"""Is this a model that can run? Asked of every model that comes from a file or goes into one.

Each node for itself:
    op          is in OPS, and has exactly its attributes, each within the range of ATTRIBUTES
    arrays      are those of ARRAYS, float32 or float16; equal letters there are equal sizes
    inputs      are nodes further up, or the image
All of them together: names are unique, the last node is the only decode, the maps fit (maps.py).
Texts (class names, licence, source) hold only what can be shown: a terminal would obey the rest.
Infinite and NaN weights are not refused: a store gives back what it got, and whoever computes with
them (`quantize`, for instance) refuses them by name.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from refquant.arrays.errors import BadInput
from refquant.formats.maps import check_maps
from refquant.graph.graph import INPUT, Array, Model, Node
from refquant.ops.activation import ACTIVATIONS
from refquant.ops.catalogue import OPS

MOST_NODES = 10_000
FLOATS = ("float32", "float16")


class Allowed(NamedTuple):
    """What an attribute may be, in words and as a function."""

    text: str
    holds: Callable[[Any], bool]


def _whole(low: int, high: int) -> Allowed:
    return Allowed(
        f"a whole number {low}..{high}", lambda value: type(value) is int and low <= value <= high
    )


def _are_strides(value: Any) -> bool:
    powers = {2**i for i in range(11)}
    if type(value) is not tuple or not 1 <= len(value) <= 8:
        return False
    return all(type(stride) is int and stride in powers for stride in value)


ATTRIBUTES: Mapping[str, Allowed] = {
    "stride": _whole(1, 64),
    "padding": _whole(0, 64),
    "kernel": _whole(1, 64),
    "scale": _whole(1, 64),
    "activation": Allowed(
        " or ".join(ACTIVATIONS), lambda value: type(value) is str and value in ACTIVATIONS
    ),
    "eps": Allowed(
        "a number above 0 and up to 1", lambda value: type(value) is float and 0 < value <= 1
    ),
    "strides": Allowed("one to eight powers of two up to 1024", _are_strides),
}

# Per op and array the axes by letter; a "?" marks arrays that a node may lack.
ARRAYS: Mapping[str, Mapping[str, str]] = {
    "conv": {
        "weight": "FCRS",
        "bias": "F?",
        "bias_magnitude": "F?",
        "weight_magnitude": "FCRS?",
    },
    "batch_norm": {"weight": "C", "bias": "C", "mean": "C", "variance": "C"},
    "add_channel": {"implicit": "C"},
    "multiply_channel": {"implicit": "C"},
    "decode": {"anchors": "LA2"},
}


def check_model(model: Model, where: object) -> None:
    """Raise BadInput, naming `where` and the node, if the model breaks a rule of this file."""
    if not 1 <= len(model.nodes) <= MOST_NODES:
        raise BadInput(where, f"has {len(model.nodes)} nodes, a model has 1 to {MOST_NODES}")
    known = {INPUT}
    for node in model.nodes:
        check_node(node, known, f"{where}: {node.name}")
        known.add(node.name)
    decodes = [node.name for node in model.nodes if node.op == "decode"]
    if decodes != [model.nodes[-1].name]:
        raise BadInput(where, f"has {len(decodes)} decode nodes", "one must be there, at the end")
    check_texts(model, where)
    check_maps(model, where)


def check_texts(model: Model, where: object) -> None:
    """Refuse texts with characters that cannot be shown, such as escape sequences."""
    for text in (model.licence, *model.class_names, *model.source, *model.source.values()):
        if not text.isprintable():
            problem = f"{text[:60]!r} (class name, licence or source) cannot be shown"
            raise BadInput(where, problem, "rename it")


def check_node(node: Node, known: set[str], where: str) -> None:
    """Check one node against OPS, given the names of those before it."""
    if node.name in known:
        raise BadInput(where, "is a name that occurs twice")
    if node.op not in OPS:
        raise BadInput(
            where, f"operation {node.op!r:.40} is not known", f"one of {', '.join(OPS)}"
        )
    unknown = [name for name in node.inputs if name not in known]
    if unknown:
        raise BadInput(where, f"takes {unknown[0]!r:.60}, which no node before it gives")
    if set(node.attributes) != set(OPS[node.op].attributes):
        expected = ", ".join(OPS[node.op].attributes) or "none"
        raise BadInput(where, f"attributes {sorted(node.attributes)} should be {expected}")
    for name, value in node.attributes.items():
        if not ATTRIBUTES[name].holds(value):
            raise BadInput(where, f"{name}={value!r:.40}", f"must be {ATTRIBUTES[name].text}")
    check_arrays(node, where)


def check_arrays(node: Node, where: str) -> None:
    """Check names, dtypes and shapes of a node's arrays."""
    expected = ARRAYS.get(node.op, {})
    missing = [
        name for name, axes in expected.items() if axes[-1] != "?" and name not in node.arrays
    ]
    surplus = [name for name in node.arrays if name not in expected]
    if missing or surplus:
        what = f"lacks {missing[0]}" if missing else f"has {surplus[0]!r:.40}"
        raise BadInput(where, f"{what}, which does not fit op {node.op}")
    sizes = {"2": 2}
    for name, array in node.arrays.items():
        axes = expected[name].removesuffix("?")
        shape = array.shape
        if len(shape) != len(axes) or 0 in shape:
            raise BadInput(where, f"{name} has shape {shape}, not ({', '.join(axes)})")
        for letter, size in zip(axes, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise BadInput(
                    where, f"{name} has {letter}={size}, elsewhere {letter}={sizes[letter]}"
                )
        check_kind(name, array, where)


def check_kind(name: str, array: Array, where: str) -> None:
    """A plain array is a floating one; only a weight may be quantized."""
    if isinstance(array, np.ndarray):
        if array.dtype.name not in FLOATS:
            raise BadInput(where, f"{name} is {array.dtype}", f"cast it to {' or '.join(FLOATS)}")
    elif name != "weight":
        raise BadInput(where, f"{name} is quantized", "only a weight can be")
