"""Which tensor of the other side is which node's output, and in which layout.

Names, in this order:
    mapping     a file that says so: {"model.0.conv": "their name", ...}                    (1)
    module      the name of the module of a convolution with an activation, or of that
                activation: hooks on every module of a framework give "model.0.conv" for the
                bare convolution, and "model.0" or "model.0.act" for what is model.0.conv here
    equal       the same name                                                               (2)
    words       the same name once case and separators are taken out, and words that only
                say what computed it ("Conv_output_0", "output") dropped at the end          (3)
    scope       a convolution with an activation is its module's output: the last tensor
                that lies in that module ("/model.0/act/Mul_output_0" for model.0.conv)      (4)
    order       all that is left, if the sequences of shapes are the same                    (5)
    shape       the decoded predictions (N, rows, E), if one tensor has their shape          (6)
A tensor that (1) to (3) give to a node stays with it even if its shape is wrong: then the node is
wrong. (4) to (6) take only tensors of the right shape, and each tensor once; (5) and (6) none that
is a copy of another one in another type (tensors/tensor.py).

Layouts of a map (N, C, H, W), N may be left out where it is 1:
    NCHW, NHWC, NAHWE (heads: (N, A, H, W, E), A * E = C);   of predictions (N, rows, E): NRE, NER
A shape that fits two layouts takes the layout that most unambiguous tensors of the file have.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.graph import INPUT
from refquant.verification.tensors.files import as_floats
from refquant.verification.tensors.tensor import Tensor

Shape = tuple[int, ...]
LAYOUTS = {4: ("NCHW", "NHWC", "NAHWE"), 3: ("NRE", "NER")}
SEPARATORS = re.compile(r"[^0-9a-z]+")
TAIL = re.compile(r"(?: (?:conv|concat|maxpool|resize|add))?(?: output(?: \d+)?)?$")
LARGEST_MAPPING = 1 << 20  # bytes of a mapping file


class Wanted(NamedTuple):
    """A node to find: its name, operation, whether an activation is inside, its shape."""

    name: str
    op: str
    activated: bool
    shape: Shape


class Match(NamedTuple):
    """A tensor, and the layout it is in; None where its shape is none of the node's."""

    tensor: Tensor
    layout: str | None
    how: str


def layouts_of(wanted: Shape, given: Shape) -> list[str]:
    """The layouts in which `given` is `wanted`."""
    spelled = (given, (1, *given)) if wanted[0] == 1 else (given,)
    fits: dict[str, Shape]
    if len(wanted) == 3:
        N, rows, E = wanted
        fits = {"NRE": (N, rows, E), "NER": (N, E, rows)}
    else:
        N, C, H, W = wanted
        fits = {"NCHW": (N, C, H, W), "NHWC": (N, H, W, C)}
        entries = given[-1] if given else 0
        if 1 < entries < C and C % entries == 0:
            fits["NAHWE"] = (N, C // entries, H, W, entries)
    return [name for name, shape in fits.items() if shape in spelled]


def to_nchw(array: NDArray[Any], wanted: Shape, layout: str) -> NDArray[Any]:
    """The array in the node's own layout and shape."""
    if layout == "NHWC":
        array = array.reshape(wanted[0], *wanted[2:], wanted[1]).transpose(0, 3, 1, 2)
    elif layout == "NAHWE":
        five = array.reshape(wanted[0], -1, *wanted[2:], array.shape[-1])  # (N, A, H, W, E)
        array = five.transpose(0, 1, 4, 2, 3)
    elif layout == "NER":
        array = array.reshape(wanted[0], wanted[2], wanted[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(array).reshape(wanted)


def read(match: Match, wanted: Shape) -> NDArray[Any]:
    """The tensor in the node's layout, in its own dtype."""
    assert match.layout is not None
    array = as_floats(match.tensor.read(), match.tensor.name)
    return to_nchw(array, wanted, match.layout)


def words(name: str) -> str:
    """A name by rule (3): "/model.105/m.0/Conv_output_0" and "model.105.m.0" are the same."""
    return TAIL.sub("", SEPARATORS.sub(" ", name.lower()).strip())


def match_all(
    nodes: Sequence[Wanted],
    tensors: Sequence[Tensor],
    mapping: Mapping[str, str] | None = None,
    layout: str = "auto",
) -> dict[str, Match]:
    """Node name -> Match, for the nodes that have one. Raises BadInput for a wrong mapping."""
    found = named(nodes, tensors, mapping or {})
    taken = {tensor.name for tensor, _ in found.values()}
    rest = [tensor for tensor in tensors if tensor.name not in taken]
    for rule in (scoped, ordered, decoded):
        missing = [node for node in nodes if node.name not in found]
        new = rule(missing, rest if rule is scoped else [t for t in rest if not t.copy])
        found |= new
        rest = [tensor for tensor in rest if tensor.name not in {t.name for t, _ in new.values()}]
    return with_layouts(nodes, found, layout)


def named(
    nodes: Sequence[Wanted], tensors: Sequence[Tensor], mapping: Mapping[str, str]
) -> dict[str, tuple[Tensor, str]]:
    """Rules (1) to (3)."""
    by_name = {tensor.name: tensor for tensor in tensors}
    check_mapping(mapping, {node.name for node in nodes}, by_name)
    found = {ours: (by_name[theirs], "mapping") for ours, theirs in mapping.items()}
    modules = of_modules([node for node in nodes if node.name not in found], by_name)
    modules = {ours: t for ours, t in modules.items() if t.name not in mapping.values()}
    found |= {ours: (tensor, "module") for ours, tensor in modules.items()}
    used = {tensor.name for tensor, _ in found.values()}
    for node in nodes:
        if node.name not in found and node.name in by_name and node.name not in used:
            found[node.name] = (by_name[node.name], "equal")
            used.add(node.name)
    left = Counter(words(tensor.name) for tensor in tensors if tensor.name not in used)
    by_words = {
        words(t.name): t for t in tensors if t.name not in used and left[words(t.name)] == 1
    }
    same = Counter(words(node.name) for node in nodes)
    for node in nodes:
        key = words(node.name)
        if node.name not in found and key in by_words and same[key] == 1 and not node.activated:
            found[node.name] = (by_words[key], "words")
    return found


def check_mapping(
    mapping: Mapping[str, str], nodes: Collection[str], tensors: Collection[str]
) -> None:
    """Every name is known and no tensor is given twice."""
    for ours, theirs in mapping.items():
        if ours not in nodes:
            raise BadInput(f"mapping {ours!r:.80}", "is no node of the golden")
        if theirs not in tensors:
            raise BadInput(f"mapping {theirs!r:.80}", "is no tensor of the other side")
    if len(set(mapping.values())) < len(mapping):
        raise BadInput("mapping", "gives one tensor to two nodes")


def of_modules(nodes: Sequence[Wanted], by_name: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The rule "module": only where the module holds no other convolution with an activation."""
    scopes = {node.name: node.name.rpartition(".")[0] for node in nodes if node.activated}
    count = Counter(scopes.values())
    found = {}
    for node in nodes:
        scope = scopes.get(node.name, "")
        if not scope or count[scope] > 1:
            continue
        for name in (scope, f"{scope}.act"):
            tensor = by_name.get(name)
            if tensor is not None and layouts_of(node.shape, tensor.shape):
                found[node.name] = tensor
                break
    return found


def scoped(nodes: Sequence[Wanted], tensors: Sequence[Tensor]) -> dict[str, tuple[Tensor, str]]:
    """Rule (4): the last tensor of the right shape inside the module."""
    spelled = [(" ".join(SEPARATORS.split(t.name.lower())).strip(), t) for t in tensors]
    found: dict[str, tuple[Tensor, str]] = {}
    taken: set[str] = set()
    for node in sorted(nodes, key=lambda node: -len(node.name)):  # inner modules first
        scope = node.name.rsplit(".", 1)[0] if node.activated else node.name
        start = " ".join(SEPARATORS.split(scope.lower())) + " "
        inside = [
            tensor
            for text, tensor in spelled
            if f"{text} ".startswith(start)
            and tensor.name not in taken
            and layouts_of(node.shape, tensor.shape)
        ]
        if inside and "." in node.name:
            found[node.name] = (inside[-1], "scope")
            taken.add(inside[-1].name)
    return found


def ordered(nodes: Sequence[Wanted], tensors: Sequence[Tensor]) -> dict[str, tuple[Tensor, str]]:
    """Rule (5): as many tensors as nodes, with or without the input, the k-th of the shape of the
    k-th."""
    for left in (nodes, [node for node in nodes if node.name != INPUT]):
        if not left or len(left) != len(tensors):
            continue
        pairs = list(zip(left, tensors, strict=True))
        if all(layouts_of(node.shape, tensor.shape) for node, tensor in pairs):
            return {node.name: (tensor, "order") for node, tensor in pairs}
    return {}


def decoded(nodes: Sequence[Wanted], tensors: Sequence[Tensor]) -> dict[str, tuple[Tensor, str]]:
    """Rule (6)."""
    fits = [
        (node.name, tensor)
        for node in nodes
        for tensor in tensors
        if len(node.shape) == 3 and layouts_of(node.shape, tensor.shape)
    ]
    return {name: (tensor, "shape") for name, tensor in fits} if len(fits) == 1 else {}


def with_layouts(
    nodes: Sequence[Wanted], found: Mapping[str, tuple[Tensor, str]], layout: str
) -> dict[str, Match]:
    """Every pair with its layout; ambiguous shapes go with the majority."""
    fits = {
        node.name: [
            name
            for name in layouts_of(node.shape, found[node.name][0].shape)
            if layout == "auto" or name == layout or layout not in LAYOUTS[len(node.shape)]
        ]
        for node in nodes
        if node.name in found
    }
    votes = Counter(names[0] for names in fits.values() if len(names) == 1)
    matches = {}
    for name, names in fits.items():
        tensor, how = found[name]
        best = max(names, key=lambda item: votes[item]) if names else None
        matches[name] = Match(tensor, best, how)
    return matches


def read_mapping(path: Path) -> dict[str, str]:
    """A mapping file: one JSON object of strings."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_MAPPING + 1)
        if len(raw) > LARGEST_MAPPING:
            raise BadInput(path, f"has more than {LARGEST_MAPPING} bytes", "give names alone")
        value = json.loads(raw.decode("utf-8"))
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})") from error
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput(path, f"is no JSON ({error!s:.80})", '{"node": "tensor"}') from error
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise BadInput(path, "is no object of names", '{"node": "tensor", ...}')
    return value
