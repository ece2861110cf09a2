"""A tensor of another implementation: what is known of it before its numbers are read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

FLOATS = ("float16", "float32", "float64")  # what is taken as it is


class Tensor(NamedTuple):
    """A named array; `read()` gives its numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]
