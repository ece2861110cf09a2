"""Modules without parts: what of a class of PyTorch changes a result, and what is not supported.

A convolution, for instance, has two numbers each for its kernel, stride, padding and dilation,
and may be grouped; YOLO's are square, undilated and ungrouped, and so are refquant's by
definition. Any other value is refused by the layer's name, never passed over.

Every function takes (name, instance, arrays) and gives a Module of graph/module.py.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.arrays.errors import BadInput
from refquant.formats.torch.globals import Tensor
from refquant.formats.torch.pickle_machine import Instance, shown
from refquant.formats.torch.tensors import Arrays
from refquant.graph.module import NORM_ARRAYS, Module

LARGEST = 64  # of a kernel, a stride or a scale; 13, 2 and 2 are the family's
SLOPE = 0.1  # of LeakyReLU, in every file of the family
MOST_ENTRIES = 1024  # of one module; E6E, the longest network of the family, has 266 layers
CHILD_NAME = re.compile(r"\w{1,64}", re.ASCII)
SUPPORTED = "refquant reads the modules of YOLOv7 and YOLOv5 v5/v6"

Leaf = Callable[[str, Instance, Arrays], Module]


def dictionary(name: str, instance: Instance, key: str) -> dict[str, Any]:
    """An attribute that must be a dictionary of names, such as _modules."""
    values = instance.attributes.get(key)
    if type(values) is not dict or len(values) > MOST_ENTRIES:
        problem = f"it has no dictionary {key} of up to {MOST_ENTRIES} entries"
        raise BadInput(name, problem, "the file is damaged")
    return values


def children_of(name: str, instance: Instance) -> dict[str, Instance]:
    """The modules that a module consists of, in order; None stands for an absent one."""
    present = {k: v for k, v in dictionary(name, instance, "_modules").items() if v is not None}
    for key, child in present.items():
        if type(key) is not str or not CHILD_NAME.fullmatch(key) or type(child) is not Instance:
            raise BadInput(
                name, f"{shown(key)} is not the name of a module", "the file is damaged"
            )
    return present


def tensors_of(name: str, instance: Instance) -> dict[str, Tensor]:
    """Parameters and buffers; absent ones (None) are left out."""
    both = {
        **dictionary(name, instance, "_parameters"),
        **dictionary(name, instance, "_buffers"),
    }
    return {key: value for key, value in both.items() if type(value) is Tensor}


def array(
    name: str, instance: Instance, key: str, arrays: Arrays, shape: tuple[int, ...] | None = None
) -> NDArray[Any]:
    """A parameter or buffer of floating point, of this shape where one is given."""
    tensors = tensors_of(name, instance)
    if key not in tensors:
        raise BadInput(f"{name}.{key}", "this tensor is missing", "the file is incomplete")
    values = arrays.read(f"{name}.{key}", tensors[key])
    if values.dtype.kind != "f" or (shape is not None and values.shape != shape):
        due = "floating point" if shape is None else f"floating point of shape {shape}"
        raise BadInput(f"{name}.{key}", f"{values.dtype} of shape {values.shape} is not {due}")
    return values


def require(name: str, instance: Instance, **due: Any) -> None:
    """Refuse a module with an attribute (1 and True alike, absent is fine) that is not as due."""
    for key, value in due.items():
        found = instance.attributes.get(key, value)
        if type(found) is Tensor or found not in (value, (value, value)):
            raise BadInput(name, f"{key} is {shown(found)}, not {value!r}", SUPPORTED)


def one_of_pair(value: Any) -> Any:
    """The number that a pair repeats; anything else as it is."""
    pair = type(value) is tuple and [type(part) for part in value] in ([int] * 2, [float] * 2)
    return value[0] if pair and value[0] == value[1] else value


def side(name: str, instance: Instance, key: str, least: int) -> int:
    """An attribute that is an integer or a pair of equal ones."""
    value = instance.attributes.get(key)
    value = one_of_pair(value)
    if type(value) is not int or not least <= value <= LARGEST:
        rule = f"one integer from {least} to {LARGEST}, the same for rows and columns"
        raise BadInput(name, f"{key} is {shown(value)}, not {rule}", SUPPORTED)
    return value


def conv2d(name: str, instance: Instance, arrays: Arrays) -> Module:
    require(name, instance, dilation=1, groups=1, padding_mode="zeros", transposed=False)
    kernel = side(name, instance, "kernel_size", 1)
    attributes = {
        "stride": side(name, instance, "stride", 1),
        "padding": side(name, instance, "padding", 0),
    }
    weight = array(name, instance, "weight", arrays)
    if weight.ndim != 4 or weight.shape[2:] != (kernel, kernel) or not weight.size:
        problem = f"shape {weight.shape} is not (F, C, {kernel}, {kernel})"
        raise BadInput(f"{name}.weight", problem, "the file is damaged")
    if attributes["padding"] >= kernel:
        raise BadInput(
            name, f"padding {attributes['padding']} for a kernel of {kernel}", SUPPORTED
        )
    found = {"weight": weight}
    if "bias" in tensors_of(name, instance):
        found["bias"] = array(name, instance, "bias", arrays, weight.shape[:1])
    return Module("Conv2d", attributes, found)


def norm(name: str, instance: Instance, arrays: Arrays) -> Module:
    require(name, instance, affine=True, track_running_stats=True)
    eps = instance.attributes.get("eps")
    if type(eps) is not float or not 0 < eps < 1:
        raise BadInput(name, f"eps is {shown(eps)}, not a number between 0 and 1")
    shape = array(name, instance, "weight", arrays).shape
    found = {key: array(name, instance, key, arrays, shape[:1]) for key in NORM_ARRAYS}
    if np.any(found["running_var"] < 0):
        raise BadInput(f"{name}.running_var", "a variance is negative", "the file is damaged")
    return Module("BatchNorm2d", {"eps": eps}, found)


def max_pool(name: str, instance: Instance, arrays: Arrays) -> Module:
    require(name, instance, dilation=1, ceil_mode=False, return_indices=False)
    kernel = side(name, instance, "kernel_size", 1)
    padding = side(name, instance, "padding", 0)
    if padding > kernel // 2:
        raise BadInput(name, f"padding {padding} is more than half of the kernel {kernel}")
    stride = side(name, instance, "stride", 1)
    return Module("MaxPool2d", {"kernel": kernel, "stride": stride, "padding": padding})


def upsample(name: str, instance: Instance, arrays: Arrays) -> Module:
    require(name, instance, size=None, mode="nearest")
    scale = instance.attributes.get("scale_factor")
    scale = one_of_pair(scale)
    scales = {float(n): n for n in range(1, LARGEST + 1)}
    if type(scale) not in (int, float) or scale not in scales:
        raise BadInput(name, f"scale_factor is {shown(scale)}, not an integer", SUPPORTED)
    return Module("Upsample", {"scale": scales[scale]})


def implicit(name: str, instance: Instance, arrays: Arrays) -> Module:
    values = array(name, instance, "implicit", arrays)
    if values.ndim != 4 or values.shape != (1, values.shape[1], 1, 1):
        raise BadInput(f"{name}.implicit", f"shape {values.shape} is not (1, C, 1, 1)")
    return Module("Implicit", arrays={"implicit": values[0, :, 0, 0]})


def leaky(name: str, instance: Instance, arrays: Arrays) -> Module:
    if instance.attributes.get("negative_slope") != SLOPE:
        require(name, instance, negative_slope=SLOPE)
        raise BadInput(name, f"negative_slope is absent, not {SLOPE}", SUPPORTED)
    return Module("LeakyReLU")


def concat(name: str, instance: Instance, arrays: Arrays) -> Module:
    require(name, instance, d=1)
    return Module("Concat")


def plain(kind: str) -> Leaf:
    """A module that has nothing of its own."""
    return lambda name, instance, arrays: Module(kind)


LEAVES: dict[str, Leaf] = {
    "Conv2d": conv2d,
    "BatchNorm2d": norm,
    "SyncBatchNorm": norm,  # the same at inference
    "MaxPool2d": max_pool,
    "Upsample": upsample,
    "ImplicitA": implicit,
    "ImplicitM": implicit,
    "LeakyReLU": leaky,
    "SiLU": plain("SiLU"),
    "Identity": plain("Identity"),
    "Concat": concat,
    "Shortcut": plain("Shortcut"),
    "ReOrg": plain("ReOrg"),
}
