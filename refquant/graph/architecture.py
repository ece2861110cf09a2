"""ARCHITECTURES, and `build`: a network from its table, with random or given arrays.

    build("yolov7", width=1.0, seed=0)        the network at full width with random weights

Random weights are for tests, benches and shapes, not for detecting: each is drawn from a normal
distribution of variance 2 / (C*R*S) (He et al. 2015, arXiv 1502.01852), batch norms close to the
identity, so that activations keep their size through the whole network.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.graph import yolov7, yolov7_p6, yolov7_tiny, yolov7x
from refquant.graph.blocks import Row, Rows
from refquant.graph.fold import fold
from refquant.graph.graph import Model, cast, count
from refquant.graph.lower import lower
from refquant.graph.module import Layer, Module

EPS = 1e-3
STRIDES = (8, 16, 32)  # of the networks with three levels; the others have a fourth


class Architecture(NamedTuple):
    """A table of layers, its activation, its anchors in pixels (one tuple of pairs per level)."""

    name: str
    table: Callable[[Rows], None]
    activation: str
    anchors: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level."""
        return tuple(STRIDES[0] << k for k in range(len(self.anchors)))

    def rows(self, auxiliary: bool = False) -> list[Row]:
        """The table's rows; auxiliary: those of the training form, where that has more."""
        net = Rows(auxiliary)
        self.table(net)
        return net.rows


ARCHITECTURES = Table(
    "architecture",
    (
        Architecture("yolov7", yolov7.table, "SiLU", yolov7.ANCHORS),
        Architecture("yolov7-tiny", yolov7_tiny.table, "LeakyReLU", yolov7_tiny.ANCHORS),
        Architecture("yolov7-tiny-silu", yolov7_tiny.table, "SiLU", yolov7_tiny.ANCHORS),
        Architecture("yolov7x", yolov7x.table, "SiLU", yolov7.ANCHORS),
        Architecture("yolov7-w6", yolov7_p6.w6, "SiLU", yolov7_p6.ANCHORS),
        Architecture("yolov7-e6", yolov7_p6.e6, "SiLU", yolov7_p6.ANCHORS),
        Architecture("yolov7-d6", yolov7_p6.d6, "SiLU", yolov7_p6.ANCHORS),
        Architecture("yolov7-e6e", yolov7_p6.e6e, "SiLU", yolov7_p6.ANCHORS),
    ),
)

# make_array(name, shape) -> float32 array of that shape; the name is that of a state_dict.
MakeArray = Callable[[str, tuple[int, ...]], NDArray[Any]]


def build(
    name: str,
    width: float = 1.0,
    seed: int = 0,
    *,
    classes: int = 80,
    implicit: bool = False,
    auxiliary: bool = False,
    folded: bool = True,
) -> Model:
    """A network with random weights; see the file's docstring.

    width      multiplies every filter count, rounded up to a multiple of 8, as the family does
    implicit   whether the head has the implicit layers of the training form
    auxiliary  whether it stands behind the auxiliary layers of W6, E6, D6 and E6E's training form
    folded     the folded form, or the unfolded one
    """
    if not 0 < width <= 4:
        raise BadInput(f"width={width}", "choose a number above 0 and up to 4")
    if classes < 1:
        raise BadInput(f"classes={classes}", "choose 1 or more")
    architecture = ARCHITECTURES[name]
    rng = np.random.default_rng(seed)
    arrays = random_arrays(rng)
    layers = layers_of(architecture, width, classes, implicit, arrays, auxiliary=auxiliary)
    nodes = lower(layers)
    class_names = tuple(f"class {i}" for i in range(classes))
    source = {"name": f"random:{name}", "width": str(width), "seed": str(seed)}
    model = Model(nodes, class_names, False, count(nodes), source)
    if folded:
        return fold(model, np.float32)
    return model.with_nodes(tuple(cast(node, np.float32) for node in model.nodes))


def random_arrays(rng: np.random.Generator) -> MakeArray:
    """Arrays for `layers_of`: each kind of array from its own distribution."""

    def make(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        kind = name.rsplit(".", 1)[-1]
        noise = rng.standard_normal(shape, dtype=np.float32)
        if len(shape) == 4:
            return noise * np.float32(math.sqrt(2 / np.prod(shape[1:])))
        if kind in ("weight", "running_var", "im"):
            return 1 + np.float32(0.1) * np.tanh(noise)
        return np.float32(0.1) * noise

    return make


def layers_of(
    architecture: Architecture,
    width: float,
    classes: int,
    implicit: bool,
    make_array: MakeArray,
    prefix: str = "model",
    *,
    auxiliary: bool = False,
) -> list[Layer]:
    """The table's rows as layers of modules, with arrays from make_array."""
    channels: dict[int, int] = {-1: 3}
    layers = []
    for index, row in enumerate(architecture.rows(auxiliary)):
        incoming = [channels[source] for source in row.sources]
        make = Maker(f"{prefix}.{index}", make_array, architecture, width, classes, implicit)
        module, channels[index] = make.module(row, incoming)
        layers.append(Layer(row.sources, module))
    return layers


class Maker(NamedTuple):
    """Makes the module of one row; the methods give modules, names follow the state_dict."""

    name: str
    make_array: MakeArray
    architecture: Architecture
    width: float
    classes: int
    implicit: bool

    def module(self, row: Row, incoming: Sequence[int]) -> tuple[Module, int]:
        """The module and its number of output channels."""
        c = incoming[0]
        if row.kind == "Concat":
            return Module("Concat"), sum(incoming)
        if row.kind == "Upsample":
            return Module("Upsample", {"scale": 2}), c
        if row.kind == "MP":
            return Module("MP", children={"m": pool(2, 2, 0)}), c
        if row.kind == "SP":
            (kernel,) = row.arguments
            return Module("SP", children={"m": pool(kernel, 1, kernel // 2)}), c
        if row.kind == "ReOrg":
            return Module("ReOrg"), 4 * c
        if row.kind == "Shortcut":
            return Module("Shortcut"), c
        if row.kind == "Detect":
            return self.detect(incoming), 0
        filters = 8 * math.ceil(row.arguments[0] * self.width / 8)
        if row.kind == "Conv":
            _, kernel, stride = row.arguments
            return self.conv("", c, filters, kernel, stride), filters
        make = {"RepConv": self.rep_conv, "SPPCSPC": self.sppcspc, "DownC": self.down_c}[row.kind]
        return make(c, filters), filters

    def conv2d(self, part: str, c: int, filters: int, kernel: int, stride: int = 1) -> Module:
        weight = self.make_array(f"{self.name}{part}.weight", (filters, c, kernel, kernel))
        attributes = {"stride": stride, "padding": kernel // 2}
        return Module("Conv2d", attributes, {"weight": weight})

    def norm(self, part: str, c: int) -> Module:
        names = ("weight", "bias", "running_mean", "running_var")
        arrays = {key: self.make_array(f"{self.name}{part}.{key}", (c,)) for key in names}
        return Module("BatchNorm2d", {"eps": EPS}, arrays)

    def conv(self, part: str, c: int, filters: int, kernel: int, stride: int = 1) -> Module:
        children = {
            "conv": self.conv2d(f"{part}.conv", c, filters, kernel, stride),
            "bn": self.norm(f"{part}.bn", filters),
            "act": Module(self.architecture.activation),
        }
        return Module("Conv", children=children)

    def rep_conv(self, c: int, filters: int) -> Module:
        def branch(part: str, kernel: int) -> Module:
            children = {
                "0": self.conv2d(f".{part}.0", c, filters, kernel),
                "1": self.norm(f".{part}.1", filters),
            }
            return Module("Sequential", children=children)

        children = {
            "act": Module("SiLU"),
            "rbr_dense": branch("rbr_dense", 3),
            "rbr_1x1": branch("rbr_1x1", 1),
        }
        return Module("RepConv", children=children)

    def sppcspc(self, c: int, filters: int) -> Module:
        h = filters
        shapes = ((c, 1), (c, 1), (h, 3), (h, 1), (4 * h, 1), (h, 3), (2 * h, 1))
        children = {
            f"cv{i}": self.conv(f".cv{i}", inputs, h, kernel)
            for i, (inputs, kernel) in enumerate(shapes, 1)
        }
        pools = {str(i): pool(kernel, 1, kernel // 2) for i, kernel in enumerate((5, 9, 13))}
        children["m"] = Module("ModuleList", children=pools)
        return Module("SPPCSPC", children=children)

    def down_c(self, c: int, filters: int) -> Module:
        half = filters // 2
        children = {
            "cv1": self.conv(".cv1", c, c, 1),
            "cv2": self.conv(".cv2", c, half, 3, 2),
            "cv3": self.conv(".cv3", c, half, 1),
            "mp": pool(2, 2, 0),
        }
        return Module("DownC", children=children)

    def head_conv(self, part: str, c: int, filters: int) -> Module:
        """A 1x1 convolution with a bias."""
        conv = self.conv2d(part, c, filters, 1)
        bias = self.make_array(f"{self.name}{part}.bias", (filters,))
        return Module("Conv2d", conv.attributes, {**conv.arrays, "bias": bias})

    def detect(self, incoming: Sequence[int]) -> Module:
        """The head; inputs beyond one per level are auxiliary."""
        anchors = np.array(self.architecture.anchors, np.float32)
        filters = anchors.shape[1] * (5 + self.classes)
        leads = incoming[: len(anchors)]
        convs: dict[str, Module] = {}
        adds: dict[str, Module] = {}
        multiplies: dict[str, Module] = {}
        for k, c in enumerate(leads):
            convs[str(k)] = self.head_conv(f".m.{k}", c, filters)
            for key, into, size in (("ia", adds, c), ("im", multiplies, filters)):
                values = self.make_array(f"{self.name}.{key}.{k}.{key}", (size,))
                into[str(k)] = Module("Implicit", arrays={"implicit": values})
        children = {"m": Module("ModuleList", children=convs)}
        if self.implicit:
            children["ia"] = Module("ModuleList", children=adds)
            children["im"] = Module("ModuleList", children=multiplies)
        if incoming[len(leads) :]:
            behind = enumerate(incoming[len(leads) :])
            more = {str(k): self.head_conv(f".m2.{k}", c, filters) for k, c in behind}
            children["m2"] = Module("ModuleList", children=more)
        strides = self.architecture.strides
        return Module("Detect", {"strides": strides}, {"anchors": anchors}, children)


def pool(kernel: int, stride: int, padding: int) -> Module:
    """A max pooling module."""
    return Module("MaxPool2d", {"kernel": kernel, "stride": stride, "padding": padding})
