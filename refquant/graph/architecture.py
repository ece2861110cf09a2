"""ARCHITECTURES, and `build`: a network from its table, with random or given arrays.

    build("yolov7", width=1.0, seed=0)        the network at full width with random weights

Random weights are for tests, benches and shapes, not for detecting. Each is drawn from a normal
distribution of variance 2 / (C*R*S) (He et al. 2015, arXiv 1502.01852), and batch norms are close
to the identity, so that activations keep their size through the whole network.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.arrays.table import Table
from refquant.graph import yolov7, yolov7_p6, yolov7_tiny, yolov7x
from refquant.graph.blocks import BLOCKS
from refquant.graph.blueprint import Blueprint, Row
from refquant.graph.fold import fold
from refquant.graph.graph import Model, cast, count
from refquant.graph.lower import lower
from refquant.graph.module import Layer, Module
from refquant.graph.supply import MakeArray, Supply, conv2d, listed

STRIDES = (8, 16, 32)  # pixels per cell of networks with three levels; others have a fourth


class Architecture(NamedTuple):
    """A table of layers, its activation and its anchors: per level (width, height) in pixels."""

    name: str
    table: Callable[[Blueprint], None]
    activation: str
    anchors: tuple[tuple[tuple[int, int], ...], ...]

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level."""
        return tuple(STRIDES[0] << k for k in range(len(self.anchors)))

    def rows(self, auxiliary: bool = False) -> list[Row]:
        """The table's rows; auxiliary: those of the training form, where that has more."""
        net = Blueprint(auxiliary)
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
    *,
    auxiliary: bool = False,
) -> list[Layer]:
    """The table's rows as layers of modules, with arrays from make_array."""
    supply = supply_of(architecture, width, make_array)
    channels: dict[int, int] = {-1: 3}
    layers = []
    for index, row in enumerate(architecture.rows(auxiliary)):
        name, incoming = f"model.{index}", [channels[source] for source in row.sources]
        if row.kind == "Detect":
            module = detect(supply, name, incoming, architecture, classes, implicit)
        else:
            module, channels[index] = module_of(supply, name, row, incoming)
        layers.append(Layer(row.sources, module))
    return layers


def supply_of(architecture: Architecture, width: float, make_array: MakeArray) -> Supply:
    """Arrays of an unfused network of this width, by make_array."""
    return Supply(make_array, lambda n: 8 * math.ceil(n * width / 8), architecture.activation)


def module_of(supply: Supply, name: str, row: Row, incoming: Sequence[int]) -> tuple[Module, int]:
    """The module of a row, the head apart, and the number of its output channels."""
    c = incoming[0]
    if row.kind not in BLOCKS:
        attributes = {"scale": 2} if row.kind == "Upsample" else {}
        return Module(row.kind, attributes), {"Concat": sum(incoming), "ReOrg": 4 * c}.get(
            row.kind, c
        )
    block = BLOCKS[row.kind]
    assert block.make is not None, "only blocks that can be made stand in tables"
    if not block.sign:
        return block.make(*row.arguments), c
    filters, *rest = row.arguments
    f = supply.filters(filters)
    return block.make(supply, name, c, f, *rest), f


def detect(
    supply: Supply,
    name: str,
    incoming: Sequence[int],
    architecture: Architecture,
    classes: int,
    implicit: bool,
) -> Module:
    """The head; inputs beyond one per level are auxiliary."""
    anchors = np.array(architecture.anchors, np.float32)
    filters = anchors.shape[1] * (5 + classes)
    leads, behind = incoming[: len(anchors)], incoming[len(anchors) :]
    lists: dict[str, list[Module]] = {"m": [], "ia": [], "im": [], "m2": []}
    for k, c in enumerate(leads):
        lists["m"].append(conv2d(supply, f"{name}.m.{k}", c, filters, 1, bias=True))
        for key, size in (("ia", c), ("im", filters)):
            values = supply.array(f"{name}.{key}.{k}.{key}", (size,))
            lists[key].append(Module("Implicit", arrays={"implicit": values}))
    for k, c in enumerate(behind):
        lists["m2"].append(conv2d(supply, f"{name}.m2.{k}", c, filters, 1, bias=True))
    kept = ("m", "ia", "im", "m2") if implicit else ("m", "m2")
    parts = {key: listed("ModuleList", *lists[key]) for key in kept if lists[key]}
    return Module("Detect", {"strides": architecture.strides}, {"anchors": anchors}, parts)
