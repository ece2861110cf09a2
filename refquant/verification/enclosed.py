"""An Enclosed: an exact value, and how far a right result may be from it; bounds.py makes them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


class Enclosed(NamedTuple):
    """value and bound, float64 of one shape: |y^ - value| <= bound for every right y^."""

    value: Float64
    bound: Float64


def given(array: NDArray[Any]) -> Enclosed:
    """A tensor of the other side: what it says is what it is."""
    value = np.asarray(array, np.float64)
    return Enclosed(value, np.zeros_like(value))


def grown(k: float, u: float) -> float:
    """g(k) = k u / (1 - k u): k roundings in a row; infinite from k u = 1/4 on."""
    return k * u / (1 - k * u) if k * u < 0.25 else np.inf
