"""From tensors by name (a state_dict) and the name of an architecture to the layers of a network.

    model.L.conv.weight  model.L.bn.*                     a convolution, unfused; fused: conv.bias
    model.L.rbr_dense.0  .1  rbr_1x1.0  .1  rbr_identity  RepConv; fused: rbr_reparam
    model.L.cv1 ... cv7  as Conv each                     SPPCSPC, DownC
    model.L.m.k  ia.k.implicit  im.k.implicit  m2.k       the head's level k
    model.L.anchors  anchor_grid                          anchors in strides, in pixels

L is the layer's index; prefixes are taken off by tensor_names.py. What connects the layers,
strides, paddings, activations and the eps of batch norms, is not in such a file: it comes from
ARCHITECTURES. Filter counts come from the tensors, so that a network of any width is read. Every
tensor must have its place, and every place its tensor.

After the public code's `fuse`, ia and im are folded but still there: they are left out then.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.official import LICENCE
from refquant.formats.tensor_names import MOST_NAMED, canonical, hint
from refquant.formats.torch.leaves import BN_ARRAYS
from refquant.graph.architecture import ARCHITECTURES, EPS, Architecture, pool
from refquant.graph.blocks import Row
from refquant.graph.graph import Model, count
from refquant.graph.lower import lower
from refquant.graph.module import Layer, Module

NOT_NEEDED = ("num_batches_tracked", "anchors", "anchor_grid")  # the head asks for its anchors
SPPCSPC_KERNELS = (1, 1, 3, 1, 1, 3, 1)
DOWNC_KERNELS = ((1, 1), (3, 2), (1, 1))  # kernel, stride


class Tensors(NamedTuple):
    """Tensors of a file by name: what they look like, and how to read one."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], NDArray[Any]]


def model_by_name(tensors: Tensors, arch: str | None) -> Model:
    """The unfolded model of these tensors; its maps are not checked yet."""
    found = network(tensors, arch)
    nodes = lower(found.layers)
    names = tuple(f"class {i}" for i in range(found.classes))
    source = {"arch": str(arch), "form": found.form, "head": found.head}
    return Model(nodes, names, False, count(nodes), source, LICENCE)


class Network(NamedTuple):
    """The layers, the last of them the head, and what is told about them."""

    layers: list[Layer]
    classes: int
    form: str
    head: str


def network(tensors: Tensors, arch: str | None) -> Network:
    """The network of these tensors; BadInput names what is missing, surplus or does not fit."""
    names = canonical(tensors.shapes)
    if arch is None:
        problem = "it holds tensors by name (a state_dict), not the network that connects them"
        raise BadInput("tensors", problem, f"name it with --arch; {hint(names)}")
    architecture = ARCHITECTURES[arch]
    lists = {name.split(".")[1] for name in names}
    auxiliary, implicit = "m2" in lists, "ia" in lists
    fused = not any(name.endswith("running_var") for name in names)
    state = State(names, tensors, set(), architecture, fused, hint(names))
    rows = architecture.rows(auxiliary)
    layers = [Layer(row.sources, state.module(str(i), row)) for i, row in enumerate(rows)]
    state.refuse_surplus(names)
    unfused = "training" if implicit or auxiliary else "deploy"
    head = "IAuxDetect" if auxiliary else "IDetect" if implicit else "Detect"
    return Network(layers, state.classes(layers[-1]), "fused" if fused else unfused, head)


class State(NamedTuple):
    """Makes modules of tensors. `used` are the names that have found their place."""

    names: Mapping[str, str]
    tensors: Tensors
    used: set[str]
    architecture: Architecture
    fused: bool
    hint: str

    def array(self, name: str, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """The tensor of that name, floating; an axis None may have any length from 1 on."""
        if name not in self.names:
            what = f"this tensor of {self.architecture.name} is missing"
            raise BadInput(f"model.{name}", what, self.hint)
        self.used.add(name)
        found = self.tensors.shapes[self.names[name]]
        fits = len(found) == len(shape) and all(
            n >= 1 and due in (None, n) for n, due in zip(found, shape, strict=True)
        )
        if not fits:
            due = ", ".join("any" if n is None else str(n) for n in shape)
            raise BadInput(f"model.{name}", f"shape {found} is not ({due})", self.hint)
        values = self.tensors.read(self.names[name])
        if values.dtype.kind != "f":
            raise BadInput(f"model.{name}", f"{values.dtype} is not floating point")
        return values

    def module(self, name: str, row: Row) -> Module:
        """The module of a row, `name` being the layer's index."""
        if row.kind == "Conv":
            _, kernel, stride = row.arguments
            return self.conv(name, kernel, stride)
        if row.kind == "MP":
            return Module("MP", children={"m": pool(2, 2, 0)})
        if row.kind == "SP":
            (kernel,) = row.arguments
            return Module("SP", children={"m": pool(kernel, 1, kernel // 2)})
        if row.kind == "Upsample":
            return Module("Upsample", {"scale": 2})
        made = {
            "RepConv": self.rep_conv,
            "SPPCSPC": self.sppcspc,
            "DownC": self.down_c,
            "Detect": self.detect,
        }
        return made[row.kind](name) if row.kind in made else Module(row.kind)

    def conv2d(self, name: str, kernel: int, stride: int = 1) -> Module:
        weight = self.array(f"{name}.weight", (None, None, kernel, kernel))
        found = {"weight": weight}
        if f"{name}.bias" in self.names:
            found["bias"] = self.array(f"{name}.bias", weight.shape[:1])
        return Module("Conv2d", {"stride": stride, "padding": kernel // 2}, found)

    def norm(self, name: str) -> Module:
        shape = self.array(f"{name}.weight", (None,)).shape
        found = {key: self.array(f"{name}.{key}", shape) for key in BN_ARRAYS}
        if np.any(found["running_var"] < 0):
            raise BadInput(f"model.{name}.running_var", "a variance is negative")
        return Module("BatchNorm2d", {"eps": EPS}, found)

    def with_norm(self, conv: str, norm: str, kernel: int, stride: int = 1) -> dict[str, Module]:
        """A convolution and its batch norm, or the one that a fused file has instead."""
        parts = {"conv": self.conv2d(conv, kernel, stride)}
        if not self.fused:
            parts["bn"] = self.norm(norm)
        elif "bias" not in parts["conv"].arrays:
            raise BadInput(f"model.{conv}.bias", "a fused convolution has none", "file damaged")
        return parts

    def conv(self, name: str, kernel: int, stride: int = 1, activation: str = "") -> Module:
        parts = self.with_norm(f"{name}.conv", f"{name}.bn", kernel, stride)
        parts["act"] = Module(activation or self.architecture.activation)
        return Module("Conv", children=parts)

    def rep_conv(self, name: str) -> Module:
        parts = {"act": Module("SiLU")}
        if self.fused:
            parts["rbr_reparam"] = self.conv2d(f"{name}.rbr_reparam", 3)
            return Module("RepConv", children=parts)
        for key, kernel in (("rbr_dense", 3), ("rbr_1x1", 1)):
            pair = self.with_norm(f"{name}.{key}.0", f"{name}.{key}.1", kernel)
            parts[key] = Module("Sequential", children={"0": pair["conv"], "1": pair["bn"]})
        if f"{name}.rbr_identity.weight" in self.names:
            parts["rbr_identity"] = self.norm(f"{name}.rbr_identity")
        return Module("RepConv", children=parts)

    def sppcspc(self, name: str) -> Module:
        kernels = enumerate(SPPCSPC_KERNELS, 1)
        parts = {f"cv{i}": self.conv(f"{name}.cv{i}", kernel, 1, "SiLU") for i, kernel in kernels}
        pools = {str(i): pool(kernel, 1, kernel // 2) for i, kernel in enumerate((5, 9, 13))}
        return Module("SPPCSPC", children={**parts, "m": Module("ModuleList", children=pools)})

    def down_c(self, name: str) -> Module:
        shapes = enumerate(DOWNC_KERNELS, 1)
        parts = {f"cv{i}": self.conv(f"{name}.cv{i}", *shape, "SiLU") for i, shape in shapes}
        return Module("DownC", children={**parts, "mp": pool(2, 2, 0)})

    def detect(self, name: str) -> Module:
        """The head; the auxiliary convolutions are known, and left out."""
        levels = [str(k) for k in range(len(self.architecture.strides))]
        convs = {k: self.conv2d(f"{name}.m.{k}", 1) for k in levels}
        parts = {"m": Module("ModuleList", children=convs)}
        for key in ("ia", "im"):
            if f"{name}.{key}.0.implicit" in self.names:
                found = {k: self.implicit(f"{name}.{key}.{k}.implicit") for k in levels}
                if not self.fused:
                    parts[key] = Module("ModuleList", children=found)
        self.used.update(f"{name}.m2.{k}.{key}" for k in levels for key in ("weight", "bias"))
        strides = self.architecture.strides
        return Module("Detect", {"strides": strides}, {"anchors": self.anchors(name)}, parts)

    def implicit(self, name: str) -> Module:
        return Module("Implicit", arrays={"implicit": self.array(name, (1, None, 1, 1)).ravel()})

    def anchors(self, name: str) -> NDArray[Any]:
        """(L, A, 2) in pixels."""
        strides = self.architecture.strides
        if f"{name}.anchor_grid" in self.names:
            grid = self.array(f"{name}.anchor_grid", (len(strides), 1, None, 1, 1, 2))
            return grid[:, 0, :, 0, 0, :]
        units = self.array(f"{name}.anchors", (len(strides), None, 2))
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

    def refuse_surplus(self, names: Iterable[str]) -> None:
        """Refuse tensors that the architecture has no place for."""
        surplus = [
            f"model.{name}"
            for name in names
            if name not in self.used and name.rsplit(".", 1)[-1] not in NOT_NEEDED
        ]
        if surplus:
            more = f" and {len(surplus) - MOST_NAMED} more" * (len(surplus) > MOST_NAMED)
            listed = ", ".join(surplus[:MOST_NAMED]) + more
            what = f"{self.architecture.name} has no place for"
            raise BadInput("tensors", f"{what} {listed}", self.hint)
