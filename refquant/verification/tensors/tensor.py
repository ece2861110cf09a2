"""A tensor of another implementation: what is known of it before its numbers are read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

FLOATS = ("float16", "float32", "float64")  # what is taken as it is


class Tensor(NamedTuple):
    """A named array; `read()` gives its numbers. `copy`: another one has the same, in its type or
    another, so that what is found by order or by shape is that one."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]
    copy: bool = False
