"""Values at which floating point goes wrong, and comparisons that nothing slips through."""

import numpy as np
from numpy.typing import NDArray

SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38]
    + [-3.4028235e38, 88.72283, 88.72285, -88.72283, -88.72285, -1e30, 1e30, 0.1, 16777217.0],
    np.float32,
)


def any_float32(count: int, seed: int) -> NDArray[np.float32]:
    """Random bit patterns: every exponent, subnormals, infinities and NaN."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)


def same_bits(a: NDArray, b: NDArray) -> bool:
    """Equal shape, dtype and bits; NaN equals NaN, whatever its payload, and -0 is not +0."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    kind = {4: np.uint32, 8: np.uint64}[a.dtype.itemsize]
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return bool(np.all((a.view(kind) == b.view(kind)) | (np.isnan(a) & np.isnan(b))))
