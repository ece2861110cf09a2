"""From tensors by name (a state_dict) and the name of an architecture to the layers of a network.

    model.L.conv.weight  model.L.bn.*                     a convolution, unfused; fused: conv.bias
    model.L.rbr_dense.0  .1  rbr_1x1.0  .1  rbr_identity  RepConv; fused: rbr_reparam
    model.L.cv1 ... cv7  as Conv each                     SPPCSPC, DownC
    model.L.m.k  ia.k.implicit  im.k.implicit  m2.k       the head's level k
    model.L.anchors  anchor_grid                          anchors in strides, in pixels

L is the layer's index; prefixes are taken off by tensor_names.py. Such a file does not say what
connects the layers, nor strides, paddings, activations and the eps of batch norms: these come from
ARCHITECTURES, and the tensors of a block by the names in graph/blocks.py. Filter counts come from
the tensors, so that a network of any width is read. Every tensor must have its place, and every
place its tensor.

After the public code's `fuse`, ia and im are folded into the convolutions and are still in the
file: they are left out then.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.official import LICENCE
from refquant.formats.tensor_names import MOST_NAMED, canonical, hint
from refquant.graph.architecture import ARCHITECTURES, Architecture, module_of
from refquant.graph.blueprint import Row
from refquant.graph.graph import Model, count
from refquant.graph.lower import lower
from refquant.graph.module import Layer, Module
from refquant.graph.supply import Supply, conv2d, listed

NOT_NEEDED = ("num_batches_tracked", "anchors", "anchor_grid")  # the head asks for its anchors


class Tensors(NamedTuple):
    """Tensors of a file by name: what they look like, and how to read one."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], NDArray[Any]]


def model_by_name(tensors: Tensors, arch: str | None) -> Model:
    """The unfolded model of these tensors; its maps are not checked yet."""
    found = connected(tensors, arch)
    nodes = lower(found.layers)
    names = tuple(f"class {i}" for i in range(found.classes))
    source = {"arch": str(arch), "form": found.form, "head": found.head}
    return Model(nodes, names, False, count(nodes), source, LICENCE)


class Connected(NamedTuple):
    """The tensors as layers, the last of them the head, and what is told about them."""

    layers: list[Layer]
    classes: int
    form: str
    head: str


def connected(tensors: Tensors, arch: str | None) -> Connected:
    """The tensors connected; BadInput names what is missing, surplus or does not fit."""
    names = canonical(tensors.shapes)
    if arch is None:
        problem = "it holds tensors by name (a state_dict), not the network that connects them"
        raise BadInput("tensors", problem, f"name it with --arch; {hint(names)}")
    architecture = ARCHITECTURES[arch]
    lists = {name.split(".")[1] for name in names}
    auxiliary, implicit = "m2" in lists, "ia" in lists
    fused = not any(name.endswith("running_var") for name in names)
    state = State(names, tensors, set(), architecture, hint(names))
    # The tensors know how many filters they have: the table's numbers are not asked for.
    supply = Supply(state.array, lambda _: 0, architecture.activation, names.__contains__, fused)
    layers = [
        Layer(row.sources, state.module(supply, str(index), row))
        for index, row in enumerate(architecture.rows(auxiliary))
    ]
    state.refuse_surplus()
    unfused = "training" if implicit or auxiliary else "deploy"
    head = "IAuxDetect" if auxiliary else "IDetect" if implicit else "Detect"
    return Connected(layers, state.classes(layers[-1]), "fused" if fused else unfused, head)


class State(NamedTuple):
    """The tensors of a file by canonical name; `used` are those that have found their place."""

    names: Mapping[str, str]
    tensors: Tensors
    used: set[str]
    architecture: Architecture
    hint: str

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """The tensor of that name, floating; an axis 0 may have any length from 1 on."""
        if name not in self.names:
            what = f"this tensor of {self.architecture.name} is missing"
            raise BadInput(f"model.{name}", what, self.hint)
        self.used.add(name)
        found = self.tensors.shapes[self.names[name]]
        fits = len(found) == len(shape) and all(
            n >= 1 and due in (0, n) for n, due in zip(found, shape, strict=True)
        )
        if not fits:
            due = ", ".join(str(n) if n else "any" for n in shape)
            raise BadInput(f"model.{name}", f"shape {found} is not ({due})", self.hint)
        values = self.tensors.read(self.names[name])
        if values.dtype.kind != "f":
            raise BadInput(f"model.{name}", f"{values.dtype} is not floating point")
        if name.endswith(".running_var") and np.any(values < 0):
            raise BadInput(f"model.{name}", "a variance is negative")
        return values

    def module(self, supply: Supply, name: str, row: Row) -> Module:
        """The module of a row, `name` being the layer's index."""
        if row.kind == "Detect":
            return self.detect(supply, name)
        return module_of(supply, name, row, (0,))[0]

    def detect(self, supply: Supply, name: str) -> Module:
        """The head; the auxiliary convolutions are known, and left out."""
        strides = self.architecture.strides
        levels = range(len(strides))
        convs = [conv2d(supply, f"{name}.m.{k}", 0, 0, 1) for k in levels]
        parts = {"m": listed("ModuleList", *convs)}
        for key in ("ia", "im"):
            if f"{name}.{key}.0.implicit" in self.names:
                found = [self.implicit(f"{name}.{key}.{k}.implicit") for k in levels]
                if not supply.fused:
                    parts[key] = listed("ModuleList", *found)
        self.used.update(f"{name}.m2.{k}.{key}" for k in levels for key in ("weight", "bias"))
        return Module("Detect", {"strides": strides}, {"anchors": self.anchors(name)}, parts)

    def implicit(self, name: str) -> Module:
        return Module("Implicit", arrays={"implicit": self.array(name, (1, 0, 1, 1)).ravel()})

    def anchors(self, name: str) -> NDArray[Any]:
        """(L, A, 2) in pixels."""
        strides = self.architecture.strides
        if f"{name}.anchor_grid" in self.names:
            grid = self.array(f"{name}.anchor_grid", (len(strides), 1, 0, 1, 1, 2))
            return grid[:, 0, :, 0, 0, :]
        units = self.array(f"{name}.anchors", (len(strides), 0, 2))
        return units.astype(np.float64) * np.array(strides, np.float64)[:, None, None]

    def classes(self, head: Layer) -> int:
        """Classes that the head's filters stand for: A * (5 + classes) of them per level."""
        anchors = head.module.arrays["anchors"].shape[1]
        convs = head.module.children["m"].children.values()
        filters = {conv.arrays["weight"].shape[0] for conv in convs}
        classes, rest = divmod(min(filters), anchors)
        if len(filters) != 1 or rest or classes < 6:
            problem = f"{sorted(filters)} filters for {anchors} anchors are no 5 + classes each"
            raise BadInput("the head", problem, self.hint)
        return classes - 5

    def refuse_surplus(self) -> None:
        """Refuse tensors that the architecture has no place for."""
        surplus = [
            f"model.{name}"
            for name in self.names
            if name not in self.used and name.rsplit(".", 1)[-1] not in NOT_NEEDED
        ]
        if surplus:
            more = f" and {len(surplus) - MOST_NAMED} more" * (len(surplus) > MOST_NAMED)
            listed = ", ".join(surplus[:MOST_NAMED]) + more
            what = f"{self.architecture.name} has no place for"
            raise BadInput("tensors", f"{what} {listed}", self.hint)
