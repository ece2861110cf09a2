"""Where the arrays of a network come from, and the modules that hold them.

A network that is drawn as a table gets its arrays from one of two places. Numbers may be drawn at
random (architecture.py): then the table says their shapes. Or a file holds tensors by name
(formats/state_dict.py): then the file says them. Either place is a `Supply`, and blocks.py puts a
module together from it without knowing which.

c is the number of a module's input channels, f of its filters; 0 stands for a number that the
table does not know and the file does. Multiples of 0 are 0, so blocks.py can compute with both.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from refquant.graph.module import NORM_ARRAYS, Module

EPS = 1e-3  # of the batch norms of the whole family

# make_array(name, shape) -> a floating array; a length of 0 in the shape stands for any length.
# Names are those of a state_dict, such as "model.24.conv.weight"; those of random implicit layers
# end with .ia or .im instead of .implicit, which tells the two apart.
MakeArray = Callable[[str, tuple[int, ...]], NDArray[Any]]


class Supply(NamedTuple):
    """A place that arrays come from.

    array         gives the array of a name and a shape
    filters       gives f of a layer to which the table gives so many filters at width 1
    activation    the kind of the activations, such as "SiLU"
    has           whether there is an array of this name, asked of those that a network may lack
    fused         whether batch norms are in the convolutions already
    """

    array: MakeArray
    filters: Callable[[int], int]
    activation: str
    has: Callable[[str], bool] = lambda name: False
    fused: bool = False


def conv2d(
    supply: Supply, name: str, c: int, f: int, kernel: int, stride: int = 1, *, bias: bool = False
) -> Module:
    """A convolution. With `bias` it must have one, otherwise it has one if there is one."""
    weight = supply.array(f"{name}.weight", (f, c, kernel, kernel))
    arrays = {"weight": weight}
    if bias or supply.has(f"{name}.bias"):
        arrays["bias"] = supply.array(f"{name}.bias", weight.shape[:1])
    return Module("Conv2d", {"stride": stride, "padding": kernel // 2}, arrays)


def norm(supply: Supply, name: str, c: int) -> Module:
    """A batch norm over c channels."""
    shape = (c,)
    arrays = {}
    for key in NORM_ARRAYS:
        arrays[key] = supply.array(f"{name}.{key}", shape)
        shape = arrays["weight"].shape  # the first array tells what the others must have
    return Module("BatchNorm2d", {"eps": EPS}, arrays)


def pool(kernel: int, stride: int, padding: int) -> Module:
    """A max pooling."""
    return Module("MaxPool2d", {"kernel": kernel, "stride": stride, "padding": padding})


def listed(kind: str, *modules: Module) -> Module:
    """A Sequential or a ModuleList: its parts have the names 0, 1, 2, ..."""
    return Module(kind, children={str(i): module for i, module in enumerate(modules)})
