"""From the inert objects of a checkpoint to layers: the network as graph/module.py has it.

The root object's module `model` is a chain of layers; each has an attribute `f`, what it reads:

    -1                      the layer before; for layer 0 the image
    any other f < 0         layer index + f
    f >= 0                  layer f
    a list of these         several, in this order

A module's children keep their names. The head, always the last layer, is one of three, which are
one here: Detect; IDetect, with implicit layers ia and im around each convolution; IAuxDetect,
which reads twice as many layers, the second half for training only. Models saved after the public
code's `fuse` have ia and im in their convolutions already, while the tensors are still there:
`is_fused`.

Modules may be shared, so that few objects can stand for very many: their number is limited.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.pickle_machine import Instance, shown
from refquant.formats.torch_globals import BoundMethod, Tensor
from refquant.formats.torch_leaves import (
    LEAVES,
    SUPPORTED,
    array,
    children_of,
    tensors_of,
)
from refquant.formats.torch_tensors import Arrays
from refquant.graph.module import Layer, Module

MAX_MODULES = 2**12  # E6E in training form, the largest of the family, has about 1,300
MOST_SOURCES = 64  # of one layer; D6's concats have 10
MAX_LEVELS = 8  # of a head: 3 or 4 in the family
MAX_DEPTH = 16  # 6 in the family: C3's bottlenecks
HEADS = {"Detect": 1, "IDetect": 1, "IAuxDetect": 2}  # layers read per level
SEVERAL_INPUTS = ("Concat", "Shortcut", *HEADS)
STRIDES = {2.0**k for k in range(2, 8)}  # 8 to 64 in the family
NOT_NEEDED = ("num_batches_tracked",)

# The classes made of parts, and the parts without which they mean nothing.
PARTS: Mapping[str, tuple[str, ...]] = {
    "Sequential": (),
    "ModuleList": (),
    "Conv": ("conv", "act"),
    "RepConv": ("act",),
    "MP": ("m",),
    "SP": ("m",),
    "SPPCSPC": ("cv1", "cv2", "cv3", "cv4", "cv5", "cv6", "cv7", "m"),
    "DownC": ("cv1", "cv2", "cv3", "mp"),
    "SPP": ("cv1", "cv2", "m"),
    "SPPF": ("cv1", "cv2", "m"),
    "Focus": ("conv",),
    "Bottleneck": ("cv1", "cv2"),
    "C3": ("cv1", "cv2", "cv3", "m"),
}


def walk_modules(root: Instance) -> Iterator[tuple[str, Instance]]:
    """Every module below the root with its name, such as "model.24.conv", parents first."""
    waiting = [(key, child, 0) for key, child in reversed(children_of("model", root).items())]
    seen = 0
    while waiting:
        path, instance, depth = waiting.pop()
        yield path, instance
        below = children_of(path, instance).items()
        waiting += [(f"{path}.{key}", child, depth + 1) for key, child in reversed(below)]
        seen += 1
        if depth > MAX_DEPTH or seen + len(waiting) > MAX_MODULES:
            limits = f"{MAX_MODULES} modules, nested {MAX_DEPTH} deep"
            raise BadInput(path, f"the model has more than {limits}")


def tensors_in(root: Instance) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all parameters and buffers that a result depends on."""
    for path, instance in walk_modules(root):
        for key, tensor in tensors_of(path, instance).items():
            if key not in NOT_NEEDED:
                yield f"{path}.{key}", tensor
        if instance.kind in HEADS and type(instance.attributes.get("stride")) is Tensor:
            yield f"{path}.stride", instance.attributes["stride"]


def has_norms(root: Instance) -> bool:
    """Whether any batch norm is left."""
    return any(
        instance.kind.endswith("BatchNorm2d") or instance.kind == "SyncBatchNorm"
        for _, instance in walk_modules(root)
    )


def is_fused(head: Instance, root: Instance) -> bool:
    """Whether the head's implicit layers are in its convolutions already.

    The public code marks what it fuses by an attribute `forward`; early versions fused everything
    but the head. A network without batch norms and without marks was fused by other means.
    """
    if type(head.attributes.get("forward")) is BoundMethod:
        return True
    marks = (type(m.attributes.get("forward")) is BoundMethod for _, m in walk_modules(root))
    return not has_norms(root) and not any(marks)


def chain_of(root: Instance) -> list[Instance]:
    """The layers of a checkpoint's root object, the last of them the head."""
    chain = children_of("model", root).get("model")
    if chain is None or chain.kind != "Sequential":
        raise BadInput("model", f"{root.name} has no chain of layers `model`", SUPPORTED)
    children = children_of("model", chain)
    if list(children) != [str(index) for index in range(len(children))]:
        raise BadInput("model", "its layers are not numbered 0, 1, 2, ...", "the file is damaged")
    layers = list(children.values())
    if not layers or layers[-1].kind not in HEADS:
        raise BadInput("model", "its last layer is no detection head", SUPPORTED)
    return layers


def head_of(root: Instance) -> Instance:
    """The last layer."""
    return chain_of(root)[-1]


def layers_of(root: Instance, arrays: Arrays) -> list[Layer]:
    """The layers of a checkpoint's root object; BadInput names what is not understood."""
    *body, head = chain_of(root)
    arrays.require(tensors_in(root))
    layers = []
    for index, instance in enumerate(body):
        name, sources = f"model.{index}", sources_of(index, instance)
        layers.append(Layer(sources, module(name, instance, arrays)))
    name, sources = f"model.{len(body)}", sources_of(len(body), head)
    fused = is_fused(head, root)
    layers.append(Layer(sources, detect(name, head, arrays, len(sources), fused)))
    return layers


def sources_of(index: int, instance: Instance) -> tuple[int, ...]:
    """The layers that layer `index` reads; -1 is the image."""
    name, found = f"model.{index}", instance.attributes.get("f")
    entries = found if type(found) is list else [found]
    if len(entries) > MOST_SOURCES:
        raise BadInput(name, f"it reads {len(entries)} layers, more than {MOST_SOURCES}")
    sources = []
    for entry in entries:
        if type(entry) is not int or (not -index <= entry < index and (index, entry) != (0, -1)):
            raise BadInput(name, f"f is {shown(found)}, not layers before this one")
        sources.append(entry if entry >= 0 else index + entry)
    if len(sources) != 1 and (instance.kind not in SEVERAL_INPUTS or not sources):
        raise BadInput(name, f"{instance.kind} reads {len(sources)} layers instead of one")
    return tuple(sources)


def module(name: str, instance: Instance, arrays: Arrays) -> Module:
    """A module with its parts. The recursion is as deep as walk_modules has found it to be."""
    if instance.kind in LEAVES:
        return LEAVES[instance.kind](name, instance, arrays)
    if instance.kind not in PARTS:
        raise BadInput(name, f"module {instance.name} is not known", SUPPORTED)
    below = children_of(name, instance)
    parts = {key: module(f"{name}.{key}", child, arrays) for key, child in below.items()}
    missing = [key for key in PARTS[instance.kind] if key not in parts]
    if instance.kind == "RepConv" and "rbr_reparam" not in parts:
        missing += [key for key in ("rbr_dense", "rbr_1x1") if key not in parts]
    if missing:
        raise BadInput(
            name, f"{instance.kind} without {', '.join(missing)}", "the file is damaged"
        )
    attributes = {}
    if instance.kind == "Bottleneck":
        attributes["add"] = instance.attributes.get("add") is True
    return Module(instance.kind, attributes, {}, parts)


def detect(name: str, head: Instance, arrays: Arrays, inputs: int, fused: bool) -> Module:
    """Any of the heads as a Detect module: strides, anchors, m and, if unfused, ia and im."""
    strides = strides_of(name, head, arrays)
    levels = len(strides)
    if inputs != HEADS[head.kind] * levels:
        raise BadInput(name, f"{head.kind} reads {inputs} layers for {levels} strides")
    anchors = anchors_of(name, head, arrays, strides)
    classes = head.attributes.get("nc")
    if type(classes) is not int or classes < 1:
        raise BadInput(name, f"nc is {shown(classes)}, not a number of classes")
    keys = ("m", "ia", "im") if head.kind != "Detect" and not fused else ("m",)
    below = children_of(name, head)
    missing = [key for key in keys if key not in below]
    if missing:
        raise BadInput(name, f"{head.kind} without {', '.join(missing)}", "the file is damaged")
    parts = {key: module(f"{name}.{key}", below[key], arrays) for key in keys}
    for key, part in parts.items():
        kind = "Conv2d" if key == "m" else "Implicit"
        if [(k, m.kind) for k, m in part.children.items()] != [
            (str(k), kind) for k in range(levels)
        ]:
            raise BadInput(f"{name}.{key}", f"it does not hold {levels} modules {kind}")
    filters = anchors.shape[1] * (5 + classes)
    for key, conv in parts["m"].children.items():
        if conv.arrays["weight"].shape[0] != filters:
            problem = f"{conv.arrays['weight'].shape[0]} filters instead of {filters}"
            raise BadInput(f"{name}.m.{key}", f"{problem} for {classes} classes")
    return Module("Detect", {"strides": strides}, {"anchors": anchors}, parts)


def strides_of(name: str, head: Instance, arrays: Arrays) -> tuple[int, ...]:
    """Pixels per cell of each level: powers of two."""
    tensor = head.attributes.get("stride")
    if type(tensor) is not Tensor:
        raise BadInput(name, "it has no tensor `stride`", "the model was never built")
    values = arrays.read(f"{name}.stride", tensor)
    levels = values.shape[0] if values.ndim == 1 else 0
    if not 1 <= levels <= MAX_LEVELS:
        raise BadInput(f"{name}.stride", f"shape {values.shape} is not one stride per level")
    if not set(values.tolist()) <= STRIDES:
        problem = f"{values.tolist()} are not powers of two from {min(STRIDES)} to {max(STRIDES)}"
        raise BadInput(f"{name}.stride", problem)
    return tuple(int(value) for value in values)


def anchors_of(
    name: str, head: Instance, arrays: Arrays, strides: tuple[int, ...]
) -> NDArray[np.floating[Any]]:
    """(L, A, 2) in pixels, from anchor_grid, or from anchors, which are in units of the stride."""
    levels = len(strides)
    if "anchor_grid" in tensors_of(name, head):
        grid = array(name, head, "anchor_grid", arrays)
        if grid.ndim != 6 or grid.shape != (levels, 1, grid.shape[2], 1, 1, 2):
            raise BadInput(f"{name}.anchor_grid", f"shape {grid.shape} is not (L, 1, A, 1, 1, 2)")
        return grid[:, 0, :, 0, 0, :]
    anchors = array(name, head, "anchors", arrays)
    if anchors.ndim != 3 or anchors.shape != (levels, anchors.shape[1], 2):
        raise BadInput(f"{name}.anchors", f"shape {anchors.shape} is not (L, A, 2)")
    return anchors.astype(np.float64) * np.array(strides, np.float64)[:, None, None]
