"""A table of layers as a PyTorch network in training form, and its arrays on the way back.

`refquant.graph.architecture.layers_of` gives layers of modules with named arrays. Here each kind
of module becomes an `nn.Module` with the same children and the same names, so the state_dict's
names are those of the table ("model.24.conv.weight"), and `trained_layers` puts the trained arrays
into the same tree, from which `lower` and `fold` make refquant's model.

Start     convolutions from a normal distribution of variance 2 / (C*R*S) (He et al. 2015, arXiv
          1502.01852), batch norms the identity, implicit layers near the identity, and the bias of
          objectness and classes such that sigmoid = 0.01 (Lin et al. 2017, arXiv 1708.02002).
Batch norm   eps 1e-3, momentum 0.03: the new running value is 0.97 old + 0.03 batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from refquant.graph.architecture import Architecture, MakeArray, layers_of
from refquant.graph.module import Layer, Module

MOMENTUM = 0.03
PRIOR = 0.01


def starting_arrays(rng: np.random.Generator, classes: int) -> MakeArray:
    """Arrays for `layers_of` at the start of training; see the file's docstring."""

    def make(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        kind = name.rsplit(".", 1)[-1]
        if len(shape) == 4:
            spread = math.sqrt(2 / math.prod(shape[1:]))
            return (spread * rng.standard_normal(shape)).astype(np.float32)
        if kind in ("ia", "im"):
            centre = 0.0 if kind == "ia" else 1.0
            return (centre + 0.02 * rng.standard_normal(shape)).astype(np.float32)
        if kind == "bias" and ".m." in name:
            entries = np.zeros((shape[0] // (5 + classes), 5 + classes), np.float32)
            entries[:, 4:] = -math.log((1 - PRIOR) / PRIOR)
            return entries.ravel()
        value = 1.0 if kind in ("weight", "running_var") else 0.0
        return np.full(shape, value, np.float32)

    return make


class Part(nn.Module):
    """A module of the table: its kind, its attributes, its children by name."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        self.kind = module.kind
        self.options = dict(module.attributes)
        for name, array in module.arrays.items():
            value = torch.from_numpy(np.array(array))
            if name.startswith("running_") or name == "anchors":
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))
        for name, child in module.children.items():
            self.add_module(name, Part(child))

    def forward(self, *xs: Tensor) -> Any:
        return FORWARD[self.kind](self, *xs)


def child(part: Part, name: str, *xs: Tensor) -> Tensor:
    """The output of the part's child."""
    return part._modules[name](*xs)  # type: ignore[misc]


def conv2d(part: Part, x: Tensor) -> Tensor:
    options = part.options
    return nn.functional.conv2d(
        x, part.weight, getattr(part, "bias", None), options["stride"], options["padding"]
    )


def batch_norm(part: Part, x: Tensor) -> Tensor:
    return nn.functional.batch_norm(
        x,
        part.running_mean,
        part.running_var,
        part.weight,
        part.bias,
        part.training,
        MOMENTUM,
        part.options["eps"],
    )


def max_pool(part: Part, x: Tensor) -> Tensor:
    options = part.options
    return nn.functional.max_pool2d(x, options["kernel"], options["stride"], options["padding"])


def upsample(part: Part, x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=part.options["scale"], mode="nearest")


def chain(part: Part, x: Tensor) -> Tensor:
    for name in part._modules:
        x = child(part, name, x)
    return x


def rep_conv(part: Part, x: Tensor) -> Tensor:
    return child(part, "act", child(part, "rbr_dense", x) + child(part, "rbr_1x1", x))


def sppcspc(part: Part, x: Tensor) -> Tensor:
    a = child(part, "cv4", child(part, "cv3", child(part, "cv1", x)))
    pools = [pool(a) for pool in part._modules["m"].children()]  # type: ignore[union-attr]
    b = child(part, "cv6", child(part, "cv5", torch.cat([a, *pools], 1)))
    return child(part, "cv7", torch.cat([b, child(part, "cv2", x)], 1))


def detect(part: Part, *xs: Tensor) -> list[Tensor]:
    """The raw maps, one (N, A*E, H, W) per level."""
    raw = []
    for k, x in enumerate(xs):
        add = part.ia._modules[str(k)].implicit[None, :, None, None]
        multiply = part.im._modules[str(k)].implicit[None, :, None, None]
        raw.append(child(part.m, str(k), x + add) * multiply)
    return raw


FORWARD = {
    "Conv2d": conv2d,
    "BatchNorm2d": batch_norm,
    "SiLU": lambda part, x: nn.functional.silu(x),
    "MaxPool2d": max_pool,
    "Upsample": upsample,
    "Concat": lambda part, *xs: torch.cat(xs, 1),
    "Sequential": chain,
    "Conv": chain,
    "MP": chain,
    "SP": chain,
    "RepConv": rep_conv,
    "SPPCSPC": sppcspc,
    "Detect": detect,
}


class Network(nn.Module):
    """The layers in order; an output is kept as long as a later layer reads it."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.layers = layers
        self.model = nn.ModuleList(Part(layer.module) for layer in layers)
        self.last_use = {s: i for i, layer in enumerate(layers) for s in layer.sources}

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (N, 3, H, W) float32 in [0, 1] -> the raw maps, one (N, A*E, H, W) per level."""
        outputs: dict[int, Any] = {-1: x}
        for i, (layer, part) in enumerate(zip(self.layers, self.model)):
            outputs[i] = part(*(outputs[source] for source in layer.sources))
            for source in set(layer.sources):
                if self.last_use[source] == i:
                    del outputs[source]
        return outputs[len(self.layers) - 1]


def network(architecture: Architecture, width: float, classes: int, seed: int) -> Network:
    """The training form at the start of training."""
    make = starting_arrays(np.random.default_rng(seed), classes)
    return Network(layers_of(architecture, width, classes, True, make))


def trained_layers(layers: Sequence[Layer], state: Mapping[str, Any]) -> list[Layer]:
    """The same layers with the arrays of a state_dict."""

    def filled(module: Module, name: str) -> Module:
        arrays = {key: np.asarray(state[f"{name}.{key}"]) for key in module.arrays}
        children = {key: filled(part, f"{name}.{key}") for key, part in module.children.items()}
        return replace(module, arrays=arrays, children=children)

    return [
        replace(layer, module=filled(layer.module, f"model.{i}")) for i, layer in enumerate(layers)
    ]
