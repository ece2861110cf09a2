"""From layers of modules to the flat, unfolded graph: one short function per kind of module.

Each function gets the graph under construction, the module's name and the names of its inputs; it
adds nodes and returns the name of the node that holds the module's output. Here are the modules
without parts and the head; a module with parts is a block, and blocks.py says how it is wired.

Names follow the checkpoint: "model.24.conv" is the convolution of layer 24. A node that has no
name there gets one that says what it is ("model.51.cat", "model.102.add").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.blocks import BLOCKS, Composed, Inside
from refquant.graph.graph import INPUT, Node, needed
from refquant.graph.module import NORM_ARRAYS, Layer, Module


class Builder:
    """The nodes so far. `add` appends one and returns its name."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(
        self,
        name: str,
        op: str,
        inputs: Sequence[str],
        arrays: Mapping[str, NDArray[Any]] | None = None,
        **attributes: Any,
    ) -> str:
        self.nodes.append(Node(name, op, tuple(inputs), attributes, arrays or {}))
        return name

    def lower(self, name: str, module: Module, *inputs: str) -> str:
        """Add the nodes of one module; an unknown kind is refused by name."""
        if module.kind not in KINDS:
            raise BadInput(
                name,
                f"module {module.kind} is not known",
                "refquant reads the modules of YOLOv7 and YOLOv5 v5/v6",
            )
        return KINDS[module.kind](self, name, module, *inputs)


def lower(layers: Sequence[Layer]) -> tuple[Node, ...]:
    """The unfolded graph of the layers; what does not reach the last layer is left out."""
    build = Builder()
    outputs: dict[int, str] = {-1: INPUT}
    for index, layer in enumerate(layers):
        inputs = [outputs[source] for source in layer.sources]
        outputs[index] = build.lower(f"model.{index}", layer.module, *inputs)
    return needed(tuple(build.nodes))


def _conv2d(build: Builder, name: str, module: Module, x: str) -> str:
    attributes = {**module.attributes, "activation": "linear"}
    return build.add(name, "conv", (x,), module.arrays, **attributes)


def _norm(build: Builder, name: str, module: Module, x: str) -> str:
    arrays = {ours: module.arrays[theirs] for theirs, ours in NORM_ARRAYS.items()}
    return build.add(name, "batch_norm", (x,), arrays, **module.attributes)


def _identity(build: Builder, name: str, module: Module, x: str) -> str:
    return x


def _operation(op: str) -> Callable[..., str]:
    """The function of a module that is one operation without arrays, whose attributes it has."""

    def add(build: Builder, name: str, module: Module, *xs: str) -> str:
        return build.add(name, op, xs, **module.attributes)

    return add


def _block(block: Composed) -> Callable[..., str]:
    """The function of a block."""

    def add(build: Builder, name: str, module: Module, x: str) -> str:
        return block.wire(Inside(name, module, build.add, build.lower), x)

    return add


def _detect(build: Builder, name: str, module: Module, *xs: str) -> str:
    """Per level im * (m(x + ia)), ia and im where present; then the decode of all levels.

    Attributes: strides, one per level. Array: anchors (L, A, 2) in pixels. More inputs than levels
    are those of the auxiliary heads, which serve training only.
    """
    raw = []
    for k, x in enumerate(xs[: len(module.attributes["strides"])]):
        for key, op in (("ia", "add_channel"), ("m", ""), ("im", "multiply_channel")):
            if key not in module.children:
                continue
            part = module.children[key].children[str(k)]
            if op:
                x = build.add(f"{name}.{key}.{k}", op, (x,), part.arrays)
            else:
                x = build.lower(f"{name}.{key}.{k}", part, x)
        raw.append(x)
    strides = tuple(module.attributes["strides"])
    return build.add(f"{name}.decode", "decode", raw, module.arrays, strides=strides)


KINDS: Mapping[str, Callable[..., str]] = {
    "Conv2d": _conv2d,
    "BatchNorm2d": _norm,
    "SiLU": _operation("silu"),
    "LeakyReLU": _operation("leaky"),
    "Identity": _identity,
    "MaxPool2d": _operation("max_pool"),
    "Upsample": _operation("upsample"),
    "Concat": _operation("concat"),
    "Shortcut": _operation("add"),
    "ReOrg": _operation("space_to_depth"),
    **{kind: _block(block) for kind, block in BLOCKS.items()},
    "Detect": _detect,
}
