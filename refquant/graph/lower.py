"""From layers of modules to the flat, unfolded graph: one short function per kind of module.

Each function gets the graph under construction, the module's name and its inputs' names, adds
nodes and returns the name of the node that holds the module's output. Names follow the checkpoint,
so that "model.24.conv" is the convolution of layer 24; what has no name there gets one that says
what it is ("model.51.cat", "model.102.add").
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.graph.graph import INPUT, Node, needed
from refquant.graph.module import Layer, Module

ACTIVATION_OPS = {"SiLU": "silu", "LeakyReLU": "leaky"}
NORM_ARRAYS = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "variance",
}


class Builder:
    """The nodes so far. `add` returns the new node's name."""

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


def lower(layers: Sequence[Layer], prefix: str = "model") -> tuple[Node, ...]:
    """The unfolded graph of the layers; what does not reach the last layer is left out."""
    build = Builder()
    outputs: dict[int, str] = {-1: INPUT}
    for index, layer in enumerate(layers):
        inputs = [outputs[source] for source in layer.sources]
        outputs[index] = lower_module(build, f"{prefix}.{index}", layer.module, *inputs)
    return needed(tuple(build.nodes))


def lower_module(build: Builder, name: str, module: Module, *inputs: str) -> str:
    """Add one module's nodes; an unknown kind is refused by name."""
    if module.kind not in KINDS:
        raise BadInput(
            name,
            f"module {module.kind} is not known",
            "refquant reads the modules of YOLOv7 and YOLOv5 v5/v6",
        )
    return KINDS[module.kind](build, name, module, *inputs)


def _conv2d(build: Builder, name: str, module: Module, x: str) -> str:
    return build.add(
        name,
        "conv",
        (x,),
        module.arrays,
        stride=module.attributes["stride"],
        padding=module.attributes["padding"],
        activation="linear",
    )


def _norm(build: Builder, name: str, module: Module, x: str) -> str:
    arrays = {ours: module.arrays[theirs] for theirs, ours in NORM_ARRAYS.items()}
    return build.add(name, "batch_norm", (x,), arrays, eps=module.attributes["eps"])


def _activation(build: Builder, name: str, module: Module, x: str) -> str:
    return build.add(name, ACTIVATION_OPS[module.kind], (x,))


def _identity(build: Builder, name: str, module: Module, x: str) -> str:
    return x


def _chain(*parts: str) -> Callable[..., str]:
    """A module that is its children, one after the other; absent ones are skipped."""

    def run(build: Builder, name: str, module: Module, x: str) -> str:
        for part in parts or module.children:
            if part in module.children:
                x = lower_module(build, f"{name}.{part}", module.children[part], x)
        return x

    return run


def _max_pool(build: Builder, name: str, module: Module, x: str) -> str:
    return build.add(name, "max_pool", (x,), **module.attributes)


def _upsample(build: Builder, name: str, module: Module, x: str) -> str:
    return build.add(name, "upsample", (x,), scale=module.attributes["scale"])


def _concat(build: Builder, name: str, module: Module, *xs: str) -> str:
    return build.add(name, "concat", xs)


def _shortcut(build: Builder, name: str, module: Module, *xs: str) -> str:
    return build.add(name, "add", xs)


def _reorg(build: Builder, name: str, module: Module, x: str) -> str:
    return build.add(name, "space_to_depth", (x,))


def _focus(build: Builder, name: str, module: Module, x: str) -> str:
    blocks = build.add(f"{name}.cat", "space_to_depth", (x,))
    return lower_module(build, f"{name}.conv", module.children["conv"], blocks)


def _rep_conv(build: Builder, name: str, module: Module, x: str) -> str:
    """act(BN3(conv3x3(x)) + BN1(conv1x1(x)) [+ BN(x)]), or the fused single convolution."""

    def part(key: str) -> str:
        return lower_module(build, f"{name}.{key}", module.children[key], x)

    if "rbr_reparam" in module.children:
        y = part("rbr_reparam")
    else:
        branches = ("rbr_dense", "rbr_1x1", "rbr_identity")
        y = build.add(f"{name}.add", "add", [part(k) for k in branches if k in module.children])
    return lower_module(build, f"{name}.act", module.children["act"], y)


def _sppcspc(build: Builder, name: str, module: Module, x: str) -> str:
    """a = cv4(cv3(cv1(x))); b = cv6(cv5([a, pools of a])); cv7([b, cv2(x)])."""

    def part(key: str, y: str) -> str:
        return lower_module(build, f"{name}.{key}", module.children[key], y)

    a = part("cv4", part("cv3", part("cv1", x)))
    b = part("cv6", part("cv5", _pools(build, name, module, a)))
    joined = build.add(f"{name}.cat2", "concat", (b, part("cv2", x)))
    return part("cv7", joined)


def _pools(build: Builder, name: str, module: Module, a: str) -> str:
    """[a, m0(a), m1(a), ...]: the pyramid of poolings inside SPPCSPC and SPP."""
    pools = [
        lower_module(build, f"{name}.m.{key}", pool, a)
        for key, pool in module.children["m"].children.items()
    ]
    return build.add(f"{name}.cat", "concat", (a, *pools))


def _down_c(build: Builder, name: str, module: Module, x: str) -> str:
    """[cv2(cv1(x)), cv3(mp(x))]."""

    def part(key: str, y: str) -> str:
        return lower_module(build, f"{name}.{key}", module.children[key], y)

    left, right = part("cv2", part("cv1", x)), part("cv3", part("mp", x))
    return build.add(f"{name}.cat", "concat", (left, right))


def _spp(build: Builder, name: str, module: Module, x: str) -> str:
    """cv2([a, pools of a]), a = cv1(x)."""
    a = lower_module(build, f"{name}.cv1", module.children["cv1"], x)
    joined = _pools(build, name, module, a)
    return lower_module(build, f"{name}.cv2", module.children["cv2"], joined)


def _sppf(build: Builder, name: str, module: Module, x: str) -> str:
    """cv2([a, m(a), m(m(a)), m(m(m(a)))]), a = cv1(x)."""
    maps = [lower_module(build, f"{name}.cv1", module.children["cv1"], x)]
    for i in range(3):
        maps.append(lower_module(build, f"{name}.m.{i}", module.children["m"], maps[-1]))
    joined = build.add(f"{name}.cat", "concat", maps)
    return lower_module(build, f"{name}.cv2", module.children["cv2"], joined)


def _bottleneck(build: Builder, name: str, module: Module, x: str) -> str:
    """cv2(cv1(x)), plus x where the module says so."""
    y = _chain("cv1", "cv2")(build, name, module, x)
    return build.add(f"{name}.add", "add", (x, y)) if module.attributes["add"] else y


def _c3(build: Builder, name: str, module: Module, x: str) -> str:
    """cv3([m(cv1(x)), cv2(x)])."""

    def part(key: str, y: str) -> str:
        return lower_module(build, f"{name}.{key}", module.children[key], y)

    joined = build.add(f"{name}.cat", "concat", (part("m", part("cv1", x)), part("cv2", x)))
    return part("cv3", joined)


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
                x = lower_module(build, f"{name}.{key}.{k}", part, x)
        raw.append(x)
    return build.add(
        f"{name}.decode",
        "decode",
        raw,
        {"anchors": module.arrays["anchors"]},
        strides=tuple(module.attributes["strides"]),
    )


KINDS: Mapping[str, Callable[..., str]] = {
    "Conv2d": _conv2d,
    "BatchNorm2d": _norm,
    "SiLU": _activation,
    "LeakyReLU": _activation,
    "Identity": _identity,
    "MaxPool2d": _max_pool,
    "Upsample": _upsample,
    "Sequential": _chain(),
    "Conv": _chain("conv", "bn", "act"),
    "MP": _chain("m"),
    "SP": _chain("m"),
    "Concat": _concat,
    "Shortcut": _shortcut,
    "ReOrg": _reorg,
    "Focus": _focus,
    "RepConv": _rep_conv,
    "SPPCSPC": _sppcspc,
    "DownC": _down_c,
    "SPP": _spp,
    "SPPF": _sppf,
    "Bottleneck": _bottleneck,
    "C3": _c3,
    "Detect": _detect,
}
