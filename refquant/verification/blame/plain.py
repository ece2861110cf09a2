"""What is seen of a wrong tensor without knowing its node: how it was written down.

    all zeros       though the golden is not: most likely nothing was written               (1)
    rounded to t    |y^ - golden| <= u_t |golden| + tiny_t + ROUNDINGS * max |golden|, and
                    every y^ is a number of t: a right float32 network, its outputs rounded for
                    the file. They are then not the tensors that were used, which is H6      (2)

y^ and golden have the golden's shape (N, C, H, W) or (N, rows, E).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.verification.blame.type_causes import is_of
from refquant.verification.declared import FLOAT_TYPES

# Of right float32 networks against each other, relative to the largest output; many times what
# bench/verdicts/accused.md has, and 1/32 of a unit of float16.
ROUNDINGS = 2.0**-16


def plain_note(found: NDArray[Any], golden: NDArray[np.float32]) -> str:
    """Equation (1) or (2) in words, with the remedy; empty where neither holds."""
    if golden.any() and not found.any():
        return "all zeros: was it written?"
    kind = rounded_to(found, golden)
    if kind is None:
        return ""
    return f"the golden's numbers, rounded to {kind} when written (not H6): write float32"


def rounded_to(found: NDArray[Any], golden: NDArray[np.float32]) -> str | None:
    """The type of equation (2)."""
    if not np.isfinite(found).all():
        return None
    right = np.asarray(golden, np.float64)
    off = abs(np.asarray(found, np.float64) - right)
    for name in ("float16", "bfloat16"):
        kind = FLOAT_TYPES[name]
        bound = kind.u * abs(right) + kind.tiny + ROUNDINGS * abs(right).max(initial=0)
        if is_of(found, name) and (off <= bound).all():
            return name
    return None
