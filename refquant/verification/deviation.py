"""How far an output y^ is from the golden y: numbers for people, none of them a verdict.

    max_abs     max |y^ - y|                                                                (1)
    sqnr_db     10 log10(sum y**2 / sum (y^ - y)**2); None where they are equal, or y is
                all zero                                                                    (2)
    cosine      sum y y^ / sqrt(sum y**2 * sum y^**2); None where one is all zero           (3)
    ulps        how many elements are 0, 1, 2, 3-4, 5-8 ... float32 steps away              (4)

The steps between two floats are the difference of their places in the order of all floats; -0 and
+0 share a place. Sums are float64; (2) and (3) are None where squares of a float64 y^
overflow. NaN and infinities are counted as `nonfinite` and left out.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from refquant.verification.report import NodeRow

Float32 = NDArray[np.float32]
BINS = ("0", "1", "2", "3-4", "5-8", "9-16", "17-64", "65-1024", "more")
EDGES = (0, 1, 2, 4, 8, 16, 64, 1024)


def places(x: Float32) -> NDArray[np.int64]:
    """The place of every float32 in the order of all of them; 0.0 has place 0."""
    bits = np.ascontiguousarray(x).view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))


def ulp_histogram(a: Float32, b: Float32) -> dict[str, int]:
    """Equation (4) of finite arrays."""
    steps = abs(places(a) - places(b))
    counts = np.bincount(np.searchsorted(EDGES, steps.reshape(-1)), minlength=len(BINS))
    return {name: int(count) for name, count in zip(BINS, counts, strict=True)}


def deviation(found: NDArray[Any], golden: Float32) -> NodeRow:
    """All of it, as a part of a row."""
    finite = np.isfinite(found) & np.isfinite(golden)
    a, b = found[finite].astype(np.float64), golden[finite].astype(np.float64)
    result: NodeRow = {"nonfinite": int(found.size - a.size)}
    if not a.size:
        return {**result, "max_abs": None, "sqnr_db": None, "cosine": None, "ulps": None}
    with np.errstate(over="ignore"):
        noise, signal, other = ((v @ v) for v in (a - b, b, a))
    known = signal and np.isfinite(noise + other)
    result["max_abs"] = float(abs(a - b).max())
    result["sqnr_db"] = float(10 * np.log10(signal / noise)) if known and noise else None
    result["cosine"] = float(a @ b / np.sqrt(signal * other)) if known and other else None
    with np.errstate(over="ignore"):
        narrow = found[finite].astype(np.float32)
    return {**result, "ulps": ulp_histogram(narrow, golden[finite])}
