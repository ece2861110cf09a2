"""The shared list of nasty arrays: what a quantizer must survive. (F, C, R, S) float32, seeded."""

import numpy as np
from numpy.typing import NDArray

TINY = np.float32(2.0**-149)  # the smallest subnormal


def _normal(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _with_outlier() -> NDArray[np.float32]:
    w = _normal((3, 4, 3, 3), 3)
    w[1, 2, 0, 1] = 1e30
    return w


def _one_signed_far_away() -> NDArray[np.float32]:
    """Two neighbours in float32: a range of one ulp, a million ulps away from zero."""
    w = np.full((2, 3, 1, 1), 1.0, np.float32)
    w[0, 0] = np.nextafter(np.float32(1.0), np.float32(2.0))
    return w


def _wide() -> NDArray[np.float32]:
    """Magnitudes from 2**-60 to 2**59 within every group."""
    powers = np.float32(2.0) ** np.arange(-60, 60, 7, dtype=np.float32)
    return _normal((2, len(powers), 1, 1), 7) * powers[None, :, None, None]


NASTY: dict[str, NDArray[np.float32]] = {
    "normal": _normal((5, 6, 3, 3), 0),
    "laplace": np.random.default_rng(1).laplace(size=(4, 8, 3, 3)).astype(np.float32),
    "zeros": np.zeros((3, 4, 3, 3), np.float32),
    "negative zeros": np.full((2, 2, 1, 1), -0.0, np.float32),
    "constant": np.full((3, 4, 3, 3), 0.37, np.float32),
    "constant, negative": np.full((3, 4, 3, 3), -1.5, np.float32),
    "one element": np.full((1, 1, 1, 1), 0.7, np.float32),
    "all negative": -np.abs(_normal((3, 4, 3, 3), 2)) - np.float32(0.5),
    "all positive": np.abs(_normal((3, 4, 3, 3), 4)) + np.float32(3.0),
    "one outlier of 1e30": _with_outlier(),
    "subnormals": _normal((3, 4, 3, 3), 5) * np.float32(1e-39),
    "smallest subnormals": np.array([0, 1, -3, 10, 2, -7], np.float32).reshape(2, 3, 1, 1) * TINY,
    "ties": (np.arange(-18, 18, dtype=np.float32) / 2).reshape(4, 1, 3, 3),
    "groups of three": _normal((4, 3, 1, 1), 6),
    "one ulp apart": _one_signed_far_away(),
    "wide": _wide(),
    "largest": np.array([2.0**126, -(2.0**126), 1.0, 0.0], np.float32).reshape(1, 4, 1, 1),
    "odd sizes": _normal((3, 5, 7, 1), 8),
}
