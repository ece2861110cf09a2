"""The head of a checkpoint: three classes of the public code that are one here.

    Detect         raw_k = m_k(x_k)                          a 1x1 convolution per level k
    IDetect        raw_k = im_k * (m_k(x_k + ia_k))          with implicit layers ia and im
    IAuxDetect     as IDetect; it reads twice as many layers, the second half for training only

Models saved after the public code's `fuse` have ia and im in their convolutions already, while the
tensors are still there: `is_fused`. Strides are a tensor of the head; anchors, in pixels, are its
buffer anchor_grid, or, in YOLOv5 v6, the buffer anchors times the strides.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.torch.globals import BoundMethod, Tensor
from refquant.formats.torch.leaves import array, children_of, tensors_of
from refquant.formats.torch.modules import module, walk_modules
from refquant.formats.torch.pickle_machine import Instance, shown
from refquant.formats.torch.tensors import Arrays
from refquant.graph.module import Module

HEADS = {"Detect": 1, "IDetect": 1, "IAuxDetect": 2}  # layers read per level
MAX_LEVELS = 8  # 3 or 4 in the family
STRIDES = {2.0**k for k in range(2, 8)}  # 8 to 64 in the family


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
    parts = parts_of(name, head, arrays, keys, levels)
    filters = anchors.shape[1] * (5 + classes)
    for key, conv in parts["m"].children.items():
        if conv.arrays["weight"].shape[0] != filters:
            problem = f"{conv.arrays['weight'].shape[0]} filters instead of {filters}"
            raise BadInput(f"{name}.m.{key}", f"{problem} for {classes} classes")
    return Module("Detect", {"strides": strides}, {"anchors": anchors}, parts)


def parts_of(
    name: str, head: Instance, arrays: Arrays, keys: tuple[str, ...], levels: int
) -> dict[str, Module]:
    """The lists of modules with these keys, one module per level in each."""
    below = children_of(name, head)
    parts = {}
    for key in keys:
        kind = "Conv2d" if key == "m" else "Implicit"
        found = module(f"{name}.{key}", below[key], arrays).children if key in below else {}
        if [(k, part.kind) for k, part in found.items()] != [
            (str(k), kind) for k in range(levels)
        ]:
            raise BadInput(f"{name}.{key}", f"it does not hold {levels} modules {kind}")
        parts[key] = Module("ModuleList", children=found)
    return parts


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
