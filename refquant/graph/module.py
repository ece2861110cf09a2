"""A network as its authors see it: layers, each a small tree of named modules.

A checkpoint's tree of modules and an architecture's table meet in this form; `lower` turns it into
the flat graph. Kinds are the class names of the public code, and a module has only those
attributes that change a result:

    Conv2d                       arrays weight (F, C, R, S) and perhaps bias (F,); stride, padding
    BatchNorm2d                  arrays weight, bias, running_mean, running_var, (C,) each; eps
    Implicit                     array implicit (C,)
    MaxPool2d                    kernel, stride, padding
    Upsample                     scale
    SiLU, LeakyReLU, Identity, Concat, Shortcut, ReOrg           nothing of their own

A module that is made of modules is a block (blocks.py); its children have the names that they have
in the public code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

# The arrays of a batch norm: their names in a state_dict, and ours in a node.
NORM_ARRAYS = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "variance",
}


@dataclass(frozen=True)
class Module:
    """A module: its kind, what it does not share with others of its kind, and its parts."""

    kind: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    children: Mapping[str, "Module"] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """A layer: its module and the indices of the layers it reads; -1 is the image."""

    sources: tuple[int, ...]
    module: Module
