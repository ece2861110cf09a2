"""A network as its authors see it: layers, each a small tree of named modules.

This is the common form between a checkpoint's module tree and an architecture table; `lower`
turns either into the flat graph. Kinds are the class names of the public code, attributes only
those that change a result:

    Conv2d         arrays weight (F, C, R, S) [, bias (F,)]; stride, padding
    BatchNorm2d    arrays weight, bias, running_mean, running_var (C,); eps
    SiLU, LeakyReLU, Identity        activations
    MaxPool2d      kernel, stride, padding           Upsample   scale
    Implicit       array implicit (C,)
    and the composed ones, whose children have the names of the public code (lower.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray


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
